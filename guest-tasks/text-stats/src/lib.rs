//! Counts what a text is made of.
//!
//! Input: UTF-8 text. Output: a JSON object, see [`stats::TextStats`] for what each number means.

mod stats;
mod stop_words;

use omnimind_guest::json;

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let text = decode(&input)?;
    json::encode(&stats::TextStats::of(text))
}

fn decode(input: &[u8]) -> Result<&str, String> {
    str::from_utf8(input).map_err(|error| {
        format!(
            "the input is not UTF-8 text: byte {} does not continue it (convert the file to UTF-8 first)",
            error.valid_up_to()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_the_first_bad_byte_is_named() {
        assert!(decode(b"abc\xffdef").unwrap_err().contains("byte 3 "));
        assert!(decode("ü\u{7fff}".as_bytes()).is_ok());
    }
}
