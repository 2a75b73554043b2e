//! `GET /tasks`: the list of tasks, kept until it changes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, Request, Response};
use bytes::Bytes;

use super::tasks;
use crate::server::App;
use crate::server::caller::Caller;
use crate::server::etag;
use crate::server::problem::Result;

/// The list as it was: what `GET /api/tasks/` answers.
pub struct TaskList {
    body: Bytes,
    tag: Option<HeaderValue>,
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
            let list = Arc::new(TaskList { tag: etag::of(&body), body: body.into() });
            let words = query.tenant.len() + query.component.as_ref().map_or(0, String::len);
            app.task_list.keep(began, query, size_of::<TaskList>() + list.body.len() + words, list.clone());
            list
        }
    };
    let mut response = Response::new(Body::from(list.body.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Who has it already gets a 304, as for every answer with a tag.
    response.headers_mut().extend(list.tag.clone().map(|tag| (ETAG, tag)));
    Ok(response)
}
