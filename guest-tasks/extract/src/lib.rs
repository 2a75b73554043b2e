//! Finds in a text what a JSON schema asks for.
//!
//! Input: `{"text": "…", "schema": {…}}`, and `"model": "…"` where it is not to be the configured one. Output: the JSON,
//! which satisfies the schema. The text has to fit into the model's context; the runtime says if it does not.

use omnimind_guest::inference::{self, Completion, Finish, Message, Options};
use omnimind_guest::{Error, json};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    text: String,
    /// As it was sent: the runtime reads it, and a model follows the order of its fields.
    schema: Box<RawValue>,
    model: Option<String>,
}

omnimind_guest::task!(run);

fn run(input: Vec<u8>) -> Result<Vec<u8>, String> {
    let request = parse(&input)?;
    let options = Options {
        model: request.model.clone(),
        temperature: Some(0.0),
        schema: Some(request.schema.get().to_owned()),
        ..Options::default()
    };
    found(inference::chat(&messages(&request), &options))
}

fn parse(input: &[u8]) -> Result<Request, String> {
    let request: Request = json::decode(input).map_err(|why| {
        format!("{why}; it is {{\"text\": \"…\", \"schema\": {{…}}}}, and may have a `model`")
    })?;
    if request.text.trim().is_empty() {
        return Err("text is empty: send the text in which something is to be found".to_owned());
    }
    if !request.schema.get().starts_with('{') {
        return Err("schema is not an object: send a JSON schema, as in {\"type\": \"object\"}".to_owned());
    }
    Ok(request)
}

/// The schema is said in words, too: held to it alone, a model does not know what its fields are for.
fn messages(request: &Request) -> [Message; 2] {
    let system = format!(
        "You extract data from the text that the user sends. Answer with JSON that satisfies this schema, and \
         nothing else. Take what the text says, and invent nothing.\n{}",
        request.schema.get()
    );
    [Message::system(system), Message::user(&*request.text)]
}

fn found(answer: Result<Completion, Error>) -> Result<Vec<u8>, String> {
    match answer {
        // Where the budget ended it, nobody has checked it.
        Ok(Completion { finish: Finish::Budget, completion_tokens, .. }) => Err(format!(
            "budget llm_tokens exhausted: the answer was cut after {completion_tokens} tokens; set the limit \
             llm_tokens higher, or send a shorter text"
        )),
        Ok(answer) => Ok(answer.text.trim().into()),
        Err(error @ Error::BudgetExhausted(_)) => {
            Err(format!("{}; set that limit higher, or send a shorter text", String::from(error)))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use omnimind_guest::BudgetExhausted;

    use super::*;

    fn answer(text: &str, finish: Finish) -> Completion {
        Completion {
            text: text.to_owned(),
            finish,
            model: "m".to_owned(),
            prompt_tokens: 10,
            completion_tokens: 7,
            duration_ms: 1,
            cached: false,
        }
    }

    #[test]
    fn the_schema_reaches_the_model_as_it_was_sent() {
        let request = parse(br#"{"text": "Ada, 36", "schema": {"z": 1.0, "a": [ ]}}"#).unwrap();
        assert_eq!((request.schema.get(), &request.model), (r#"{"z": 1.0, "a": [ ]}"#, &None));
        let [system, user] = messages(&request);
        assert!(system.content.ends_with(r#"{"z": 1.0, "a": [ ]}"#) && user.content == "Ada, 36");
    }

    #[test]
    fn what_is_wrong_with_the_input_is_named() {
        let why = |input: &str| parse(input.as_bytes()).unwrap_err();
        assert!(why(r#"{"text": "a"}"#).contains("`schema`"));
        assert!(why(r#"{"text": "a", "schema": {}, "modle": "m"}"#).contains("`modle`"));
        assert!(why(r#"{"text": " ", "schema": {}}"#).starts_with("text is empty"));
        assert!(why(r#"{"text": "a", "schema": "b"}"#).starts_with("schema is not an object"));
        assert!(why("Ada, 36").contains(r#"{"text": "…", "schema": {…}}"#));
    }

    #[test]
    fn only_a_whole_answer_is_the_output() {
        assert_eq!(found(Ok(answer(" {\"age\": 36}\n", Finish::Stop))), Ok(br#"{"age": 36}"#.to_vec()));
        // The runtime has checked this one.
        assert_eq!(found(Ok(answer("36", Finish::Length))), Ok(b"36".to_vec()));
        let cut = found(Ok(answer("{\"age\"", Finish::Budget))).unwrap_err();
        assert!(cut.contains("llm_tokens") && cut.contains("7 tokens"), "{cut}");
        let refused = BudgetExhausted { budget: "llm_tokens".into(), requested: 9, remaining: 3 };
        let refused = found(Err(Error::BudgetExhausted(refused))).unwrap_err();
        assert!(refused.contains("asked for 9, 3 left; set"), "{refused}");
        assert_eq!(found(Err(Error::NotFound("m".into()))), Err("not found: m".into()));
    }
}
