//! Makes a short text of a long one.
//!
//! Input: a text, or `{"text": "…", "model": "…"}` where it is not to be the configured model. Output: the summary, in
//! the text's language. A long text is summarized in parts, and then what was written of these; clients see how far that
//! is, word by word. Where the budget `llm_tokens` runs out, the output is what there is, and says so at its end.

mod parts;
mod reduce;

use omnimind_guest::inference::{self, Finish, Message, Options};
use omnimind_guest::{Error, context, json};
use serde::Deserialize;

use reduce::{Step, Written, reduce};

/// Tokens of a summary: about a quarter of what a part has.
const MAX_TOKENS: u32 = 400;

/// Pieces of a summary, about tokens, between two reports.
const REPORT_PIECES: usize = 20;

const SYSTEM: &str = "You summarize the text that the user sends, in its language and in a few sentences. You answer \
                      with the summary alone.";

#[derive(Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[serde(deny_unknown_fields)]
struct Request {
    text: String,
    model: Option<String>,
}

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let Request { text, model } = parse(input)?;
    // Always the likeliest word: the runtime keeps such an answer, and another attempt at the task has it for nothing.
    let options =
        Options { model, temperature: Some(0.0), max_tokens: Some(MAX_TOKENS), ..Options::default() };
    reduce(&text, |step, part| write(step, part, &options)).map(String::into_bytes)
}

fn parse(input: Vec<u8>) -> Result<Request, String> {
    let request = match input.trim_ascii_start().starts_with(b"{") {
        true => json::decode(&input)?,
        false => {
            let text = String::from_utf8(input).map_err(|e| format!("the input is not UTF-8: {e}"))?;
            Request { text, model: None }
        }
    };
    match request.text.trim().is_empty() {
        true => Err("the text is empty: send one to be summarized".to_owned()),
        false => Ok(request),
    }
}

/// The summary of one part, while clients see that it grows.
fn write(step: Step, part: &str, options: &Options) -> Result<Written, String> {
    match stream(step, part, options) {
        Ok(written) => Ok(written),
        Err(Error::BudgetExhausted(spent)) if spent.budget == "llm_tokens" => {
            Ok(Written { text: String::new(), ran_out: true })
        }
        Err(error) => Err(error.into()),
    }
}

fn stream(step: Step, part: &str, options: &Options) -> Result<Written, Error> {
    let stream = inference::chat_stream(&[Message::system(SYSTEM), Message::user(part)], options)?;
    let mut text = String::new();
    for pieces in 0.. {
        if pieces % REPORT_PIECES == 0 {
            if context::cancelled() {
                return Err(Error::Cancelled);
            }
            report(step, pieces);
        }
        match stream.next()? {
            Some(piece) => text.push_str(&piece),
            None => break,
        }
    }
    Ok(Written { text, ran_out: stream.completion()?.finish == Finish::Budget })
}

fn report(step: Step, pieces: usize) {
    let Step { level, part, parts } = step;
    let of = if level == 0 { "text" } else { "summaries" };
    let percent = step.percent(pieces as f32 / MAX_TOKENS as f32);
    context::report_progress(percent, &format!("{of}, part {part} of {parts}: {pieces} tokens"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_input_are_read() {
        let request = |text: &str, model: Option<&str>| {
            Ok(Request { text: text.to_owned(), model: model.map(str::to_owned) })
        };
        assert_eq!(parse(b"a\nb".to_vec()), request("a\nb", None));
        assert_eq!(parse(br#" {"text": "a"}"#.to_vec()), request("a", None));
        assert_eq!(parse(br#"{"text": "a", "model": "m"}"#.to_vec()), request("a", Some("m")));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let why = |input: &[u8]| parse(input.to_vec()).unwrap_err();
        assert!(why(b" \n").contains("empty") && why(br#"{"text": ""}"#).contains("empty"));
        assert!(why(br#"{"text": "a", "words": 3}"#).contains("`words`"));
        assert!(why(b"\xff").contains("UTF-8"));
    }
}
