//! What `omnimind attest` found last: kept beside the tasks, and current for as long as the server is the one
//! that was attacked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize};

use super::machine::Machine;
use crate::engine::ENGINE_VERSION;
use crate::limits::{Budget, Mode, Modes};
use crate::private;
use crate::task::Object;
use crate::task::named;

const FILE: &str = "attestation.json";

/// Bytes of it at most.
const MAX_BYTES: u64 = 1 << 20;

/// The version of this server.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

named! {
    /// Whether a limit is held from both sides.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum Verdict {
        /// The attack was stopped as it should be, and its twin was not.
        Holds = "holds",
        /// Nothing is known.
        Unproven = "unproven",
        /// One of them ended otherwise.
        Fails = "fails",
    }
}

/// What was found of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The limit.
    pub name: String,
    /// Whether it is held.
    pub verdict: Verdict,
    /// What the attack was allowed.
    pub configured: Option<u64>,
    /// What it came to.
    pub stopped_at: Option<u64>,
    /// How far that is above.
    pub overshoot: Option<u64>,
}

/// What a client sends: what it found, and of which server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The server's mode.
    pub mode: String,
    /// Its version.
    pub version: String,
    /// Its engine.
    pub engine: String,
    /// Each limit once, at most.
    #[serde(deserialize_with = "objects")]
    pub limits: Vec<Proof>,
}

fn objects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Proof>, D::Error> {
    let proofs = Vec::<Object<Proof>>::deserialize(deserializer)?;
    Ok(proofs.into_iter().map(|Object(proof)| proof).collect())
}

/// A report, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// When it came: Unix milliseconds.
    pub at_ms: i64,
    /// What it ran on.
    pub machine: Machine,
    /// What it says.
    pub report: Report,
}

impl Kept {
    /// How long ago that was, in seconds.
    pub fn age_s(&self) -> u64 {
        let ms = Timestamp::now().as_millisecond().saturating_sub(self.at_ms);
        u64::try_from(ms / 1000).unwrap_or_default()
    }

    /// What it says of a limit.
    pub fn proof(&self, budget: Budget) -> Option<&Proof> {
        self.report.limits.iter().find(|proof| proof.name == budget.name())
    }
}

/// The last report.
pub struct Attestation {
    file: PathBuf,
    modes: Modes,
    last: Mutex<Option<Arc<Kept>>>,
    writing: Mutex<()>,
}

impl Attestation {
    /// What was kept in `data_dir` by a server that may have been another one. A file that is damaged is as
    /// good as none.
    pub fn open(data_dir: &Path, modes: Modes) -> Attestation {
        let file = data_dir.join(FILE);
        let last = private::read(&file, MAX_BYTES).ok().and_then(|bytes| {
            serde_json::from_slice(&bytes)
                .inspect_err(|error| {
                    let file = file.display();
                    tracing::warn!(%error, "{file} is damaged, and ignored: `omnimind attest` makes a new one");
                })
                .ok()
        });
        Attestation { file, modes, last: Mutex::new(last), writing: Mutex::new(()) }
    }

    /// The last report, of whatever server.
    pub fn last(&self) -> Option<Arc<Kept>> {
        self.last.lock().clone()
    }

    /// The mode, version and engine of this server.
    pub fn subject(&self) -> [&'static str; 3] {
        [self.modes.mode().name(), VERSION, ENGINE_VERSION]
    }

    /// Whether a report is of this server, as it is now.
    pub fn is_current(&self, report: &Report) -> bool {
        [&report.mode, &report.version, &report.engine].into_iter().eq(self.subject().iter())
    }

    /// Whether these limits have to be proven: where other people's tasks run.
    pub fn is_wanted(&self) -> bool {
        self.modes.mode() == Mode::Prod
    }

    /// The limits that nothing current proves.
    pub fn unproven(&self) -> Vec<&'static str> {
        let last = self.last().filter(|last| self.is_current(&last.report));
        let holds = |budget: Budget| {
            let proof = last.as_ref().and_then(|last| last.proof(budget));
            proof.is_some_and(|proof| proof.verdict == Verdict::Holds)
        };
        Budget::ALL.into_iter().filter(|budget| !holds(*budget)).map(Budget::name).collect()
    }

    /// Keeps a report; it blocks.
    ///
    /// # Errors
    /// It could not be written, and the last one is still that before.
    pub fn keep(&self, report: Report) -> std::io::Result<()> {
        let kept = Kept { at_ms: Timestamp::now().as_millisecond(), machine: Machine::look(), report };
        let _one = self.writing.lock();
        private::replace(&self.file, &serde_json::to_vec(&kept)?)?;
        *self.last.lock() = Some(Arc::new(kept));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mode: &str, unproven: &str) -> Report {
        let verdict = |name: &str| if name == unproven { Verdict::Fails } else { Verdict::Holds };
        let proof = |budget: Budget| Proof {
            name: budget.name().to_owned(),
            verdict: verdict(budget.name()),
            configured: Some(1),
            stopped_at: None,
            overshoot: None,
        };
        Report {
            mode: mode.to_owned(),
            version: VERSION.to_owned(),
            engine: ENGINE_VERSION.to_owned(),
            limits: Budget::ALL.map(proof).into(),
        }
    }

    #[test]
    fn a_report_is_of_the_server_that_was_attacked() {
        let dir = std::env::temp_dir().join(format!("omnimind-attestation-{}", std::process::id()));
        private::dir(&dir).unwrap();
        let attestation = Attestation::open(&dir, Mode::Prod.into());
        assert_eq!(attestation.unproven().len(), Budget::ALL.len());
        attestation.keep(report("prod", "")).unwrap();
        assert!(attestation.unproven().is_empty());
        // Another start finds it, another mode does not take it.
        assert!(Attestation::open(&dir, Mode::Prod.into()).unproven().is_empty());
        assert_eq!(Attestation::open(&dir, Mode::Test.into()).unproven().len(), Budget::ALL.len());
        for other in [
            Report { version: "0".to_owned(), ..report("prod", "") },
            Report { engine: "wasmtime 1".to_owned(), ..report("prod", "") },
            Report { limits: Vec::new(), ..report("prod", "") },
        ] {
            attestation.keep(other).unwrap();
            assert_eq!(attestation.unproven().len(), Budget::ALL.len());
        }
        attestation.keep(report("prod", "tables")).unwrap();
        assert_eq!(attestation.unproven(), ["tables"]);
        std::fs::write(dir.join(FILE), b"{\"at_ms\": ").unwrap();
        assert_eq!(Attestation::open(&dir, Mode::Prod.into()).last(), None);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
