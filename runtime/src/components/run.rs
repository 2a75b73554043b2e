//! Runs a stored task: from its specification to a job for the executor.

use async_trait::async_trait;

use super::Components;
use crate::engine::{ENGINE_VERSION, Refusal};
use crate::executor::{Attempt, Job, TaskExecutor};
use crate::limits::{self, Budget, Limits, Requested};
use crate::task::{Digest, Failure, FailureKind, Outcome, Spec};

impl Components {
    /// What a task may spend: what it was accepted with, whatever the mode is since.
    fn limits(&self, spec: &Spec) -> Result<Limits, limits::Error> {
        let accepted = spec.mode.parse().map_or_else(|_| self.modes.current(), |mode| self.modes.of(mode));
        Ok(Requested::all(&spec.limits)?.accepted(accepted.limits))
    }

    async fn job(&self, attempt: Attempt) -> Result<Job, Failure> {
        let Attempt { task_id, tenant, spec, input, number, queued, journal, control } = attempt;
        let not_here = |error: limits::Error| Failure::new(FailureKind::HostError, error.to_string());
        let limits = self.limits(&spec).map_err(not_here)?;
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
        job.tenant = tenant;
        job.grants = Some(spec.grants.clone());
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

    fn memory_limit(&self, spec: &Spec) -> u64 {
        self.limits(spec).map_or(0, |limits| limits.get(Budget::MemoryBytes))
    }

    fn has_component(&self, tenant: &str, digest: &Digest) -> bool {
        self.registry.read().has(tenant, digest)
    }
}
