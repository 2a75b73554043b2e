//! `omnimind:runtime/inference`: texts that language models write.
//!
//! What a guest says is checked before anybody is asked, and its tokens are set aside. Options that would make a server
//! load a model again are not among those that there are.

use std::time::Duration;

use serde_json::{Map, Value};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::{DynPollable, subscribe};

use super::lent::Account;
use super::{HostCtx, HostView};
use crate::backend::inference::{
    Caller, Completion, Error as Failed, Finish, Message, Prompt, Role, Sampling, Wanted,
};
use crate::bindings::TokenStream;
use crate::bindings::omnimind::runtime::inference as wit;
use crate::bindings::omnimind::runtime::types::Error;
use crate::task::{Capability, is_same_model};

/// Messages of one call.
const MAX_MESSAGES: usize = 1000;

/// Texts that end an answer, and bytes of one.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;

/// Bytes of a model's name.
const MAX_MODEL_BYTES: usize = 256;

/// Bytes of the options' `extra`, and of those of all messages together: as JSON each takes many times as much.
const MAX_EXTRA_BYTES: usize = 4 << 10;
const MAX_EXTRAS_BYTES: usize = 16 << 10;

/// What of `extra` a model's server makes room for: it is bounded here, whatever the server does.
const SIZES: [(&str, f64); 2] = [("repeat_last_n", 65_536.0), ("top_k", 1000.0)];

/// The highest temperature.
const MAX_TEMPERATURE: f32 = 5.0;

/// Answers that one task takes piece by piece at one time: each has its prompt in the host's memory.
const MAX_STREAMS: usize = 64;

struct InferenceView<'a> {
    account: Account<'a>,
    table: &'a mut ResourceTable,
    streams: &'a mut usize,
}

struct HasInference;

impl HasData for HasInference {
    type Data<'a> = InferenceView<'a>;
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match failed {
            Failed::Invalid(rule) => Error::InvalidInput(rule),
            Failed::NoModel(_) => Error::NotFound(failed.to_string()),
            Failed::Busy(why) | Failed::Unavailable(why) | Failed::Failed(why) => Error::Unavailable(why),
            // Another try may fit.
            Failed::Misfit(_) => Error::Unavailable(failed.to_string()),
            Failed::TimedOut(why) => Error::TimedOut(why),
            Failed::Exhausted(exhausted) => exhausted.into(),
            Failed::Internal(why) => Error::Internal(why),
        }
    }
}

fn invalid(rule: impl Into<String>) -> Error {
    Error::InvalidInput(rule.into())
}

/// The members of `extra`, which are some of `known`.
fn extra(extra: Option<String>, known: &[&str]) -> Result<Map<String, Value>, Error> {
    let Some(text) = extra else { return Ok(Map::new()) };
    // What is wrong with it may be all of it.
    let no_object = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        invalid(format!("extra is no JSON object: line {line}, column {column}"))
    };
    let members: Map<String, Value> = serde_json::from_str(&text).map_err(no_object)?;
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(members),
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(Error::Unsupported(format!(
                "extra: `{}` is not the guest's to say; there is {}",
                name.escape_debug(),
                known.join(", ")
            )))
        }
    }
}

fn message(message: wit::Message) -> Result<Message, Error> {
    let role = match message.role {
        wit::Role::System => Role::System,
        wit::Role::User => Role::User,
        wit::Role::Assistant => Role::Assistant,
    };
    Ok(Message { role, content: message.content, extra: extra(message.extra, &Message::EXTRA)? })
}

/// The conversation, if it is one.
fn conversation(messages: Vec<wit::Message>) -> Result<Prompt, Error> {
    let count = messages.len();
    if !(1..=MAX_MESSAGES).contains(&count) {
        return Err(invalid(format!("{count} messages: one call takes 1 to {MAX_MESSAGES}")));
    }
    let extras: usize = messages.iter().filter_map(|message| message.extra.as_ref()).map(String::len).sum();
    if extras > MAX_EXTRAS_BYTES {
        return Err(invalid(format!("extra has {MAX_EXTRAS_BYTES} bytes at most, of all messages together")));
    }
    Ok(Prompt::Messages(messages.into_iter().map(message).collect::<Result<_, _>>()?))
}

