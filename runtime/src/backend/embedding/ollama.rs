//! Vectors that Ollama makes.
//!
//! It is asked for by what it documents: `/api/show` for the model, `/api/embed` with `truncate: false` for vectors.
//! What comes back is not trusted: it is bounded in bytes and time, no redirect is followed, and numbers are checked.
//! A model that Ollama would compute somewhere else is refused: texts stay on this machine.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::{
    Embedded, EmbeddingBackend, Encoded, Error, Form, GoOn, MAX_DIMENSIONS, Model, check_length, normalized,
};
use crate::backend::ollama::{Fault, Server, Shown};
use crate::backend::work::ComputeSlots;

/// How long a batch may take, however many requests it comes to; Ollama may load the model first.
const EMBED_TIMEOUT: Duration = Duration::from_secs(120);

/// Time between two looks at whether somebody still waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of an answer for each number, and beside them.
const NUMBER_BYTES: usize = 32;
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Bytes of a text that are a token, about: it is charged what Ollama counts.
const TOKEN_BYTES: usize = 4;

/// A model of an Ollama.
#[derive(Clone, Debug)]
pub struct Ollama {
    server: Server,
    model: Model,
}

/// What `/api/embed` says.
#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Vec<f32>>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
}

fn unavailable(text: &str) -> Error {
    Error::Unavailable(text.to_owned())
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::TimedOut(why) => Error::TimedOut(why),
            Fault::Internal(why) => Error::Internal(why),
            fault => Error::Unavailable(fault.to_string()),
        }
    }
}

/// The model `name`, which is that.
fn model(name: &str, shown: &Shown) -> Result<Model, Error> {
    if !shown.can("embedding") {
        return Err(unavailable("the model of embedding.model makes no embeddings"));
    }
    let dimensions = shown.number("embedding_length").filter(|dimensions| *dimensions <= MAX_DIMENSIONS);
    match (dimensions, shown.number("context_length")) {
        (Some(dimensions), Some(max_tokens)) => {
            Ok(Model { name: name.to_owned(), dimensions, max_tokens, device: "ollama" })
        }
        _ => Err(unavailable("Ollama does not say how long the model's vectors and texts are")),
    }
}

impl Ollama {
    /// The first of these models that is there.
    ///
    /// # Errors
    /// Ollama does not answer, or has none of them.
    pub async fn find(server: &Server, names: &[&str]) -> Result<Ollama, Error> {
        for name in names {
            if let Some(shown) = server.show(name).await? {
                return Ok(Ollama { server: server.clone(), model: model(name, &shown)? });
            }
        }
        let name = names.first().copied().unwrap_or_default();
        Err(Error::Unavailable(format!("Ollama has no such model: `ollama pull {name}`")))
    }

    /// The vectors of these texts, in one request. What is wrong with one of them is wrong with all.
    async fn request(&self, texts: &[(Box<str>, u64)], until: Instant) -> Result<Vec<Embedded>, Error> {
        let inputs: Vec<&str> = texts.iter().map(|(text, _)| &**text).collect();
        let body = json!({"model": self.model.name, "input": inputs, "truncate": false});
        let most = MAX_ANSWER_BYTES + texts.len() * self.model.dimensions * NUMBER_BYTES;
        let left = until.saturating_duration_since(Instant::now());
        let Answer { embeddings, prompt_eval_count } =
            match self.server.ask("/api/embed", &body, most, left).await {
                Err(Fault::Refused(400, _)) => {
                    let Model { max_tokens, .. } = self.model;
                    return Err(Error::Invalid(format!(
                        "a text has more tokens than the {max_tokens} that the model takes: split the text"
                    )));
                }
                Err(Fault::Refused(404, _)) => return Err(unavailable("Ollama has the model no more")),
                answer => answer?,
            };
        let broken = || unavailable("Ollama's answer is not what /api/embed answers");
        if embeddings.len() != texts.len() {
            return Err(broken());
        }
        let about: u64 = texts.iter().map(|(_, tokens)| tokens).sum();
        let counted = prompt_eval_count.unwrap_or(about);
        let of = |(vector, (_, tokens)): (Vec<f32>, &(Box<str>, u64))| {
            let vector = Some(vector).filter(|vector| vector.len() == self.model.dimensions);
            // It counts all texts together: each is charged its part.
            let tokens = (u128::from(counted) * u128::from(*tokens)).div_ceil(u128::from(about.max(1)));
            let vector = vector.and_then(normalized).ok_or_else(broken)?;
            Ok(Embedded { vector, tokens: u64::try_from(tokens).unwrap_or(u64::MAX), cpu: Duration::ZERO })
        };
        embeddings.into_iter().zip(texts).map(of).collect()
    }

    async fn all(&self, texts: Vec<(Box<str>, u64)>) -> Vec<Result<Embedded, Error>> {
        let until = Instant::now() + EMBED_TIMEOUT;
        match self.request(&texts, until).await {
            Ok(all) => all.into_iter().map(Ok).collect(),
            // One is too long: the others are not, and may be somebody else's.
            Err(Error::Invalid(_)) if texts.len() > 1 => {
                let mut each = Vec::with_capacity(texts.len());
                for text in texts {
                    let one = self.request(&[text], until).await;
                    each.push(one.and_then(|one| {
                        one.into_iter().next().ok_or_else(|| unavailable("Ollama gave no vector"))
                    }));
                }
                each
            }
            Err(error) => texts.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

#[async_trait]
impl EmbeddingBackend for Ollama {
    fn describe(&self) -> Model {
        self.model.clone()
    }

    fn encode(&self, text: &str) -> Result<Encoded, Error> {
        check_length(text, self.model.max_tokens)?;
        Ok(Encoded { tokens: text.len().div_ceil(TOKEN_BYTES) as u64, form: Form::Text(text.into()) })
    }

    async fn embed(
        &self,
        texts: Vec<Encoded>,
        _slots: &dyn ComputeSlots,
        go_on: GoOn,
    ) -> Vec<Result<Embedded, Error>> {
        let count = texts.len();
        let text = |Encoded { tokens, form }| match form {
            Form::Text(text) => Some((text, tokens)),
            Form::Ids(_) => None,
        };
        let Some(texts) = texts.into_iter().map(text).collect::<Option<Vec<_>>>() else {
            let foreign = Error::Internal("a text was encoded for another model".to_owned());
            return vec![Err(foreign); count];
        };
        let nobody = async {
            while go_on() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            made = self.all(texts) => made,
            () = nobody => vec![Err(Error::Stopped); count],
        }
    }
}
