//! Answers that somebody wrote beforehand, for tests: what a model does is said step by step.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Abilities, Answer, Error, InferenceBackend, ModelInfo, Piece, Request};

/// What an answer does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It has this piece, or its end.
    Give(Piece),
    /// It takes so long.
    Wait(Duration),
    /// It fails.
    Fail(Error),
}

/// Makes the steps of an answer.
type Script = dyn Fn(&Request) -> Vec<Step> + Send + Sync;

/// Models whose answers are known.
#[derive(Clone)]
pub struct Scripted {
    models: Vec<String>,
    script: Arc<Script>,
}

impl Scripted {
    /// Models of these names, which answer as `script` says.
    pub fn new(models: &[&str], script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static) -> Scripted {
        Scripted { models: models.iter().map(|name| (*name).to_owned()).collect(), script: Arc::new(script) }
    }
}

#[async_trait]
impl InferenceBackend for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, Error> {
        let info = |name: &String| ModelInfo { name: name.clone(), ..ModelInfo::default() };
        Ok(self.models.iter().map(info).collect())
    }

    async fn abilities(&self, model: &str) -> Result<Abilities, Error> {
        match self.models.iter().any(|name| name == model) {
            true => Ok(Abilities::default()),
            false => Err(Error::NoModel(model.to_owned())),
        }
    }

    fn begin(&self, request: &Request) -> Box<dyn Answer> {
        let steps = match self.models.contains(&request.model) {
            true => (self.script)(request),
            false => vec![Step::Fail(Error::NoModel(request.model.clone()))],
        };
        Box::new(Played(steps.into()))
    }
}

struct Played(VecDeque<Step>);

#[async_trait]
impl Answer for Played {
    async fn next(&mut self) -> Result<Piece, Error> {
        loop {
            match self.0.pop_front() {
                Some(Step::Give(piece)) => return Ok(piece),
                Some(Step::Wait(time)) => tokio::time::sleep(time).await,
                Some(Step::Fail(error)) => return Err(error),
                None => return Err(Error::Unavailable("the script has ended".to_owned())),
            }
        }
    }
}
