//! Who is asking: HTTP Basic, with credentials made at the first start, or a token.
//!
//! Whatever is wrong with credentials, the answer is the same and takes the same time. Repeated failures for
//! one address and one name, or of one address with tokens, are answered `429` without a look at the secret.

use std::fs;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::caller::Caller;
use super::problem::{Problem, Result};
use super::sessions::Sessions;
use crate::config::Credentials;
use crate::events::Bus;
use crate::private;
use crate::telemetry::Seldom;
use crate::tenants::{Busy, Tokens};

/// The user's name, where nobody chose another.
const DEFAULT_USER: &str = "omnimind";

/// Longest `Authorization` that is looked at.
const MAX_HEADER: usize = 4096;

/// Bytes of the file that they are kept in.
const MAX_FILE: u64 = 64 << 10;

/// Failures in a row that cost nothing.
const FREE_FAILURES: u32 = 10;

/// What each further one costs, up to [`MAX_WAIT`].
const WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Addresses and names whose failures are remembered.
const MAX_REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

#[derive(Serialize, Deserialize)]
struct Stored {
    user: String,
    password: String,
}

/// The credentials in `data_dir`, made now if there are none, or those that were `given`. A netrc for curl
/// lies beside them.
///
/// # Errors
/// The files cannot be read or written, or `given` are not usable.
pub fn credentials(data_dir: &Path, given: Option<Credentials>) -> anyhow::Result<Credentials> {
    let path = data_dir.join("credentials.json");
    let credentials = match (given, private::read(&path, MAX_FILE)) {
        (Some(given), _) => given,
        (None, Ok(stored)) => {
            let Stored { user, password } = serde_json::from_slice(&stored).with_context(|| {
                format!("{} is damaged: remove it, and new ones are made", path.display())
            })?;
            Credentials { user, password }
        }
        (None, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; 24];
            getrandom::fill(&mut secret)?;
            Credentials { user: DEFAULT_USER.to_owned(), password: URL_SAFE_NO_PAD.encode(secret) }
        }
        (None, Err(error)) => return Err(error).with_context(|| path.display().to_string()),
    };
    let Credentials { user, password } = &credentials;
    if user.is_empty() || user.contains([':', '\0']) || password.is_empty() {
        bail!("the user's name must not be empty or contain `:`, and the password must not be empty");
    }
    let stored = Stored { user: user.clone(), password: password.clone() };
    write_private(&path, &serde_json::to_vec(&stored)?)?;
    // netrc has no quoting for blanks: then only the JSON file is there.
    let netrc = data_dir.join("netrc");
    match format!("{user}{password}").contains(|c: char| c.is_whitespace() || c == '"' || c == '\\') {
        true => drop(fs::remove_file(netrc)),
        false => write_private(&netrc, format!("default login {user} password {password}\n").as_bytes())?,
    }
    Ok(credentials)
}

fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    private::replace(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    if private::restrict(path).with_context(|| path.display().to_string())? {
        tracing::warn!(
            "others could read {}, and cannot any more: if they did, remove it with netrc beside it, and a new password is made",
            path.display()
        );
    }
    Ok(())
}

/// Lets those in who know the password, have a token, or a browser that is signed in.
pub struct Auth {
    /// Browsers that are signed in.
    pub sessions: Sessions,
    /// Tokens.
    pub tokens: Tokens,
    bus: Bus,
    user: String,
    /// Keyed hashes compare in the same time wherever they differ.
    key: [u8; 32],
    expected: blake3::Hash,
    /// Of names that exist, and of others: with many of those nobody makes these forgotten.
    failures: [Mutex<Remembered>; 2],
}

/// Who tries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Who {
    address: IpAddr,
    name: blake3::Hash,
    exists: bool,
}

