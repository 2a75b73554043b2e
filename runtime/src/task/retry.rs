//! When a failed execution is tried again: data, not code.

use serde::{Deserialize, Serialize};

use super::FailureKind;

/// When a failed execution is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Executions in all; those that a crash interrupted are counted elsewhere.
    pub max_attempts: u32,
    /// Kinds of failure that are worth another try.
    pub on: Vec<FailureKind>,
    /// Wait before the second execution; it doubles for each further one, and by chance half to all of it is waited.
    pub backoff_ms: u64,
}

impl Retry {
    /// Most executions that may be asked for.
    pub const MAX_ATTEMPTS: u32 = 20;
    /// Longest first wait that may be asked for.
    pub const MAX_BACKOFF_MS: u64 = 3_600_000;
    /// Kinds that are tried again where the submission does not say: none is the guest's own doing.
    pub const DEFAULT_ON: [FailureKind; 3] =
        [FailureKind::MachineMemory, FailureKind::UpstreamUnavailable, FailureKind::HostError];
    /// First wait where the submission does not say.
    pub const DEFAULT_BACKOFF_MS: u64 = 1000;

    /// The wait before execution `attempt + 1`, without jitter: it doubles, up to an hour.
    pub fn backoff_ms(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(30);
        self.backoff_ms.saturating_mul(1 << doublings).min(Self::MAX_BACKOFF_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_is_bounded() {
        let retry = Retry { max_attempts: 20, on: Vec::new(), backoff_ms: 1000 };
        assert_eq!([1, 2, 3].map(|attempt| retry.backoff_ms(attempt)), [1000, 2000, 4000]);
        assert_eq!(retry.backoff_ms(u32::MAX), Retry::MAX_BACKOFF_MS);
    }
}
