//! Answers 200 and nothing else, as the empty task of the other side returns nothing.

use wasip2::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

struct Hello;

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, answer: ResponseOutparam) {
        ResponseOutparam::set(answer, Ok(OutgoingResponse::new(Fields::new())));
    }
}

wasip2::http::proxy::export!(Hello);
