//! A long text in parts that a model can read.

/// What a part ends with, the best first: a paragraph, a sentence, a word.
const ENDS: [&[&str]; 3] = [
    &["\n\n", "\r\n\r\n"],
    &[". ", "! ", "? ", ".\n", "!\n", "?\n", ".\r\n", "!\r\n", "?\r\n", "。", "！", "？"],
    &[" ", "\n", "\t"],
];

/// The text in parts of up to `most` bytes each (4 at least), without the white space between them. A part ends where
/// a reader would stop: at the best end in its second half, else in its first.
pub fn parts(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (part, after) = rest.split_at(end(rest, most));
        parts.push(part.trim_end());
        rest = after.trim_start();
    }
    parts
}

/// Where the first part of `text` ends.
fn end(text: &str, most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    let (within, _) = text.split_at(text.floor_char_boundary(most));
    let last = |ends: &[&str]| ends.iter().filter_map(|end| Some(within.rfind(end)? + end.len())).max();
    let ends = || ENDS.iter().filter_map(|ends| last(ends));
    ends().find(|at| *at > most / 2).or_else(|| ends().max()).unwrap_or(within.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_one_part_and_an_empty_one_none() {
        assert_eq!(parts(" One. Two.\n", 100), ["One. Two."]);
        assert!(parts(" \n\t", 100).is_empty());
    }

    #[test]
    fn a_part_ends_at_a_paragraph_before_a_sentence_before_a_word() {
        assert_eq!(parts("One two.\n\nThree. Four", 18), ["One two.", "Three. Four"]);
        assert_eq!(parts("One two.\r\n\r\nThree. Four", 20), ["One two.", "Three. Four"]);
        assert_eq!(parts("One two. Three four", 13), ["One two.", "Three four"]);
        assert_eq!(parts("One is\nwrapped. Two", 18), ["One is\nwrapped.", "Two"]);
        assert_eq!(parts("One two three", 10), ["One two", "three"]);
    }

    #[test]
    fn an_early_end_is_taken_where_there_is_no_late_one() {
        assert_eq!(parts("One. aaaaaaaaaaaaaaaaaaaa", 10), ["One.", "aaaaaaaaaa", "aaaaaaaaaa"]);
    }

    #[test]
    fn no_part_is_too_long_and_nothing_but_white_space_is_lost() {
        let text = "Zürich 😀。 two\n\nthree four!\nfive".repeat(50);
        let letters = |text: &str| text.split_whitespace().collect::<String>();
        for most in [4, 7, 40, 500, 10_000] {
            let parts = parts(&text, most);
            assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= most), "{most}");
            assert_eq!(letters(&parts.concat()), letters(&text), "{most}");
        }
    }
}
