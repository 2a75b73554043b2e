//! `ETag`: who has an answer already is told so, and does not get it again.
//!
//! Tags are weak, because one answer has two codings, as it is and compressed, and means the same in both.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

/// Answers above this size have none, unless they are kept: hashing them is work.
const MAX_BYTES: usize = 1 << 20;

/// The tag of an answer with these bytes, unless they are many.
pub fn of_small(bytes: &[u8]) -> Option<HeaderValue> {
    (bytes.len() <= MAX_BYTES).then(|| of(bytes)).flatten()
}

/// The tag of an answer with these bytes.
pub fn of(bytes: &[u8]) -> Option<HeaderValue> {
    let hash = blake3::hash(bytes).to_hex();
    HeaderValue::from_str(&format!("W/\"{}\"", hash.get(..32)?)).ok()
}

/// The tag of what never changes, by its name.
pub fn named(name: impl std::fmt::Display) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("W/\"{name}\"")).ok()
}

/// Whether who asks has the answer with this tag.
pub fn has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let value = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str().map(value) else { return false };
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    known.flat_map(|known| known.split(',')).any(|known| value(known) == tag || known.trim() == "*")
}

/// `304` with this tag.
pub fn not_modified(tag: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(ETAG, tag);
    response
}

/// What a request knows of the answer to it.
pub struct Asked {
    reads: bool,
    known: Option<HeaderMap>,
}

impl Asked {
    /// By `request`.
    pub fn by<B>(request: &Request<B>) -> Asked {
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        let headers = request.headers();
        let known = (reads && headers.contains_key(IF_NONE_MATCH)).then(|| {
            headers.get_all(IF_NONE_MATCH).iter().map(|known| (IF_NONE_MATCH, known.clone())).collect()
        });
        Asked { reads, known }
    }

    /// The answer, or that it is the one that is known.
    pub fn answer(self, mut response: Response<Body>) -> Response<Body> {
        if !self.reads {
            response.headers_mut().remove(ETAG);
            return response;
        }
        let Some(tag) = response.headers().get(ETAG).cloned() else { return response };
        // A browser may keep it, and asks each time whether it is still good.
        let keep = HeaderValue::from_static("private, no-cache");
        response.headers_mut().entry(CACHE_CONTROL).or_insert(keep);
        if response.status() == StatusCode::OK && self.known.is_some_and(|known| has(&known, &tag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            // They would be those of the answer that does not come.
            for header in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                response.headers_mut().remove(header);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_as_weak_ones() {
        let tag = named("a").unwrap();
        let known = |text: &str| HeaderMap::from_iter([(IF_NONE_MATCH, text.parse().unwrap())]);
        for text in ["W/\"a\"", "\"a\"", "\"b\", W/\"a\"", "*", " W/\"x\" ,\"a\" "] {
            assert!(has(&known(text), &tag), "{text}");
        }
        for text in ["\"b\"", "a", "", "W/\"\"", "W/\"A\""] {
            assert!(!has(&known(text), &tag), "{text}");
        }
        assert!(!has(&HeaderMap::new(), &tag));
        assert!(of_small(&[0; MAX_BYTES]).is_some() && of_small(&[0; MAX_BYTES + 1]).is_none());
        assert_ne!(of(b"a"), of(b"b"));
    }
}
