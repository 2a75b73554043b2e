//! Runs a stored task: from its specification to a job for the executor.

use async_trait::async_trait;

use super::Components;
use crate::engine::{ENGINE_VERSION, Refusal};
use crate::executor::{Attempt, Job, TaskExecutor};
use crate::limits::{self, Requested};
use crate::task::{Digest, Failure, FailureKind, Outcome};

impl Components {
    async fn job(&self, attempt: Attempt) -> Result<Job, Failure> {
        let Attempt { task_id, spec, input, number, queued, journal, control } = attempt;
        // Both were checked at the submission; the configuration may be another one since.
        let not_here = |error: limits::Error| Failure::new(FailureKind::HostError, error.to_string());
        let limits =
            Requested::all(&spec.limits).and_then(|asked| asked.effective(self.limits)).map_err(not_here)?;
        let prepared = self.prepared(spec.digest).await;
        let prepared = prepared.map_err(|Refusal { code, message, .. }| {
            Failure::new(FailureKind::HostError, format!("{code}: {message}"))
        })?;
        let mut job = Job::new(task_id, prepared, input, limits, journal).map_err(not_here)?;
        job.attempt = number;
        job.metadata = spec.metadata.get().to_owned().into();
        job.args.clone_from(&spec.args);
        job.env = spec.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        job.deterministic = spec.deterministic;
        job.priority = spec.priority;
        job.queued = queued;
        job.control = control;
        Ok(job)
    }
}

#[async_trait]
impl TaskExecutor for Components {
    async fn execute(&self, attempt: Attempt) -> Outcome {
        let number = attempt.number;
        match self.job(attempt).await {
            Ok(job) => self.executor.execute(job).await,
            Err(failure) => Outcome::not_begun(failure, number, ENGINE_VERSION),
        }
    }

    fn has_component(&self, tenant: &str, digest: &Digest) -> bool {
        self.registry().has(tenant, digest)
    }
}