/// What is wanted of a model, if that may be.
fn wanted(prompt: Prompt, options: wit::Options) -> Result<Wanted, Error> {
    let wit::Options { model, temperature, top_p, seed, max_tokens, stop, schema, extra: more } = options;
    let within = |number: Option<f32>, most: f32| number.is_none_or(|number| (0.0..=most).contains(&number));
    if !within(temperature, MAX_TEMPERATURE) || !within(top_p, 1.0) {
        return Err(invalid(format!("temperature is from 0 to {MAX_TEMPERATURE}, top-p from 0 to 1")));
    }
    if max_tokens == Some(0) {
        return Err(invalid("max-tokens is 1 at least"));
    }
    if stop.len() > MAX_STOPS || stop.iter().any(|text| text.is_empty() || text.len() > MAX_STOP_BYTES) {
        return Err(invalid(format!("stop has {MAX_STOPS} texts at most, of 1 to {MAX_STOP_BYTES} bytes")));
    }
    if more.as_ref().is_some_and(|more| more.len() > MAX_EXTRA_BYTES) {
        return Err(invalid(format!("extra has {MAX_EXTRA_BYTES} bytes at most")));
    }
    let extra = extra(more, &Sampling::EXTRA)?;
    for (name, value) in &extra {
        let most = SIZES.iter().find(|(size, _)| size == name).map_or(f64::MAX, |(_, most)| *most);
        if !value.as_f64().is_some_and(|number| number <= most) {
            return Err(invalid(format!("extra: {name} is a number, up to {most:e}")));
        }
    }
    let sampling = Sampling { temperature, top_p, seed, stop, extra };
    Ok(Wanted { model, prompt, sampling, schema, max_tokens: max_tokens.map(u64::from) })
}

/// Bytes of the options, as they come from a guest.
fn bytes_of(options: &wit::Options) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let stops: usize = options.stop.iter().map(|stop| stop.len() + 8).sum();
    text(&options.model) + text(&options.schema) + text(&options.extra) + stops
}

fn bytes_of_all(messages: &[wit::Message]) -> usize {
    let one =
        |message: &wit::Message| message.content.len() + message.extra.as_ref().map_or(0, String::len) + 24;
    messages.iter().map(one).sum()
}

fn told_as(completion: Completion) -> wit::Completion {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    wit::Completion {
        text: completion.text,
        finish: match completion.finish {
            Finish::Stop => wit::Finish::Stop,
            Finish::Length => wit::Finish::Length,
            Finish::Budget => wit::Finish::Budget,
            Finish::Cancelled => wit::Finish::Cancelled,
        },
        model: completion.model,
        prompt_tokens: small(completion.prompt_tokens),
        completion_tokens: small(completion.completion_tokens),
        duration_ms: milliseconds(completion.took),
        cached: completion.cached,
    }
}

impl Account<'_> {
    /// Who asks; one that may ask the model, which is the configured one where none is named.
    fn caller(&self, model: Option<&str>) -> Result<Caller, Error> {
        self.lent.backends.inference.is_there()?;
        if model.is_some_and(|name| name.len() > MAX_MODEL_BYTES) {
            return Err(invalid(format!("a model's name has {MAX_MODEL_BYTES} bytes at most")));
        }
        self.check(Capability::Inference)?;
        let model = model.unwrap_or(self.lent.backends.inference.default_model());
        if let Some(grants) = &self.lent.grants
            && !grants.inference.iter().any(|granted| is_same_model(granted, model))
        {
            let (granted, model) = (grants.inference.join(", "), model.escape_debug());
            return Err(Error::AccessDenied(format!(
                "the task was granted the models {granted}; \"grants\": {{\"inference\": [\"{model}\"]}} grants this one"
            )));
        }
        let (tenant, priority) = (self.lent.tenant.clone(), self.lent.priority);
        Ok(Caller { tenant, priority, ledger: self.ledger.clone(), models: self.lent.models.clone() })
    }

    async fn complete(
        &self,
        prompt: impl FnOnce() -> Result<Prompt, Error>,
        options: wit::Options,
    ) -> Result<wit::Completion, Error> {
        let caller = self.caller(options.model.as_deref())?;
        let wanted = wanted(prompt()?, options)?;
        let made = self.lent.backends.inference.complete(wanted, caller).await?;
        super::has_room(self.ledger, made.text.len() as u64)?;
        Ok(told_as(made))
    }

    fn begin(&self, messages: Vec<wit::Message>, options: wit::Options) -> Result<TokenStream, Error> {
        let caller = self.caller(options.model.as_deref())?;
        let wanted = wanted(conversation(messages)?, options)?;
        Ok(TokenStream(self.lent.backends.inference.begin(wanted, caller)?))
    }

    async fn usable(&self) -> Result<Vec<String>, Error> {
        self.check(Capability::Inference)?;
        let there = self.lent.backends.inference.recent().await?.into_iter().map(|model| model.name);
        let granted = |name: &String| {
            self.lent
                .grants
                .as_ref()
                .is_none_or(|grants| grants.inference.iter().any(|granted| is_same_model(granted, name)))
        };
        Ok(there.filter(granted).collect())
    }

    /// Pays for what a completion carries.
    fn carry_out(&self, answer: &Result<wit::Completion, Error>) -> wasmtime::Result<()> {
        if let Ok(completion) = answer {
            super::carry(self.ledger, (completion.text.len() + completion.model.len() + 32) as u64)?;
        }
        Ok(())
    }
}

