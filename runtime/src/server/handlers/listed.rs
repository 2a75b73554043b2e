//! `GET /tasks`: the list of tasks, kept until it changes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::Bytes;

use super::tasks;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::problem::Result;

/// The list as it was: what `GET /api/tasks/` answers.
pub struct TaskList {
    body: Bytes,
    /// `W/"…"`: of the same bytes, however they are encoded on the way.
    tag: HeaderValue,
}

impl TaskList {
    fn new(body: Vec<u8>) -> Result<TaskList> {
        let hash = blake3::hash(&body).to_hex();
        let tag = HeaderValue::from_str(&format!("W/\"{}\"", hash.get(..32).unwrap_or(&hash)));
        Ok(TaskList { body: body.into(), tag: tag.map_err(super::Problem::internal)? })
    }

    /// Whether the client has it already (RFC 9110, 13.1.2).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = self.tag.to_str().map(strong).unwrap_or_default();
        tags.flat_map(|tags| tags.split(',')).any(|tag| tag.trim() == "*" || strong(tag) == own)
    }
}

/// `GET /tasks?status=&priority=&component=&limit=&cursor=`
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let query = tasks::query(request.uri(), &caller)?;
    let list = match app.task_list.find(&query) {
        Ok(list) => list,
        Err(began) => {
            let page = tasks::page(&app, &query).await?;
            let body = page.write(serde_json::to_vec).map_err(super::Problem::internal)?;
            let list = Arc::new(TaskList::new(body)?);
            let words = query.tenant.len() + query.component.as_ref().map_or(0, String::len);
            app.task_list.keep(began, query, size_of::<TaskList>() + list.body.len() + words, list.clone());
            list
        }
    };
    let mut response = Response::new(Body::empty());
    match list.is_known(request.headers()) {
        true => *response.status_mut() = StatusCode::NOT_MODIFIED,
        false => {
            *response.body_mut() = list.body.clone().into();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    response.headers_mut().insert(ETAG, list.tag.clone());
    // Kept by the client, and asked for each time: what has changed is not to be shown.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_what_it_has_in_several_ways() {
        let list = TaskList::new(b"{}".to_vec()).unwrap();
        let tag = list.tag.to_str().unwrap().to_owned();
        let strong = tag.trim_start_matches("W/").to_owned();
        let known = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, text.parse().unwrap());
            list.is_known(&headers)
        };
        for text in [tag.clone(), strong.clone(), "*".to_owned(), format!("\"a\" , {tag}, W/\"b\"")] {
            assert!(known(&text), "{text}");
        }
        for text in ["", "\"\"", "W/", strong.trim_matches('"')] {
            assert!(!known(text), "{text}");
        }
        assert!(!list.is_known(&HeaderMap::new()));
        assert_ne!(TaskList::new(b"[]".to_vec()).unwrap().tag, list.tag);
    }
}