type Remembered = LruCache<Who, Failures>;

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Auth {
    /// For one user of the server on `port`, whose cookies are for TLS alone where they are `secure`.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(
        credentials: &Credentials,
        tokens: Tokens,
        port: u16,
        secure: bool,
        bus: Bus,
    ) -> anyhow::Result<Auth> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let expected = hash(&key, &format!("{}:{}", credentials.user, credentials.password));
        let failures = [0; 2].map(|_| Mutex::new(LruCache::new(MAX_REMEMBERED)));
        let sessions = Sessions::new(port, secure);
        Ok(Auth { sessions, tokens, bus, user: credentials.user.clone(), key, expected, failures })
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Who sends a request from `address`.
    ///
    /// # Errors
    /// `401`; `429` after many of them.
    pub async fn caller(&self, headers: &HeaderMap, address: IpAddr) -> Result<Caller> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (given.next(), given.next()) else {
            // Nothing was tried, so nothing is counted.
            return Err(Problem::unauthorized());
        };
        match bearer(header.as_bytes()) {
            Some(token) => self.bearer(token, address).await,
            None => self.basic(header.as_bytes(), address),
        }
    }

    fn basic(&self, header: &[u8], address: IpAddr) -> Result<Caller> {
        let pair = decode(header);
        let pair = pair.as_deref().unwrap_or("");
        let name = pair.split(':').next().unwrap_or_default();
        let who = Who { address, name: hash(&self.key, name), exists: name == self.user };
        self.look(&who)?;
        match hash(&self.key, pair) == self.expected {
            true => Ok(Caller::operator()),
            false => Err(self.failed(who)),
        }
    }

    async fn bearer(&self, token: &str, address: IpAddr) -> Result<Caller> {
        // A token has no name that could be trusted: all that one address tries count together. Who was let in a
        // moment ago does not suffer from what others try at the same address.
        if let Some(token) = self.tokens.remembered(token) {
            return Ok(Caller::bearer(token));
        }
        let who = Who { address, name: hash(&self.key, ":token"), exists: true };
        self.look(&who)?;
        match self.tokens.verify(token).await {
            Ok(Some(token)) => Ok(Caller::bearer(token)),
            Ok(None) => Err(self.failed(who)),
            Err(Busy) => Err(Problem::rate_limited("too many tokens are being looked at: try again", 1)),
        }
    }

    fn look(&self, who: &Who) -> Result<()> {
        let Some(wait) = self.must_wait(who) else { return Ok(()) };
        let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1);
        Err(Problem::rate_limited("too many failed attempts to sign in: wait", seconds))
    }

    fn remembered(&self, exists: bool) -> MutexGuard<'_, Remembered> {
        let [of_known, of_others] = &self.failures;
        let failures = if exists { of_known } else { of_others };
        failures.lock()
    }

    fn must_wait(&self, who: &Who) -> Option<Duration> {
        let mut remembered = self.remembered(who.exists);
        if remembered.is_empty() {
            return None;
        }
        let Failures { count, last } = *remembered.get(who)?;
        let wait = (WAIT * count.saturating_sub(FREE_FAILURES)).min(MAX_WAIT);
        let passed = last.elapsed();
        if passed > MAX_WAIT.max(wait) {
            remembered.pop(who);
            return None;
        }
        wait.checked_sub(passed).filter(|wait| !wait.is_zero())
    }

    fn failed(&self, who: Who) -> Problem {
        let mut remembered = self.remembered(who.exists);
        let count = remembered.get(&who).map_or(0, |failures| failures.count).saturating_add(1);
        remembered.put(who, Failures { count, last: Instant::now() });
        let address = who.address;
        // Said once for each row of them: whoever tries does not fill the log.
        static SAID: Seldom = Seldom::new();
        if count == FREE_FAILURES + 1
            && let Some(left_out) = SAID.left_out()
        {
            tracing::warn!(%address, left_out, "somebody tries to sign in again and again: slowed down");
        }
        self.bus.security(|| json!({"event": "sign_in_failed", "address": address, "failures": count}));
        Problem::unauthorized()
    }
}

fn hash(key: &[u8; 32], text: &str) -> blake3::Hash {
    blake3::keyed_hash(key, text.as_bytes())
}

/// The token of a Bearer header.
fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(())?;
    std::str::from_utf8(token).ok().map(str::trim)
}

/// `user:password` of a Basic header.
fn decode(header: &[u8]) -> Option<String> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let (scheme, encoded) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let pair = STANDARD.decode(encoded.trim_ascii()).ok()?;
    String::from_utf8(pair).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let tokens = Tokens::open(Path::new("/nowhere"), &[]).unwrap();
        let me = Credentials { user: "me".into(), password: "secret".into() };
        Auth::new(&me, tokens, 8000, false, Bus::default()).unwrap()
    }

    fn header(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn basic(pair: &str) -> HeaderMap {
        header(&format!("Basic {}", STANDARD.encode(pair)))
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn only_the_right_pair_comes_in() {
        let auth = auth();
        assert!(auth.caller(&basic("me:secret"), HERE).await.is_ok());
        assert!(auth.caller(&header("basic bWU6c2VjcmV0"), HERE).await.is_ok(), "the scheme has no case");
        for wrong in ["me:secret2", "me:", "me", ":secret", "you:secret", "me:secret:"] {
            assert!(auth.caller(&basic(wrong), HERE).await.is_err(), "{wrong}");
        }
        for wrong in ["Basic", "Basic !!!", "Bearer bWU6c2VjcmV0", &format!("Basic {}", "A".repeat(5000))] {
            assert!(auth.caller(&header(wrong), HERE).await.is_err());
        }
        assert!(auth.caller(&HeaderMap::new(), HERE).await.is_err());
    }

    #[tokio::test]
    async fn many_other_names_do_not_make_failures_forgotten() {
        let auth = auth();
        for _ in 0..=FREE_FAILURES {
            assert!(auth.caller(&basic("me:guess"), HERE).await.is_err());
        }
        for n in 0..=MAX_REMEMBERED.get() {
            assert_eq!(
                auth.caller(&basic(&format!("n{n}:guess")), HERE).await.unwrap_err().code(),
                "unauthorized"
            );
        }
        assert_eq!(auth.caller(&basic("me:guess"), HERE).await.unwrap_err().code(), "rate_limited");
    }

    #[tokio::test]
    async fn failures_are_slowed_down_for_that_name_and_address_alone() {
        let auth = auth();
        for _ in 0..=FREE_FAILURES {
            assert!(auth.caller(&basic("me:guess"), HERE).await.is_err());
        }
        assert!(auth.caller(&basic("me:secret"), HERE).await.is_err(), "not even looked at");
        assert!(auth.caller(&basic("me:secret"), IpAddr::from([127, 0, 0, 2])).await.is_ok());
        std::thread::sleep(WAIT);
        assert!(auth.caller(&basic("me:secret"), HERE).await.is_ok());
    }
}
