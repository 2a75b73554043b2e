//! Tenants, and the tokens that people come in with.
//!
//! A tenant is a name: whatever was submitted under it is seen under it alone. A token leads to one, and says
//! what comes in with it may use. Of a token only its hash is kept; the token itself is told once.

mod token;
mod verifier;

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use token::{Invalid, New, Token, id_of, without_secrets};
pub use verifier::Busy;

use crate::private;
use verifier::Verifier;

/// The tenant of everybody who comes with user and password: whoever operates the machine.
pub const DEFAULT_TENANT: &str = "default";

/// Tokens that there may be.
const MAX_TOKENS: usize = 1000;

/// All of the places and slots, in percent.
pub const WHOLE: u8 = 100;

/// Time between two looks at whether a token has expired.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The file in the data directory.
const FILE: &str = "tokens.json";

/// Bytes of it at most.
const MAX_BYTES: u64 = 16 << 20;

/// Every token.
pub struct Tokens {
    path: PathBuf,
    /// By id.
    tokens: RwLock<HashMap<String, Arc<Token>>>,
    /// Held over every change of the file.
    changing: Mutex<()>,
    /// Tells whenever one was made or revoked.
    changed: watch::Sender<()>,
    verifier: Verifier,
}

/// A token was not made or not taken back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is asked for is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There are as many as there may be.
    #[error("there are {MAX_TOKENS} tokens, which is as many as may be: revoke some")]
    TooMany,
    /// There is none of this id.
    #[error("there is no token {0:?}: see `omnimind token list`")]
    Unknown(String),
    /// It stands in the configuration.
    #[error("the token {0} is one of authentication.tokens: take it out of the configuration")]
    Configured(String),
    /// It could not be written.
    #[error("tokens.json could not be written: {0}")]
    Unwritten(std::io::Error),
    /// The system has no randomness, or no memory.
    #[error("a token could not be made: {0}")]
    Impossible(String),
}

/// A token for the configuration, which is to keep it: its line there, and the secret.
///
/// # Errors
/// It cannot be made.
pub fn for_configuration(new: New) -> Result<(String, String), Error> {
    let (token, secret) = Token::create(new, Timestamp::now())?;
    // JSON is YAML.
    let line = serde_json::to_string(&token).map_err(|error| Error::Impossible(error.to_string()))?;
    Ok((line, secret))
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Token>,
}

