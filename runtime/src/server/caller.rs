//! Who is asking. The gate finds out; handlers take it out of the request's extensions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;

use super::problem::{Problem, Result};
use crate::task::Grants;
use crate::tenants::{DEFAULT_TENANT, Token, Tokens};

/// Where a request comes from. The gate puts it into the request's extensions too.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub IpAddr);

/// Who sent a request; clones are the same one.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Who>);

#[derive(Debug)]
enum Who {
    /// They know the password, are signed in, or credentials are not asked for.
    Operator,
    /// They came with a token.
    Bearer(Arc<Token>),
}

impl Caller {
    /// Whoever operates the machine.
    pub fn operator() -> Caller {
        Caller(Arc::new(Who::Operator))
    }

    /// Whoever has this token.
    pub fn bearer(token: Arc<Token>) -> Caller {
        Caller(Arc::new(Who::Bearer(token)))
    }

    /// Somebody of `tenant`.
    #[cfg(test)]
    pub fn of(tenant: &str) -> Caller {
        let (id, hash) = (String::new(), String::new());
        let (description, created_at, expires_at, requests_per_minute) = (None, None, None, None);
        let (tenant, share, grants, configured) = (tenant.to_owned(), None, None, false);
        Caller::bearer(Arc::new(Token {
            id,
            tenant,
            description,
            created_at,
            expires_at,
            requests_per_minute,
            share,
            grants,
            hash,
            configured,
        }))
    }

    /// Whose things the request may see and make.
    pub fn tenant(&self) -> &str {
        match &*self.0 {
            Who::Operator => DEFAULT_TENANT,
            Who::Bearer(token) => &token.tenant,
        }
    }

    /// The token that they came with.
    pub fn token(&self) -> Option<&Token> {
        match &*self.0 {
            Who::Operator => None,
            Who::Bearer(token) => Some(token),
        }
    }

    /// What tasks of theirs may use at most, if their token says.
    pub fn grants(&self) -> Option<&Grants> {
        self.token().and_then(|token| token.grants.as_ref())
    }

    /// Waits until they may not come in any more, as with a token that is revoked.
    pub async fn gone(&self, tokens: &Tokens) {
        match self.token() {
            Some(token) => tokens.gone(token).await,
            None => std::future::pending().await,
        }
    }

    /// Whether the machine is theirs to look at and to change, not only what they submitted.
    pub fn is_operator(&self) -> bool {
        self.tenant() == DEFAULT_TENANT
    }

    /// Lets those go on who come with the password, or from a browser that is signed in: whoever has a token makes
    /// nothing of it that outlives it.
    ///
    /// # Errors
    /// `403 forbidden` for everybody with a token.
    pub fn comes_without_token(&self) -> Result<()> {
        match self.token() {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "this is for whoever has the user and password, not for tokens",
            )),
        }
    }

    /// Lets the operator go on.
    ///
    /// # Errors
    /// `403 forbidden` for everybody else.
    pub fn operates(&self) -> Result<()> {
        match self.is_operator() {
            true => Ok(()),
            false => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("this is for the tenant `{DEFAULT_TENANT}`, which operates the machine"),
            )),
        }
    }
}
