//! Which mode is in force, and what each would bring: it may be switched while tasks run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{Mode, Policy, Thresholds};

/// What holds in one mode, as it is configured here.
#[derive(Clone, Debug)]
pub struct InMode {
    /// Default and maximum of every budget.
    pub limits: Policy,
    /// How much of the machine the runtime may take.
    pub thresholds: Thresholds,
    /// Why this mode cannot be switched to, if that is so: the configuration does not fit it.
    pub unfit: Option<String>,
}

impl From<Mode> for InMode {
    fn from(mode: Mode) -> InMode {
        InMode { limits: mode.into(), thresholds: mode.into(), unfit: None }
    }
}

/// The mode in force and the others; clones are the same.
#[derive(Clone, Debug)]
pub struct Modes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Those of [`Mode::ALL`].
    each: [InMode; 3],
    configured: Mode,
    /// Place in [`Mode::ALL`].
    current: AtomicU8,
}

impl Modes {
    /// `each` for each of [`Mode::ALL`]; `mode` is in force.
    pub fn new(each: [InMode; 3], mode: Mode) -> Modes {
        Modes(Arc::new(Shared { each, configured: mode, current: AtomicU8::new(mode as u8) }))
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        let current = self.0.current.load(Ordering::Relaxed);
        Mode::ALL.into_iter().find(|mode| *mode as u8 == current).unwrap_or_default()
    }

    /// The one that the runtime was started in.
    pub fn configured(&self) -> Mode {
        self.0.configured
    }

    /// What holds now.
    pub fn current(&self) -> &InMode {
        self.of(self.mode())
    }

    /// What would hold, or does, in `mode`.
    pub fn of(&self, mode: Mode) -> &InMode {
        let [dev, test, prod] = &self.0.each;
        match mode {
            Mode::Dev => dev,
            Mode::Test => test,
            Mode::Prod => prod,
        }
    }

    /// Tasks that run at one time now, `most` at most.
    pub fn places(&self, most: usize) -> usize {
        most.min(self.current().thresholds.instances as usize)
    }

    /// The most instances that any of them has.
    pub fn most_instances(&self) -> u32 {
        self.0.each.iter().map(|mode| mode.thresholds.instances).max().unwrap_or(1)
    }

    /// Puts `mode` in force; returns the one before.
    ///
    /// # Errors
    /// Why the configuration does not fit it.
    pub fn switch(&self, mode: Mode) -> Result<Mode, String> {
        let before = self.mode();
        match &self.of(mode).unfit {
            Some(why) if mode != before => Err(why.clone()),
            _ => {
                self.0.current.store(mode as u8, Ordering::Relaxed);
                Ok(before)
            }
        }
    }
}

impl From<Mode> for Modes {
    fn from(mode: Mode) -> Modes {
        Modes::new(Mode::ALL.map(InMode::from), mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Budget, Requested};

    #[test]
    fn a_switch_changes_what_holds() {
        let modes = Modes::from(Mode::Dev);
        assert_eq!((modes.mode(), modes.current().thresholds.instances), (Mode::Dev, 50));
        assert_eq!(modes.clone().switch(Mode::Prod), Ok(Mode::Dev));
        assert_eq!((modes.mode(), modes.configured()), (Mode::Prod, Mode::Dev));
        assert_eq!(Modes::from(Mode::Test).configured(), Mode::Test);
        assert_eq!((modes.places(3), modes.places(usize::MAX)), (3, 200));
        assert_eq!(modes.current().limits, Mode::Prod.into());
        assert_eq!(modes.most_instances(), 200);
    }

    #[test]
    fn a_mode_that_does_not_fit_is_refused() {
        let mut each = Mode::ALL.map(InMode::from);
        each[2].unfit = Some("no".to_owned());
        let modes = Modes::new(each, Mode::Test);
        assert_eq!(modes.switch(Mode::Prod), Err("no".to_owned()));
        assert_eq!(modes.mode(), Mode::Test);
        let modes = Modes::new(modes.0.each.clone(), Mode::Prod);
        assert_eq!(modes.switch(Mode::Prod), Ok(Mode::Prod), "what is in force already changes nothing");
    }

    #[test]
    fn what_was_accepted_in_one_mode_holds_in_another() {
        let mut asked = Requested::default();
        asked.ask("memory_bytes", 3 << 30).unwrap();
        assert!(asked.effective(Mode::Prod).is_err());
        let accepted = asked.accepted(Mode::Prod.into());
        assert_eq!(accepted.get(Budget::MemoryBytes), 3 << 30);
        assert_eq!(accepted.get(Budget::Fuel), Budget::Fuel.bounds(Mode::Prod).default);
    }
}
