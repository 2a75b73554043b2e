//! Texts that language models write.
//!
//! The task needs the grant `inference`, which names models. Tokens of prompts and answers count against `llm_tokens`.
//!
//! ```no_run
//! use omnimind_guest::inference::{self, Message, Options};
//!
//! # fn main() -> Result<(), String> {
//! let options = Options { temperature: Some(0.0), ..Options::default() };
//! let answer = inference::chat(&[Message::user("What is a mutex?")], &options)?;
//! println!("{}: {}", answer.model, answer.text);
//! # Ok(())
//! # }
//! ```

use crate::Error;
use crate::bindings::omnimind::runtime::inference as host;
use crate::bindings::wasi::io::poll::poll;

/// To wait for several things at once, answers among them: see [`wait`].
pub use crate::bindings::wasi::io::poll::Pollable;
/// What is asked, how, and what comes of it. Their documents are in `wit/inference.wit`.
pub use host::{Completion, Finish, Message, Options, Role, TokenStream};

/// All of it as the runtime is configured.
impl Default for Options {
    fn default() -> Options {
        Options {
            model: None,
            temperature: None,
            top_p: None,
            seed: None,
            max_tokens: None,
            stop: Vec::new(),
            schema: None,
            extra: None,
        }
    }
}

impl Message {
    /// How the model is to behave.
    pub fn system(content: impl Into<String>) -> Message {
        Message { role: Role::System, content: content.into(), extra: None }
    }

    /// What is asked.
    pub fn user(content: impl Into<String>) -> Message {
        Message { role: Role::User, content: content.into(), extra: None }
    }

    /// What the model said before.
    pub fn assistant(content: impl Into<String>) -> Message {
        Message { role: Role::Assistant, content: content.into(), extra: None }
    }
}

/// How a model goes on after `prompt`.
pub fn generate(prompt: &str, options: &Options) -> Result<Completion, Error> {
    host::generate(prompt, options)
}

/// What a model answers in a conversation of 1 to 1000 messages.
pub fn chat(messages: &[Message], options: &Options) -> Result<Completion, Error> {
    host::chat(messages, options)
}

/// The same piece by piece, by `next` of what is returned, which is there before the first of them. Dropped, the model
/// stops.
pub fn chat_stream(messages: &[Message], options: &Options) -> Result<TokenStream, Error> {
    host::chat_stream(messages, options)
}

/// Names that this task may use, of the models that are there.
pub fn models() -> Result<Vec<String>, Error> {
    host::models()
}

/// Waits until one of `streams` has a piece or its end, and tells which have: their places in the list. One that has
/// ended is always among them, so leave it out.
pub fn wait(streams: &[&TokenStream]) -> Vec<usize> {
    if streams.is_empty() {
        // The host would end a task that waits for nothing.
        return Vec::new();
    }
    // What is subscribed to has to go before its stream does: it does not leave this function.
    let waited: Vec<Pollable> = streams.iter().map(|stream| stream.subscribe()).collect();
    let ready = poll(&waited.iter().collect::<Vec<_>>());
    ready.into_iter().map(|at| at as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_who_speaks() {
        let said = [Message::system("be brief"), Message::user("hi"), Message::assistant("hello")];
        let roles = said.map(|message| message.role);
        assert!(matches!(roles, [Role::System, Role::User, Role::Assistant]));
    }

    #[test]
    fn what_is_not_said_is_the_runtimes() {
        let options = Options { max_tokens: Some(5), ..Options::default() };
        assert!(options.model.is_none() && options.temperature.is_none() && options.stop.is_empty());
    }
}