impl Tokens {
    /// Those that are kept in `data_dir`, and those that were `configured`, which come first.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(data_dir: &Path, configured: &[Token]) -> anyhow::Result<Tokens> {
        let path = data_dir.join(FILE);
        let File { tokens: kept } = match private::read(&path, MAX_BYTES) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged: remove it, and make new tokens", path.display()))?,
            Err(error) if error.kind() == ErrorKind::NotFound => File::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let tokens = kept.into_iter().chain(configured.iter().cloned());
        let tokens = tokens.map(|token| (token.id.clone(), Arc::new(token))).collect();
        let (tokens, verifier) = (RwLock::new(tokens), Verifier::new()?);
        Ok(Tokens { path, tokens, changing: Mutex::default(), changed: watch::Sender::new(()), verifier })
    }

    /// Makes a token; the second is the secret, which is not kept.
    ///
    /// # Errors
    /// See [`Error`]. Nothing is made then.
    pub fn create(&self, new: New) -> Result<(Arc<Token>, String), Error> {
        let (token, secret) = Token::create(new, Timestamp::now())?;
        let _one = self.changing.lock();
        if self.tokens.read().len() >= MAX_TOKENS {
            return Err(Error::TooMany);
        }
        let token = Arc::new(token);
        let after = self.tokens.read().values().cloned().chain([token.clone()]).collect();
        self.write(after)?;
        self.tokens.write().insert(token.id.clone(), token.clone());
        self.changed.send_replace(());
        Ok((token, secret))
    }

    /// Takes a token back: from now on nobody comes in with it.
    ///
    /// # Errors
    /// See [`Error`]. It is good as before then.
    pub fn revoke(&self, id: &str) -> Result<Arc<Token>, Error> {
        let id = id_of(id);
        let _one = self.changing.lock();
        let token = self.tokens.read().get(id).cloned().ok_or_else(|| Error::Unknown(id.to_owned()))?;
        if token.configured {
            return Err(Error::Configured(id.to_owned()));
        }
        let after = self.tokens.read().values().filter(|token| token.id != id).cloned().collect();
        self.write(after)?;
        self.tokens.write().remove(id);
        self.changed.send_replace(());
        Ok(token)
    }

    /// Every token, the oldest first.
    pub fn list(&self) -> Vec<Arc<Token>> {
        let mut tokens: Vec<_> = self.tokens.read().values().cloned().collect();
        tokens.sort_by(|a, b| a.age().cmp(&b.age()));
        tokens
    }

    /// The token that was `presented`, if it is good now. What is not takes the same time, whatever is wrong.
    ///
    /// # Errors
    /// As many wait to be looked at as may.
    pub async fn verify(&self, presented: &str) -> Result<Option<Arc<Token>>, Busy> {
        let token = self.claimed(presented);
        let hash = token.as_ref().map(|token| token.hash.clone());
        let known = self.verifier.verify(presented, hash).await?;
        Ok(token.filter(|token| known && token.is_good(Timestamp::now())))
    }

    /// Waits until nobody may come in with `token` any more.
    pub async fn gone(&self, token: &Token) {
        let mut changed = self.changed.subscribe();
        loop {
            let is_there = self.tokens.read().contains_key(&token.id);
            let left = token.expires_at.map(|until| until.duration_since(Timestamp::now()));
            if !is_there || left.is_some_and(|left| !left.is_positive()) {
                return;
            }
            let _ = tokio::time::timeout(at_most(left), changed.changed()).await;
        }
    }

    /// Waits until another token is good than now, or may be.
    pub async fn changed(&self) {
        let mut changed = self.changed.subscribe();
        let now = Timestamp::now();
        let next = self
            .tokens
            .read()
            .values()
            .filter_map(|token| token.expires_at)
            .filter(|until| *until > now)
            .min();
        let _ = tokio::time::timeout(at_most(next.map(|until| until.duration_since(now))), changed.changed())
            .await;
    }

    /// The token that was `presented`, if it was found to be good a moment ago and still is: that costs no hash.
    pub fn remembered(&self, presented: &str) -> Option<Arc<Token>> {
        let token = self.claimed(presented)?;
        let is_good = self.verifier.remembers(presented, &token.hash) && token.is_good(Timestamp::now());
        is_good.then_some(token)
    }

    /// The token that `presented` claims to be.
    fn claimed(&self, presented: &str) -> Option<Arc<Token>> {
        self.tokens.read().get(token::id(presented)?).cloned()
    }

    /// The share of each tenant whose tokens name one, in percent: the largest of those.
    pub fn shares(&self) -> BTreeMap<String, u8> {
        let mut shares = BTreeMap::new();
        let now = Timestamp::now();
        let others = |token: &&Arc<Token>| token.tenant != DEFAULT_TENANT && token.is_good(now);
        for token in self.tokens.read().values().filter(others) {
            let share = shares.entry(token.tenant.clone()).or_default();
            *share = token.share.unwrap_or(WHOLE).max(*share);
        }
        shares
    }

    fn write(&self, tokens: Vec<Arc<Token>>) -> Result<(), Error> {
        let mut tokens: Vec<Token> =
            tokens.iter().filter(|token| !token.configured).map(|token| (**token).clone()).collect();
        tokens.sort_by(|a, b| a.age().cmp(&b.age()));
        let text = serde_json::to_vec_pretty(&File { tokens })
            .map_err(|error| Error::Unwritten(std::io::Error::other(error)))?;
        private::replace(&self.path, &text).map_err(Error::Unwritten)
    }
}

