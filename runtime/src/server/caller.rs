//! Who is asking. The gate finds out; handlers take it out of the request's extensions.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;

use super::problem::{Problem, Result};

/// The tenant of everybody who comes with user and password: whoever operates the machine.
pub const DEFAULT_TENANT: &str = "default";

/// Where a request comes from. The gate puts it into the request's extensions too.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub IpAddr);

/// Who sent a request; clones are the same one.
#[derive(Clone, Debug)]
pub struct Caller(Arc<str>);

impl Caller {
    /// One who comes for `tenant`.
    pub fn of(tenant: &str) -> Caller {
        Caller(tenant.into())
    }

    /// Whose things the request may see and make.
    pub fn tenant(&self) -> &str {
        &self.0
    }

    /// Whether the machine is theirs to look at and to change, not only what they submitted.
    pub fn is_operator(&self) -> bool {
        &*self.0 == DEFAULT_TENANT
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
