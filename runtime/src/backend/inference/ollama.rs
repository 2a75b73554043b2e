//! Answers that Ollama makes, by `/api/chat` and `/api/generate`.
//!
//! Every request names what a loaded model is compared with (`num_ctx`, `num_gpu`), the same each time: a model is never
//! loaded again because one guest wants it otherwise. How long it stays is Ollama's own affair. `truncate` and `shift` are
//! off, so that a prompt that is too long is an error and not half a prompt.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{
    Abilities, Answer, Ending, Error, InferenceBackend, Loaded, Message, ModelInfo, Piece, Prompt, Request,
    Sampling,
};
use crate::backend::ollama::{Bounds, Fault, Lines, Server, is_remote};

/// Until the first piece: Ollama itself gives up loading a model after five minutes.
const FIRST: Duration = Duration::from_secs(330);

/// From one piece to the next.
const IDLE: Duration = Duration::from_secs(60);

/// All of an answer; the task's own deadline is earlier.
const TOTAL: Duration = Duration::from_secs(3600);

/// Bytes of a line: of one token, or of the last one with all that is counted.
const LINE_BYTES: usize = 1 << 20;

/// Bytes of an answer for each token, in JSON, and beside them.
const TOKEN_BYTES: usize = 1 << 10;
const MORE_BYTES: usize = 1 << 20;

/// What it says of its models.
const MAX_MODELS_BYTES: usize = 16 << 20;

/// What models are loaded with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// `num_ctx`: tokens of prompt and answer together.
    pub context: u64,
    /// `num_gpu`: layers on the GPU; none: Ollama decides.
    pub gpu_layers: Option<u64>,
}

/// Models of an Ollama.
pub struct Ollama {
    server: Server,
    load: Load,
}

impl Ollama {
    /// Those of `server`, loaded like that.
    pub fn new(server: Server, load: Load) -> Ollama {
        Ollama { server, load }
    }

    /// Where it is asked, and what.
    fn body(&self, request: &Request) -> Result<(&'static str, String), Error> {
        let Request { model, prompt, sampling, schema, max_tokens } = request;
        let Sampling { temperature, top_p, seed, stop, extra } = sampling;
        let mut options: Map<String, Value> = extra.clone();
        let mut option = |name: &str, value: Option<Value>| {
            options.extend(value.map(|value| (name.to_owned(), value)));
        };
        option("temperature", temperature.map(Value::from));
        option("top_p", top_p.map(Value::from));
        option("seed", seed.map(Value::from));
        option("stop", (!stop.is_empty()).then(|| json!(stop)));
        option("num_gpu", self.load.gpu_layers.map(Value::from));
        option("num_ctx", Some(self.load.context.into()));
        option("num_predict", Some((*max_tokens).into()));
        let (path, name, prompt) = match prompt {
            Prompt::Text(text) => ("/api/generate", "prompt", text.as_str().into()),
            Prompt::Messages(messages) => ("/api/chat", "messages", messages.iter().map(message).collect()),
        };
        let mut rest = json!({
            "model": model, "options": options, "stream": true, "truncate": false, "shift": false,
        });
        rest.as_object_mut().map(|rest| rest.insert(name.to_owned(), prompt));
        let internal = |error: serde_json::Error| Error::Internal(error.to_string());
        let format = schema.as_deref().map(serde_json::from_str).transpose().map_err(internal)?;
        Ok((path, serde_json::to_string(&Body { rest, format }).map_err(internal)?))
    }
}

/// What is sent.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    rest: Value,
    /// As it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a RawValue>,
}

fn message(message: &Message) -> Value {
    let mut said = message.extra.clone();
    said.insert("role".to_owned(), message.role.name().into());
    said.insert("content".to_owned(), message.content.as_str().into());
    Value::Object(said)
}

/// A line of an answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    response: String,
    message: Said,
    done: bool,
    done_reason: String,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    remote_host: String,
    remote_model: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    content: String,
}

#[derive(Deserialize)]
struct Models {
    #[serde(default)]
    models: Vec<Named>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    size: Option<u64>,
    size_vram: Option<u64>,
    context_length: Option<u64>,
    details: Details,
    remote_host: String,
    remote_model: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    family: Option<String>,
    parameter_size: Option<String>,
    quantization_level: Option<String>,
}

impl Named {
    fn is_remote(&self) -> bool {
        is_remote(&self.name) || !self.remote_host.is_empty() || !self.remote_model.is_empty()
    }
}

