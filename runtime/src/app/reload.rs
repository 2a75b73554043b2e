//! SIGHUP: the configuration is read again, and what can change while the server runs does.
//!
//! That is the certificate and the log's level. All else is told, and waits for the next start. What is wrong
//! with the files changes nothing.

use std::sync::Arc;

use tokio::signal::unix::Signal;

use crate::config::{Loaded, Setting};
use crate::server::{Tls, certificate_refused};
use crate::telemetry;

/// How the configuration is read again, just as it was at the start.
pub type Read = Arc<dyn Fn() -> anyhow::Result<Loaded> + Send + Sync>;

/// What is in force, and how to read it again.
pub struct Reload {
    in_force: Vec<Setting>,
    read: Read,
}

impl Reload {
    /// After a start with these settings.
    pub fn new(in_force: Vec<Setting>, read: Read) -> Reload {
        Reload { in_force, read }
    }

    /// Reads again at each signal.
    pub(super) async fn watch(mut self, mut hangup: Signal, tls: Option<Arc<Tls>>) {
        while hangup.recv().await.is_some() {
            let read = self.read.clone();
            match tokio::task::spawn_blocking(move || read()).await {
                Ok(Ok(loaded)) => self.apply(&loaded, tls.as_deref()),
                Ok(Err(error)) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "SIGHUP: the configuration has mistakes; what was in force stays");
                }
                Err(error) => tracing::error!(%error, "SIGHUP: the configuration could not be read"),
            }
        }
    }

    fn apply(&mut self, loaded: &Loaded, tls: Option<&Tls>) {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let (mut taken, mut kept, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(tls) = tls {
            // The files may have changed where their names have not.
            match tls.reload(&loaded.config.server.tls) {
                Ok(is_other) => {
                    taken.extend(["server.tls.cert", "server.tls.key"]);
                    changed.extend(is_other.then_some("the certificate"));
                }
                Err(error) => {
                    certificate_refused(&error);
                    kept.push(format!("the certificate ({error:#})"));
                }
            }
        }
        match telemetry::set_level(loaded.config.logging.level) {
            Ok(before) => {
                taken.push("logging.level");
                changed.extend((before != loaded.config.logging.level).then_some("the log's level"));
            }
            Err(error) => kept.push(format!("the log's level ({error:#})")),
        }
        let mut later = Vec::new();
        for new in &loaded.settings {
            let Some(old) = self.in_force.iter_mut().find(|old| old.key.path == new.key.path) else {
                continue;
            };
            if old.value == new.value {
                continue;
            }
            match taken.contains(&new.key.path.as_str()) {
                true => {
                    tracing::info!("{} is {} now ({})", new.key.path, new.shown(), new.origin);
                    *old = new.clone();
                }
                false => later.push(new.key.path.as_str()),
            }
        }
        if !later.is_empty() {
            tracing::warn!("SIGHUP: takes effect at the next start: {}", later.join(", "));
        }
        let changed = match changed.is_empty() {
            true => "nothing".to_owned(),
            false => changed.join(" and "),
        };
        match kept.is_empty() {
            true => tracing::info!("SIGHUP: the configuration was read again; new: {changed}"),
            false => tracing::error!("SIGHUP: stays as it was: {}; new: {changed}", kept.join(", ")),
        }
    }
}
