//! What single values cannot say: whether they fit together.

use super::load::Setting;
use super::mistake::{Mistakes, Origin};
use super::{Config, Credentials};
use crate::limits::{Bounds, Budget, Mode};

/// Characters of a password that somebody chose, in mode prod: none that is in every list.
const MIN_PASSWORD: usize = 12;

/// Adds what does not fit together.
pub(super) fn check(config: &Config, settings: &[Setting], mistakes: &mut Mistakes) {
    let origin = |path: &str| {
        let setting = settings.iter().find(|setting| setting.key.path == path);
        setting.map_or(Origin::Default, |setting| setting.origin.clone())
    };
    for budget in Budget::ALL {
        let Bounds { default, max } = config.limits.bounds(budget);
        if default <= max {
            continue;
        }
        let (of_default, of_max) =
            (format!("limits.default.{}", budget.name()), format!("limits.max.{}", budget.name()));
        let (default_from, max_from) = (origin(&of_default), origin(&of_max));
        let message = match default_from.is_set() {
            true => format!("the default, {default}, is above the maximum, {max} ({of_max}, {max_from})"),
            false => format!(
                "the maximum, {max}, is below the default, {default} ({of_default}, {default_from}): lower that too"
            ),
        };
        match default_from.is_set() {
            true => mistakes.add(&default_from, &of_default, message),
            false => mistakes.add(&max_from, &of_max, message),
        }
    }
    check_access(config, origin, mistakes);
}

fn check_access(config: &Config, origin: impl Fn(&str) -> Origin, mistakes: &mut Mistakes) {
    let loopback = config.server.host.is_loopback();
    let tls = match (&config.server.tls.cert, &config.server.tls.key) {
        (Some(_), Some(_)) => true,
        (None, None) => false,
        (Some(_), None) => half(&origin, "server.tls.cert", "server.tls.key", mistakes),
        (None, Some(_)) => half(&origin, "server.tls.key", "server.tls.cert", mistakes),
    };
    if config.mode == Mode::Prod && !loopback && !tls && !config.server.tls_proxy {
        mistakes.add(
            &origin("server.host"),
            "server.host",
            "mode prod listens on loopback only, unless it has TLS: set server.tls.cert and server.tls.key, or server.tls_proxy where a proxy before it speaks TLS",
        );
    }
    let why = match (config.mode, loopback) {
        (Mode::Prod, _) => Some("in mode prod"),
        (_, false) => Some("on an address that is not loopback"),
        _ => None,
    };
    if let Some(why) = why.filter(|_| !config.authentication.enabled) {
        let message = format!("false is not allowed {why}: anybody could run tasks here");
        mistakes.add(&origin("authentication.enabled"), "authentication.enabled", message);
    }
    if let Some(credentials) = &config.authentication.credentials {
        check_credentials(credentials, config.mode, mistakes);
    }
}

/// One file of TLS without the other: there is none.
fn half(origin: impl Fn(&str) -> Origin, given: &str, missing: &str, mistakes: &mut Mistakes) -> bool {
    mistakes.add(&origin(given), given, format!("it is set and {missing} is not; set both or neither"));
    false
}

/// What HTTP Basic can carry: the password begins after the first `:`.
fn check_credentials(Credentials { user, password }: &Credentials, mode: Mode, mistakes: &mut Mistakes) {
    const USER: &str = "OMNIMIND_DASHBOARD_USER";
    const PASS: &str = "OMNIMIND_DASHBOARD_PASS";
    let alone = |missing| format!("it is set and {missing} is not; set both or neither");
    // Empty is not set, and no variable holds a NUL.
    let (variable, message) = match (user.is_empty(), password.is_empty()) {
        (false, true) => (USER, alone(PASS)),
        (true, false) => (PASS, alone(USER)),
        _ if user.contains([':', '\0']) => (USER, "a user's name has no `:`, and is not empty".to_owned()),
        _ if mode == Mode::Prod && password.chars().count() < MIN_PASSWORD => {
            (PASS, format!("mode prod wants a password of {MIN_PASSWORD} characters at least"))
        }
        _ => return,
    };
    mistakes.add(&Origin::Environment(variable.to_owned()), "", message);
}