#[async_trait]
impl InferenceBackend for Ollama {
    fn name(&self) -> &'static str {
        "ollama"
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        let there: Models = self.server.get("/api/tags", MAX_MODELS_BYTES).await?;
        let running: Models = self.server.get("/api/ps", MAX_MODELS_BYTES).await?;
        let running: BTreeMap<String, Named> =
            running.models.into_iter().map(|model| (model.name.clone(), model)).collect();
        let info = |model: Named| ModelInfo {
            loaded: running.get(&model.name).map(|loaded| Loaded {
                bytes: loaded.size.unwrap_or_default(),
                vram_bytes: loaded.size_vram.unwrap_or_default(),
                context: loaded.context_length,
            }),
            size_bytes: model.size,
            family: model.details.family,
            parameters: model.details.parameter_size,
            quantization: model.details.quantization_level,
            name: model.name,
        };
        // What is computed on another machine is not on offer.
        Ok(there.models.into_iter().filter(|model| !model.is_remote()).map(info).collect())
    }

    async fn abilities(&self, model: &str) -> Result<Abilities, Error> {
        let shown = self.server.show(model).await?.ok_or_else(|| Error::NoModel(model.to_owned()))?;
        let context = shown.number("context_length").map(|number| number as u64);
        Ok(Abilities { capabilities: shown.capabilities, context })
    }

    fn begin(&self, request: &Request) -> Box<dyn Answer> {
        if is_remote(&request.model) {
            return Box::new(Refused(Some(Fault::Elsewhere.into())));
        }
        let (path, body) = match self.body(request) {
            Ok(asked) => asked,
            Err(error) => return Box::new(Refused(Some(error))),
        };
        let tokens = usize::try_from(request.max_tokens).unwrap_or(usize::MAX);
        let bounds = Bounds {
            first: FIRST,
            idle: IDLE,
            total: TOTAL,
            line_bytes: LINE_BYTES,
            bytes: tokens.saturating_mul(TOKEN_BYTES).saturating_add(MORE_BYTES),
        };
        Box::new(Written {
            lines: self.server.lines(path, body, bounds),
            model: request.model.clone(),
            ending: None,
        })
    }
}

/// An answer that is none.
struct Refused(Option<Error>);

#[async_trait]
impl Answer for Refused {
    async fn next(&mut self) -> Result<Piece, Error> {
        Err(self.0.take().unwrap_or_else(|| Error::Internal("the answer has ended".to_owned())))
    }
}

struct Written {
    lines: Lines<Line>,
    model: String,
    /// The end, where the last line had text too.
    ending: Option<Ending>,
}

#[async_trait]
impl Answer for Written {
    async fn next(&mut self) -> Result<Piece, Error> {
        if let Some(ending) = self.ending.take() {
            return Ok(Piece::End(ending));
        }
        let line = self.lines.next().await.map_err(|fault| match fault.is_not_found() {
            true => Error::NoModel(self.model.clone()),
            false => fault.into(),
        })?;
        let Some(line) = line else {
            let why = "Ollama's answer ended in the middle: did it end, or unload the model?";
            return Err(Error::Unavailable(why.to_owned()));
        };
        if !line.remote_host.is_empty() || !line.remote_model.is_empty() {
            return Err(Fault::Elsewhere.into());
        }
        let Line { response, message, done, done_reason, prompt_eval_count, eval_count, .. } = line;
        let ending = done.then(|| Ending {
            is_cut: done_reason == "length",
            prompt_tokens: prompt_eval_count,
            completion_tokens: eval_count,
        });
        let text = response + &message.content;
        match ending {
            Some(ending) if text.is_empty() => return Ok(Piece::End(ending)),
            // Thinking, or a token that is no whole character.
            None if text.is_empty() => return Ok(Piece::Silent),
            ending => {
                self.ending = ending;
                return Ok(Piece::Text(text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_schema_is_sent_as_it_was_written() {
        let server = Server::new("http://127.0.0.1:1", tokio::runtime::Handle::current()).unwrap();
        let ollama = Ollama::new(server, Load { context: 1024, gpu_layers: None });
        let schema = r#"{"properties": {"why": {}, "answer": {}}}"#;
        let request = Request {
            model: "m".to_owned(),
            prompt: Prompt::Text("?".to_owned()),
            sampling: Sampling::default(),
            schema: Some(schema.to_owned()),
            max_tokens: 1,
        };
        let (_, body) = ollama.body(&request).unwrap();
        assert!(body.contains(&format!("\"format\":{schema}")), "{body}");
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["options"]["num_ctx"], 1024);
    }
}
