//! How long a server may be away, as when it restarts, before a command gives it up.

use std::time::{Duration, Instant};

use super::super::terminal::note;
use super::Error;

const PATIENCE: Duration = Duration::from_secs(30);

/// What is left of the patience with one server.
#[derive(Debug, Default)]
pub struct Patience {
    /// Something was heard of what is waited for.
    known: bool,
    away: Option<Instant>,
}

impl Patience {
    /// The server answers; `clear` makes room for the news that it is back.
    pub fn heard(&mut self, clear: impl FnOnce()) {
        self.known = true;
        if self.away.take().is_some() {
            clear();
            note!("the server is back");
        }
    }

    /// Whether anything was heard yet.
    pub fn knows(&self) -> bool {
        self.known
    }

    /// The server does not answer well: whether to ask again. `clear` makes room for saying so, once.
    pub fn bears(&mut self, error: &Error, clear: impl FnOnce()) -> bool {
        // Before anything was heard, somebody who is told at once can act at once.
        if !error.may_pass() || (!self.known && error.status().is_none()) {
            return false;
        }
        let since = *self.away.get_or_insert_with(|| {
            clear();
            note!(
                "the server does not answer: trying again for {} s (a durable task survives its restart)",
                PATIENCE.as_secs()
            );
            Instant::now()
        });
        since.elapsed() <= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_heard_may_be_away_for_a_while() {
        let gone = Error::Unreachable { url: String::new(), why: String::new(), connected: false };
        let mut patience = Patience::default();
        assert!(!patience.bears(&gone, || ()), "it was never there");
        patience.heard(|| panic!("it was not away"));
        assert!(!patience.bears(&Error::Strange { url: String::new(), what: String::new() }, || ()));
        let mut said = 0;
        assert!(patience.bears(&gone, || said += 1) && patience.bears(&gone, || said += 1));
        assert_eq!(said, 1);
        patience.away = Instant::now().checked_sub(PATIENCE + Duration::from_secs(1));
        assert!(!patience.bears(&gone, || ()));
        patience.heard(|| said += 1);
        assert!(said == 2 && patience.bears(&gone, || ()), "from the beginning");
    }
}
