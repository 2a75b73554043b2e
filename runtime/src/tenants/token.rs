//! One token: what it says, and how it is written.

use std::borrow::Cow;

use argon2::password_hash::PasswordHasher;
use argon2::{Argon2, PasswordHash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{DEFAULT_TENANT, Error, WHOLE};
use crate::task::{Grants, NotAGrant, Object, timestamp};

/// What every token begins with, so that a scan for secrets finds one: `om_ID_SECRET`.
const PREFIX: &str = "om_";

/// Characters of a tenant's name.
const MAX_TENANT: usize = 63;

/// Characters of a description.
const MAX_DESCRIPTION: usize = 200;

/// Requests in a minute that a token may be given.
const MAX_RATE: u32 = 100_000_000;

/// A token as it is kept. A part of the HTTP contract but for its hash.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Public: 16 hexadecimal digits.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was made: RFC 3339, UTC, milliseconds. Of one in the configuration, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// From then on it is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Requests that may come with it; none: what `rate_limiting` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Percent of the places and compute slots that its tenant may hold; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// What tasks may use that are submitted with it; none: whatever the mode allows.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "Object::optional")]
    pub grants: Option<Grants>,
    /// Argon2id, as a PHC string.
    pub hash: String,
    /// Whether it stands in the configuration.
    #[serde(skip)]
    pub configured: bool,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("id", &self.id).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// What a new token is to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    /// Whose.
    pub tenant: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Until when it is good; none: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Requests that may come with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Percent of places and slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// What tasks may use.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "Object::optional")]
    pub grants: Option<Grants>,
}

/// A member of a token that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// Which.
    pub field: &'static str,
    /// What is allowed.
    pub rule: String,
}

impl From<NotAGrant> for Invalid {
    fn from(NotAGrant { field, rule }: NotAGrant) -> Invalid {
        Invalid { field, rule }
    }
}

fn invalid(field: &'static str, rule: impl Into<String>) -> Invalid {
    Invalid { field, rule: rule.into() }
}

/// Whether a tenant may be called that.
fn is_tenant(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= MAX_TENANT
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || matches!(c, '-' | '_'))
}

