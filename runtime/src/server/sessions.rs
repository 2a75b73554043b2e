//! Browsers: a link that signs one in, once, and the cookie that it gets for it.
//!
//! The link is printed where the server was started. Its ticket is good for one use and some minutes; the
//! cookie is kept by the browser, its hash by this process, and neither outlives the server.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use super::secrets::Secrets;

/// Where a ticket is shown.
pub const PATH: &str = "/sign-in";

/// The cookie's name, with the port behind it: a browser sends one host's cookies to all of its ports.
const NAME: &str = "omnimind_session_";

/// How long a ticket is good.
const TICKET: Duration = Duration::from_secs(15 * 60);

/// How long a browser stays signed in.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Browsers that are signed in at one time, and tickets that nobody has used.
const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The browsers that are signed in.
pub struct Sessions {
    cookie: String,
    /// Whether browsers are to send the cookie over TLS alone.
    secure: bool,
    tickets: Secrets<()>,
    sessions: Secrets<()>,
}

impl Sessions {
    /// Those of the server on `port`, which speaks TLS or not: none.
    pub fn new(port: u16, secure: bool) -> Sessions {
        Sessions {
            cookie: format!("{NAME}{port}"),
            secure,
            tickets: Secrets::new(MAX_SESSIONS, TICKET),
            sessions: Secrets::new(MAX_SESSIONS, SESSION),
        }
    }

    /// A link, below the server's address, that signs one browser in.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn link(&self) -> Result<String, getrandom::Error> {
        Ok(format!("{PATH}?ticket={}", self.tickets.issue(())?))
    }

    /// Takes a ticket; the `Set-Cookie` that is given for it, if it is good.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn redeem(&self, ticket: &str) -> Result<Option<String>, getrandom::Error> {
        if self.tickets.take(ticket).is_none() {
            return Ok(None);
        }
        let secret = self.sessions.issue(())?;
        let seconds = SESSION.as_secs();
        Ok(Some(self.set_cookie(&secret, seconds)))
    }

    /// Whether a request comes from a browser that is signed in, and from no page of somebody else.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let foreign = |site: &HeaderValue| site != "same-origin" && site != "none";
        if headers.get("sec-fetch-site").is_some_and(foreign) {
            return false;
        }
        // Somebody on another port may have planted one of the same name: any may be ours.
        self.secrets(headers).any(|secret| self.sessions.get(secret).is_some())
    }

    /// Signs the browser out; the `Set-Cookie` that makes it forget.
    pub fn end(&self, headers: &HeaderMap) -> String {
        for secret in self.secrets(headers) {
            self.sessions.take(secret);
        }
        self.set_cookie("", 0)
    }

    fn set_cookie(&self, secret: &str, seconds: u64) -> String {
        let secure = if self.secure { " Secure;" } else { "" };
        format!("{}={secret}; HttpOnly;{secure} SameSite=Strict; Path=/; Max-Age={seconds}", self.cookie)
    }

    /// Of every cookie with our name.
    fn secrets<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let cookies = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|one| one.split_once('='));
        let ours = cookies.filter(|(name, _)| name.trim() == self.cookie);
        ours.map(|(_, secret)| secret.trim())
    }
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
        let sessions = Sessions::new(8000, false);
        let ticket = ticket(&sessions);
        let cookie = sessions.redeem(&ticket).unwrap().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict;"), "{cookie}");
        assert_eq!(sessions.redeem(&ticket).unwrap(), None);
        let pair = cookie.split(';').next().unwrap();
        assert!(sessions.admit(&with(pair)));
        assert!(sessions.admit(&with(&format!("other=1; {}=planted; {pair}; more=2", sessions.cookie))));
        for (site, admitted) in [("same-origin", true), ("none", true), ("same-site", false), ("x", false)] {
            let mut headers = with(pair);
            headers.insert("sec-fetch-site", site.parse().unwrap());
            assert_eq!(sessions.admit(&headers), admitted, "{site}");
        }
        assert!(sessions.end(&with(pair)).ends_with("Max-Age=0"));
        assert!(!sessions.admit(&with(pair)));
    }

    #[test]
    fn nothing_else_signs_in() {
        let sessions = Sessions::new(8000, false);
        let ticket = ticket(&sessions);
        assert_eq!(sessions.redeem("").unwrap(), None);
        assert!(!sessions.admit(&with(&format!("{}={ticket}", sessions.cookie))), "a ticket is no session");
        assert!(!sessions.admit(&with(&format!("{}=", sessions.cookie))));
        assert!(!sessions.admit(&HeaderMap::new()));
    }
}
