//! Browsers: a link that signs one in, once, and the cookie that it gets for it.
//!
//! The link is printed where the server was started. Its ticket is good for one use and some minutes; the
//! cookie is kept by the browser, its hash by this process, and neither outlives the server.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lru::LruCache;

/// Where a ticket is shown.
pub const PATH: &str = "/sign-in";

/// The cookie's name.
const NAME: &str = "omnimind_session";

/// How long a ticket is good.
const TICKET: Duration = Duration::from_secs(15 * 60);

/// How long a browser stays signed in.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Browsers that are signed in at one time, and tickets that nobody has used.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The browsers that are signed in. Only hashes are kept, so that nothing is compared byte by byte.
pub struct Sessions {
    tickets: Mutex<Good>,
    sessions: Mutex<Good>,
}

/// Hashes of secrets, and until when each is good.
type Good = LruCache<blake3::Hash, Instant>;

impl Default for Sessions {
    fn default() -> Sessions {
        let none = || Mutex::new(LruCache::new(MAX_SESSIONS));
        Sessions { tickets: none(), sessions: none() }
    }
}

impl Sessions {
    /// A link, below the server's address, that signs one browser in.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn link(&self) -> Result<String, getrandom::Error> {
        Ok(format!("{PATH}?ticket={}", new(&self.tickets, TICKET)?))
    }

    /// Takes a ticket; the `Set-Cookie` that is given for it, if it is good.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn redeem(&self, ticket: &str) -> Result<Option<String>, getrandom::Error> {
        let until = lock(&self.tickets).pop(&blake3::hash(ticket.as_bytes()));
        if until.is_none_or(|until| until < Instant::now()) {
            return Ok(None);
        }
        let secret = new(&self.sessions, SESSION)?;
        let seconds = SESSION.as_secs();
        Ok(Some(format!("{NAME}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}")))
    }

    /// Whether a request comes from a browser that is signed in.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut cookies =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|one| one.split_once('='));
        let secret = cookies.find_map(|(name, secret)| (name.trim() == NAME).then(|| secret.trim()));
        let Some(secret) = secret else { return false };
        let until = lock(&self.sessions).get(&blake3::hash(secret.as_bytes())).copied();
        until.is_some_and(|until| until >= Instant::now())
    }
}

fn new(good: &Mutex<Good>, time: Duration) -> Result<String, getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let secret = URL_SAFE_NO_PAD.encode(secret);
    lock(good).put(blake3::hash(secret.as_bytes()), Instant::now() + time);
    Ok(secret)
}

fn lock(good: &Mutex<Good>) -> MutexGuard<'_, Good> {
    good.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(sessions: &Sessions) -> String {
        sessions.link().unwrap().split_once('=').unwrap().1.to_owned()
    }

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn a_ticket_signs_in_once() {
        let sessions = Sessions::default();
        let ticket = ticket(&sessions);
        let cookie = sessions.redeem(&ticket).unwrap().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict;"), "{cookie}");
        assert_eq!(sessions.redeem(&ticket).unwrap(), None);
        let pair = cookie.split(';').next().unwrap();
        assert!(sessions.admit(&with(pair)));
        assert!(sessions.admit(&with(&format!("other=1; {pair}; more=2"))));
    }

    #[test]
    fn nothing_else_signs_in() {
        let sessions = Sessions::default();
        let ticket = ticket(&sessions);
        assert_eq!(sessions.redeem("").unwrap(), None);
        assert!(!sessions.admit(&with(&format!("{NAME}={ticket}"))), "a ticket is no session");
        assert!(!sessions.admit(&with(&format!("{NAME}="))));
        assert!(!sessions.admit(&HeaderMap::new()));
    }

    #[test]
    fn what_is_too_old_is_not_good() {
        let sessions = Sessions::default();
        let late = new(&sessions.tickets, Duration::ZERO).unwrap();
        let old = new(&sessions.sessions, Duration::ZERO).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(sessions.redeem(&late).unwrap(), None);
        assert!(!sessions.admit(&with(&format!("{NAME}={old}"))));
    }
}