impl wit::Host for InferenceView<'_> {
    async fn generate(
        &mut self,
        prompt: String,
        options: wit::Options,
    ) -> wasmtime::Result<Result<wit::Completion, Error>> {
        let Account { ledger, .. } = self.account;
        super::carry(ledger, (prompt.len() + bytes_of(&options)) as u64)?;
        let answer = self.account.complete(|| Ok(Prompt::Text(prompt)), options).await;
        self.account.carry_out(&answer)?;
        Ok(super::told(ledger, answer))
    }

    async fn chat(
        &mut self,
        messages: Vec<wit::Message>,
        options: wit::Options,
    ) -> wasmtime::Result<Result<wit::Completion, Error>> {
        let Account { ledger, .. } = self.account;
        super::carry(ledger, (bytes_of_all(&messages) + bytes_of(&options)) as u64)?;
        let answer = self.account.complete(|| conversation(messages), options).await;
        self.account.carry_out(&answer)?;
        Ok(super::told(ledger, answer))
    }

    fn chat_stream(
        &mut self,
        messages: Vec<wit::Message>,
        options: wit::Options,
    ) -> wasmtime::Result<Result<Resource<TokenStream>, Error>> {
        let Account { ledger, .. } = self.account;
        super::carry(ledger, (bytes_of_all(&messages) + bytes_of(&options)) as u64)?;
        if *self.streams >= MAX_STREAMS {
            let full = Err(invalid(format!("{MAX_STREAMS} streams are open: drop one first")));
            return Ok(super::told(ledger, full));
        }
        match super::told(ledger, self.account.begin(messages, options)) {
            Ok(stream) => {
                let stream = self.table.push(stream)?;
                *self.streams += 1;
                Ok(Ok(stream))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn models(&mut self) -> wasmtime::Result<Result<Vec<String>, Error>> {
        let models = super::told(self.account.ledger, self.account.usable().await);
        if let Ok(models) = &models {
            super::carry(self.account.ledger, models.iter().map(|name| name.len() as u64 + 8).sum())?;
        }
        Ok(models)
    }
}

impl wit::HostTokenStream for InferenceView<'_> {
    async fn next(
        &mut self,
        stream: Resource<TokenStream>,
    ) -> wasmtime::Result<Result<Option<String>, Error>> {
        let next = self.table.get_mut(&stream)?.0.next().await.map_err(Error::from);
        if let Ok(Some(piece)) = &next {
            super::carry(self.account.ledger, piece.len() as u64 + 8)?;
        }
        Ok(super::told(self.account.ledger, next))
    }

    fn subscribe(&mut self, stream: Resource<TokenStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, stream)
    }

    fn cancel(&mut self, stream: Resource<TokenStream>) -> wasmtime::Result<()> {
        self.table.get_mut(&stream)?.0.cancel();
        Ok(())
    }

    fn completion(
        &mut self,
        stream: Resource<TokenStream>,
    ) -> wasmtime::Result<Result<wit::Completion, Error>> {
        let ended = self.table.get_mut(&stream)?.0.ended();
        let answer = match ended {
            Some(completion) => completion.map(told_as).map_err(Error::from),
            None => Err(invalid("the answer has not ended: take it to its end, or cancel it")),
        };
        self.account.carry_out(&answer)?;
        Ok(super::told(self.account.ledger, answer))
    }

    fn drop(&mut self, stream: Resource<TokenStream>) -> wasmtime::Result<()> {
        self.table.delete(stream)?;
        *self.streams = self.streams.saturating_sub(1);
        Ok(())
    }
}

pub(super) fn add_to_linker<T: HostView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasInference>(linker, |t| {
        let HostCtx { lent, ledger, table, streams, .. } = t.host().call();
        InferenceView { account: Account { lent, ledger }, table, streams }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(extra: String) -> wit::Options {
        let (temperature, top_p, seed, max_tokens) = (None, None, None, None);
        let (model, stop, schema, extra) = (None, Vec::new(), None, Some(extra));
        wit::Options { model, temperature, top_p, seed, max_tokens, stop, schema, extra }
    }

    #[test]
    fn extras_are_small_and_what_is_wrong_is_not_said_back() {
        let wanted = |extra: String| wanted(Prompt::Text(String::new()), options(extra));
        assert!(wanted(r#"{"top_k": 40, "repeat_last_n": -1, "min_p": 0.1}"#.to_owned()).is_ok());
        for wrong in [
            r#"{"top_k": 1000000000}"#.to_owned(),
            r#"{"repeat_last_n": 2147483647}"#.to_owned(),
            r#"{"min_p": "high"}"#.to_owned(),
            format!("{{{}}}", " ".repeat(MAX_EXTRA_BYTES)),
            format!("\"{}\"", "x".repeat(1000)),
        ] {
            let Err(Error::InvalidInput(why)) = wanted(wrong.clone()) else { panic!("{wrong}") };
            assert!(why.len() < 100, "{why}");
        }
        let message = |extra: usize| wit::Message {
            role: wit::Role::User,
            content: String::new(),
            extra: Some(format!("{{\"thinking\": \"{}\"}}", "x".repeat(extra))),
        };
        let each = MAX_EXTRAS_BYTES / 2 - 20;
        assert!(conversation(vec![message(each), message(each)]).is_ok());
        let all = conversation(vec![message(each), message(each), message(each)]);
        assert!(matches!(&all, Err(Error::InvalidInput(why)) if why.contains("all messages")), "{all:?}");
    }
}
