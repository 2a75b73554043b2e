//! What can go wrong between here and a server, and what to do about it.

use anyhow::anyhow;
use serde::Deserialize;

use super::super::{Exit, Failed};
use super::table::shown;

/// Why there is no good answer.
#[derive(Debug)]
pub enum Error {
    /// Nothing answers at this URL, or the connection broke.
    Unreachable {
        /// The server's URL, without credentials.
        url: String,
        /// Why, in one line.
        why: String,
        /// Whether there was a connection at all, so that the request may have arrived.
        connected: bool,
    },
    /// A server answers, and who it is cannot be told.
    Untrusted {
        /// The server's URL, without credentials.
        url: String,
        /// What is wrong with its certificate, and what to do about it.
        why: String,
    },
    /// The server's own words.
    Problem(Problem),
    /// It answers, but not as this version understands.
    Strange {
        /// The server's URL.
        url: String,
        /// What is strange.
        what: String,
    },
}

/// `application/problem+json`
#[derive(Clone, Debug, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub detail: String,
    /// What to add to the answer to a `401`: where the credentials came from.
    #[serde(skip)]
    pub credentials: String,
}

impl Error {
    /// Whether a server that restarts answers like this for a while.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Unreachable { .. } => true,
            Error::Problem(problem) => matches!(problem.status, 429 | 502..=504 | 507),
            Error::Untrusted { .. } | Error::Strange { .. } => false,
        }
    }

    /// The status of the server's answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Problem(problem) => Some(problem.status),
            _ => None,
        }
    }
}

impl Problem {
    fn exit(&self) -> Exit {
        match (self.status, self.code.as_str()) {
            // Of the component, whatever the status.
            (
                _,
                "component_invalid"
                | "not_a_component"
                | "component_too_complex"
                | "compile_timeout"
                | "unknown_import"
                | "missing_export"
                | "type_mismatch"
                | "digest_mismatch"
                | "capability_denied"
                | "capability_unavailable",
            ) => Exit::Refused,
            (401 | 403, _) => Exit::Unauthorized,
            (404 | 410, _) => Exit::NotFound,
            (409, _) => Exit::Conflict,
            (408 | 429 | 502..=504 | 507, _) => Exit::Busy,
            (400..=499, _) => Exit::Usage,
            _ => Exit::Runtime,
        }
    }

    fn remedy(&self) -> &str {
        match self.status {
            401 => &self.credentials,
            // It will not be there later either.
            503 if self.code == "capability_unavailable" => "",
            408 | 429 | 503 | 507 => "; nothing was lost: try again later",
            500 => "; the server's log has more",
            _ => "",
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        match error {
            Error::Unreachable { url, why, connected: false } => Failed {
                exit: Exit::Unreachable,
                error: anyhow!(
                    "no server answers at {url}: {why}; is it running? Start one with `omnimind serve`, or say where it is with --server URL"
                ),
            },
            Error::Unreachable { url, why, connected: true } => Failed {
                exit: Exit::Unreachable,
                error: anyhow!(
                    "the connection to {url} broke: {why}; whether the request was carried out shows `omnimind task list`"
                ),
            },
            Error::Untrusted { url, why } => Failed {
                exit: Exit::Unreachable,
                error: anyhow!("the certificate of {url} is not trusted, and nothing was sent: {why}"),
            },
            Error::Problem(problem) => Failed {
                exit: problem.exit(),
                error: anyhow!(
                    "{} ({} {}){}",
                    shown(&problem.detail),
                    problem.status,
                    shown(&problem.code),
                    problem.remedy()
                ),
            },
            Error::Strange { url, what } => Failed {
                exit: Exit::Runtime,
                error: anyhow!(
                    "{url} does not answer as omnimind {} does: {}; is it omnimind, and of this version?",
                    env!("CARGO_PKG_VERSION"),
                    shown(&what)
                ),
            },
        }
    }
}