/// How long to wait for what is so far away: the clock that tokens expire by may be put forward.
fn at_most(left: Option<SignedDuration>) -> Duration {
    left.map_or(LOOK_AGAIN, |left| left.unsigned_abs().min(LOOK_AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("omnimind-tokens-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn new(tenant: &str) -> New {
        New { tenant: tenant.into(), ..New::default() }
    }

    #[tokio::test]
    async fn a_token_is_good_until_it_is_taken_back() {
        let dir = dir("good");
        let tokens = Tokens::open(&dir, &[]).unwrap();
        let (token, secret) = tokens.create(new("acme")).unwrap();
        assert_eq!(tokens.verify(&secret).await.unwrap().unwrap().tenant, "acme");
        assert!(tokens.remembered(&secret).is_some());
        let kept = fs::read_to_string(dir.join(FILE)).unwrap();
        assert!(!kept.contains(&secret) && kept.contains("$argon2id$"), "{kept}");
        assert_eq!(fs::metadata(dir.join(FILE)).unwrap().mode() & 0o777, 0o600);

        let again = Tokens::open(&dir, &[]).unwrap();
        assert_eq!(again.verify(&secret).await.unwrap().unwrap().id, token.id);
        for wrong in ["", "om_", &secret[..secret.len() - 1], &format!("{secret}x"), &token.id, &token.hash] {
            assert!(again.verify(wrong).await.unwrap().is_none(), "{wrong}");
        }
        assert!(matches!(again.revoke("nobody"), Err(Error::Unknown(_))));
        let gone = again.gone(&token);
        let mut gone = std::pin::pin!(gone);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut gone).await.is_err());
        again.revoke(&token.id).unwrap();
        gone.await;
        assert!(again.verify(&secret).await.unwrap().is_none(), "remembered or not");
        assert!(Tokens::open(&dir, &[]).unwrap().verify(&secret).await.unwrap().is_none());
        fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn what_is_too_old_or_exchanged_is_not_good() {
        let dir = dir("old");
        let tokens = Tokens::open(&dir, &[]).unwrap();
        let (token, secret) = tokens.create(new("acme")).unwrap();
        let (other, _) = tokens.create(new("other")).unwrap();
        let past = Token { expires_at: Some("2020-01-01T00:00:00Z".parse().unwrap()), ..(*token).clone() };
        tokens.tokens.write().insert(token.id.clone(), Arc::new(past));
        assert!(tokens.verify(&secret).await.unwrap().is_none());
        let past = tokens.tokens.read().get(&token.id).unwrap().clone();
        tokens.gone(&past).await;
        let exchanged = Token { hash: other.hash.clone(), ..(*token).clone() };
        tokens.tokens.write().insert(token.id.clone(), Arc::new(exchanged));
        assert!(tokens.verify(&secret).await.unwrap().is_none(), "what is remembered is for one hash");
        fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn a_token_that_expires_has_no_share_any_more_and_that_is_told() {
        let dir = dir("share");
        let tokens = Tokens::open(&dir, &[]).unwrap();
        let soon = Timestamp::now() + SignedDuration::from_millis(400);
        tokens.create(New { share: Some(50), expires_at: Some(soon), ..new("acme") }).unwrap();
        tokens.create(New { share: Some(10), ..new("acme") }).unwrap();
        assert_eq!(tokens.shares().get("acme"), Some(&50));
        let told = async {
            while tokens.shares().get("acme") != Some(&10) {
                tokens.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is told when it expires");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn those_of_the_configuration_stay_there() {
        let dir = dir("configured");
        let (token, _) = Token::create(New { share: Some(25), ..new("acme") }, Timestamp::now()).unwrap();
        let configured = Token { configured: true, ..token };
        let tokens = Tokens::open(&dir, std::slice::from_ref(&configured)).unwrap();
        assert!(matches!(tokens.revoke(&configured.id), Err(Error::Configured(_))));
        assert_eq!(tokens.shares().get("acme"), Some(&25));
        tokens.create(new("acme")).unwrap();
        assert_eq!(tokens.shares().get("acme"), Some(&100), "the largest");
        let kept = fs::read_to_string(dir.join(FILE)).unwrap();
        assert!(!kept.contains(&configured.id), "{kept}");
        fs::write(dir.join(FILE), "{").unwrap();
        assert!(Tokens::open(&dir, &[]).is_err(), "never silently none");
        fs::remove_dir_all(dir).unwrap();
    }
}