/// The id of the token that `presented` claims to be.
pub(super) fn id(presented: &str) -> Option<&str> {
    presented.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

/// The id, of whoever gave the whole token where its id was wanted.
pub fn id_of(given: &str) -> &str {
    id(given).unwrap_or(given)
}

/// `text` without the secrets of tokens in it.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains(PREFIX) {
        return text.into();
    }
    let words = text.split('/').map(|word| match id(word) {
        Some(id) => format!("{PREFIX}{id}_…"),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join("/").into()
}

impl Token {
    /// A token with a secret of its own, which is the second.
    pub(super) fn create(new: New, now: Timestamp) -> Result<(Token, String), Error> {
        let New { tenant, description, expires_at, requests_per_minute, share, grants } = new;
        if expires_at.is_some_and(|until| until <= now) {
            return Err(invalid("expires_at", "a time that is to come, as in 2030-01-31T00:00:00Z").into());
        }
        let impossible = |error: &dyn std::fmt::Display| Error::Impossible(error.to_string());
        let (mut id, mut secret, mut salt) = ([0; 8], [0; 32], [0; 16]);
        for random in [&mut id[..], &mut secret[..], &mut salt[..]] {
            getrandom::fill(random).map_err(|error| impossible(&error))?;
        }
        let id = format!("{:016x}", u64::from_be_bytes(id));
        let secret = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let mut token = Token {
            id,
            tenant,
            description,
            created_at: Some(timestamp(now)),
            expires_at,
            requests_per_minute,
            share,
            grants,
            hash: String::new(),
            configured: false,
        };
        token.check_words()?;
        let hash = Argon2::default().hash_password_with_salt(secret.as_bytes(), &salt);
        token.hash = hash.map_err(|error| impossible(&error))?.to_string();
        Ok((token, secret))
    }

    /// Checks one that somebody wrote.
    ///
    /// # Errors
    /// What is not allowed.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.id.len() != 16 || !self.id.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(invalid("id", "16 hexadecimal digits, as `omnimind token create --print` says"));
        }
        let hash = PasswordHash::new(&self.hash).ok();
        if !hash.is_some_and(|hash| hash.algorithm.as_str() == "argon2id" && hash.hash.is_some()) {
            return Err(invalid("hash", "argon2id as `omnimind token create --print` says it"));
        }
        self.check_words()
    }

    fn check_words(&self) -> Result<(), Invalid> {
        if !is_tenant(&self.tenant) {
            let rule = format!(
                "a tenant's name has 1 to {MAX_TENANT} characters from a-z 0-9 - _ and begins with a letter or digit"
            );
            return Err(invalid("tenant", rule));
        }
        if self.tenant == DEFAULT_TENANT && (self.share.is_some() || self.grants.is_some()) {
            return Err(invalid(
                "tenant",
                "`default` operates the machine: its share and its grants have no bounds",
            ));
        }
        let description = self.description.as_deref().unwrap_or_default();
        if description.chars().nth(MAX_DESCRIPTION).is_some() || description.contains(char::is_control) {
            let rule = format!("at most {MAX_DESCRIPTION} characters, and none of them control characters");
            return Err(invalid("description", rule));
        }
        if self.share.is_some_and(|share| !(1..=WHOLE).contains(&share)) {
            return Err(invalid("share", format!("percent, from 1 to {WHOLE}")));
        }
        if self.requests_per_minute.is_some_and(|rate| !(1..=MAX_RATE).contains(&rate)) {
            return Err(invalid("requests_per_minute", format!("from 1 to {MAX_RATE}")));
        }
        Ok(self.grants.as_ref().map_or(Ok(()), Grants::check)?)
    }

    /// All but the hash: a part of the HTTP contract.
    pub fn shown(&self) -> serde_json::Value {
        json!({
            "id": self.id, "tenant": self.tenant, "description": self.description, "created_at": self.created_at,
            "expires_at": self.expires_at.map(timestamp), "requests_per_minute": self.requests_per_minute,
            "share": self.share, "grants": self.grants, "configured": self.configured,
            "expired": !self.is_good(Timestamp::now()),
        })
    }

    /// What tokens are ordered by, the oldest first.
    pub(super) fn age(&self) -> (Option<&str>, &str) {
        (self.created_at.as_deref(), &self.id)
    }

    /// Whether it has not expired at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_may_say() {
        let ok = New { tenant: "acme".into(), ..New::default() };
        let (token, secret) = Token::create(ok.clone(), Timestamp::now()).unwrap();
        assert_eq!(token.check(), Ok(()));
        assert_eq!(id(&secret), Some(token.id.as_str()));
        assert_eq!((id_of(&secret), id_of(&token.id)), (token.id.as_str(), token.id.as_str()));
        let path = format!("/api/tokens/{secret}");
        assert_eq!(without_secrets(&path), format!("/api/tokens/om_{}_…", token.id));
        assert_eq!(without_secrets("/api/tokens/om_x"), "/api/tokens/om_x");
        assert!(!format!("{token:?}").contains("argon2"));
        let elsewhere = Grants { http: vec!["example.com".into()], ..Grants::default() };
        for (wrong, field) in [
            (New { tenant: String::new(), ..ok.clone() }, "tenant"),
            (New { tenant: "Ä".into(), ..ok.clone() }, "tenant"),
            (New { tenant: "a/b".into(), ..ok.clone() }, "tenant"),
            (New { tenant: "default".into(), share: Some(5), ..ok.clone() }, "tenant"),
            (New { tenant: "a".repeat(64), ..ok.clone() }, "tenant"),
            (New { share: Some(0), ..ok.clone() }, "share"),
            (New { share: Some(101), ..ok.clone() }, "share"),
            (New { requests_per_minute: Some(0), ..ok.clone() }, "requests_per_minute"),
            (New { description: Some("\u{1b}[2J".into()), ..ok.clone() }, "description"),
            (New { expires_at: Some(Timestamp::now()), ..ok.clone() }, "expires_at"),
            (New { grants: Some(elsewhere), ..ok.clone() }, "grants.http: an origin"),
        ] {
            let said = Token::create(wrong, Timestamp::now()).unwrap_err().to_string();
            assert!(said.starts_with(field), "{said}");
        }
        for hash in ["", "secret", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"] {
            assert!(Token { hash: hash.into(), ..token.clone() }.check().is_err(), "{hash}");
        }
    }
}
