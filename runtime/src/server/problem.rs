//! Errors as clients see them: `application/problem+json` (RFC 9457) with a stable `code`.

use axum::body::Body;
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::observe;
use crate::components;
use crate::engine::{self, Refusal};
use crate::limits;
use crate::scheduler;
use crate::task_store;
use crate::telemetry::Seldom;

/// Bytes of a detail: an answer is not to be longer than what it is about.
const MAX_DETAIL: usize = 8 << 10;
const MAX_FIELD: usize = 1 << 10;

/// An error answer.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What handlers return.
pub type Result<T> = std::result::Result<T, Problem>;

/// Seconds after which a full disk or a full queue is worth another try.
const RETRY_SOON: u32 = 5;

impl Problem {
    /// A problem with this status and code; `detail` names the thing, the rule and the way out.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Parts {
            status,
            code,
            detail: detail.into(),
            more: Map::new(),
            headers: Vec::new(),
        }))
    }

    /// The stable name of what is wrong.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What a message over a WebSocket says of it: everything but what is HTTP's.
    pub fn told(&self) -> Value {
        let mut told = self.0.more.clone();
        told.insert("code".to_owned(), self.0.code.into());
        told.insert("detail".to_owned(), self.0.detail.clone().into());
        Value::Object(told)
    }

    /// With a member of its own.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Problem {
        self.0.headers.push((name, value.into()));
        self
    }

    /// `422 invalid_request`: `field` is a path into what was sent, `detail` says what is allowed.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Problem {
        let field = field.into();
        let detail = format!("{field}: {}", detail.into());
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail).with("field", field)
    }

    /// `400 invalid_json`
    pub fn invalid_json(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail)
    }

    /// `404 not_found`; another tenant's things are not found either.
    pub fn not_found(what: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// `410 removed`: it was there.
    pub fn removed(what: impl Into<String>) -> Problem {
        Problem::new(StatusCode::GONE, "removed", what)
    }

    /// `409 conflict`
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// `401 unauthorized`: the same whatever was wrong.
    pub fn unauthorized() -> Problem {
        let detail = "give a token that is good (Authorization: Bearer TOKEN), or the user and password of \
            DATA_DIR/credentials.json, e.g. curl --netrc-file DATA_DIR/netrc";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"omnimind\""))
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"omnimind\", charset=\"UTF-8\""))
    }

    /// `429 rate_limited`
    pub fn rate_limited(detail: &str, seconds: u32) -> Problem {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).header(RETRY_AFTER, seconds)
    }

    /// `413 too_large`
    pub fn too_large(what: &str, limit: usize) -> Problem {
        let most = match limit >> 20 {
            0 => format!("{} KiB", limit >> 10),
            mebibytes => format!("{mebibytes} MiB"),
        };
        let detail = format!("{what} is larger than {most}, the most that is accepted");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).with("limit_bytes", limit)
    }

    /// `503 overloaded`, to be tried again.
    pub fn overloaded(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail).header(RETRY_AFTER, RETRY_SOON)
    }

    /// `415 unsupported_media_type`
    pub fn unsupported(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// `405 method_not_allowed`
    pub fn method_not_allowed() -> Problem {
        let detail = "this path has other methods: see the header Allow";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// `426 upgrade_required`: what is served there is WebSocket, version 13.
    pub fn upgrade_required(detail: &str) -> Problem {
        Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
            .header(CONNECTION, HeaderValue::from_static("upgrade"))
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
    }

    /// `429 too_many_subscriptions`, of one WebSocket.
    pub fn too_many_subscriptions(most: usize) -> Problem {
        let detail =
            format!("a connection has up to {most} channels: unsubscribe from some, or open another");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_subscriptions", detail)
    }

    /// `408 request_timeout`
    pub fn timeout(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
    }

    /// `507 storage_unavailable`: a file could not be written.
    pub fn unwritten(error: std::io::Error) -> Problem {
        let status = StatusCode::INSUFFICIENT_STORAGE;
        let detail =
            format!("the data directory could not be written to: {error}; free space, and try again");
        Problem::new(status, "storage_unavailable", detail).header(RETRY_AFTER, RETRY_SOON)
    }

    /// `500 internal`: the log has the rest.
    pub fn internal(error: impl std::fmt::Display) -> Problem {
        static SAID: Seldom = Seldom::new();
        if let Some(left_out) = SAID.left_out() {
            tracing::error!(%error, left_out, "an answer could not be given");
        }
        // What it says may name files of this machine.
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "a fault of the server: its log says which",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let Parts { status, code, mut detail, more, headers } = *self.0;
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        observe::note_code(code);
        let mut body = json!({
            "type": format!("urn:omnimind:problem:{code}"),
            "title": title(status, code),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(more);
            if let Some(Value::String(field)) = body.get_mut("field") {
                field.truncate(field.floor_char_boundary(MAX_FIELD));
            }
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = status;
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem);
        response.headers_mut().extend(headers);
        response
    }
}

fn title(status: StatusCode, code: &'static str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if title.is_empty() { status.canonical_reason().unwrap_or("Error").to_owned() } else { title }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        use engine::Code;
        let status = match refusal.code {
            Code::ComponentInvalid | Code::NotAComponent => StatusCode::BAD_REQUEST,
            Code::ComponentTooComplex
            | Code::CompileTimeout
            | Code::UnknownImport
            | Code::MissingExport
            | Code::TypeMismatch
            | Code::InvalidMetadata => StatusCode::UNPROCESSABLE_ENTITY,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::CapabilityUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::StorageUnavailable => StatusCode::INSUFFICIENT_STORAGE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = match refusal.code {
            Code::Internal => return Problem::internal(refusal.message),
            Code::InvalidMetadata => Problem::new(status, "invalid_request", refusal.message),
            code => Problem::new(status, code.name(), refusal.message),
        };
        let problem = match refusal.code {
            Code::StorageUnavailable => problem.header(RETRY_AFTER, RETRY_SOON),
            _ => problem,
        };
        match refusal.offset {
            Some(offset) => problem.with("offset", offset),
            None => problem,
        }
    }
}

impl From<task_store::Error> for Problem {
    fn from(error: task_store::Error) -> Problem {
        match error {
            task_store::Error::Full(_) | task_store::Error::Poisoned(_) => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Problem::new(status, "storage_unavailable", error.to_string()).header(RETRY_AFTER, RETRY_SOON)
            }
            task_store::Error::Unwritten(_) => Problem::overloaded(error.to_string()),
            task_store::Error::Closed => Problem::overloaded("the server is shutting down"),
            task_store::Error::Unreadable(_) => Problem::internal(error),
        }
    }
}

impl From<scheduler::Error> for Problem {
    fn from(error: scheduler::Error) -> Problem {
        match error {
            scheduler::Error::Store(error) => error.into(),
            scheduler::Error::ComponentGone(_) => Problem::not_found(error.to_string()),
            error => Problem::overloaded(error.to_string()),
        }
    }
}

impl From<components::Error> for Problem {
    fn from(error: components::Error) -> Problem {
        match error {
            components::Error::Refused(refusal) => refusal.into(),
            components::Error::Store(error) => error.into(),
            components::Error::Overloaded => Problem::overloaded(error.to_string()),
            components::Error::InUse(_) => Problem::conflict(error.to_string()),
        }
    }
}

impl From<limits::Error> for Problem {
    fn from(error: limits::Error) -> Problem {
        let field = match &error {
            limits::Error::Unknown { name } => format!("limits.{name}"),
            limits::Error::OutOfRange { budget, .. } => format!("limits.{}", budget.name()),
            limits::Error::InputTooLarge { .. } => {
                return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string());
            }
        };
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", error.to_string())
            .with("field", field)
    }
}
