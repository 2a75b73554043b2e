//! Answers of Ollama, which may do anything: what is asked of it, and that no answer is believed that is not whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use omnimind::backend::inference::{
    Ending, Error, InferenceBackend, Load, Message, Ollama, Piece, Prompt, Request, Role, Sampling,
};
use omnimind::backend::ollama::Server;
use omnimind_tests::block_on;
use omnimind_tests::lines::{Act, Asked, Lines};
use omnimind_tests::server::eventually;
use serde_json::{Value, json};
use tokio::runtime::Handle;

fn request(model: &str) -> Request {
    Request {
        model: model.to_owned(),
        prompt: Prompt::Text("why?".to_owned()),
        sampling: Sampling::default(),
        schema: None,
        max_tokens: 10,
    }
}

fn ollama(url: &str) -> Ollama {
    let load = Load { context: 2048, gpu_layers: Some(3) };
    Ollama::new(Server::new(url, Handle::current()).expect("a URL"), load)
}

/// All pieces of the answer to `request`, and what it ended with.
fn answer(url: &str, request: &Request) -> (String, Result<Ending, Error>) {
    block_on(async {
        let mut answer = ollama(url).begin(request);
        let mut text = String::new();
        loop {
            match answer.next().await {
                Ok(Piece::Text(piece)) => text += &piece,
                Ok(Piece::Silent) => {}
                Ok(Piece::End(ending)) => return (text, Ok(ending)),
                Err(error) => return (text, Err(error)),
            }
        }
    })
}

/// What comes of an answer that is like that.
fn of(acts: Vec<Act>) -> (String, Result<Ending, Error>) {
    let server = Lines::serve(move |_| acts.clone());
    answer(server.url(), &request("m"))
}

fn said(text: &str) -> Act {
    Act::line(&json!({"response": text, "done": false}))
}

fn done() -> Act {
    Act::line(&json!({
        "response": "", "done": true, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 2,
    }))
}

#[test]
fn an_answer_comes_in_pieces_however_they_are_cut() {
    let whole = (
        "one two".to_owned(),
        Ok(Ending { is_cut: false, prompt_tokens: Some(7), completion_tokens: Some(2) }),
    );
    assert_eq!(of(vec![Act::ok(), said("one"), said(" two"), done()]), whole);
    let all = "{\"response\": \"one\"}\n\n{\"response\": \"\", \"thinking\": \"hm\"}\n{\"response\": \" two\"}\n{\"done\": true, \"prompt_eval_count\": 7, \"eval_count\": 2}";
    let mut acts = vec![Act::ok()];
    for piece in all.as_bytes().chunks(7) {
        acts.push(Act::Send(String::from_utf8(piece.to_vec()).expect("text")));
        acts.push(Act::Wait(Duration::from_millis(1)));
    }
    assert_eq!(of(acts), whole, "and the last line may have no end");
    let last = Act::line(&json!({"response": "all of it", "done": true, "done_reason": "length"}));
    let cut = Ending { is_cut: true, ..Ending::default() };
    assert_eq!(of(vec![Act::ok(), last]), ("all of it".to_owned(), Ok(cut)));
}

#[test]
fn an_answer_that_is_not_whole_is_none() {
    for (what, acts) in [
        ("no end", vec![Act::ok(), said("one")]),
        ("nothing", vec![Act::ok()]),
        ("half a line", vec![Act::ok(), said("one"), Act::Send("{\"response\": \"tw".to_owned())]),
        ("no JSON", vec![Act::ok(), said("one"), Act::Send("<html>\n".to_owned())]),
        ("a line of another shape", vec![Act::ok(), said("one"), Act::Send("[1]\n".to_owned())]),
        ("no status", vec![Act::Send("nonsense\r\n\r\n".to_owned())]),
    ] {
        let (_, ended) = of(acts);
        assert!(matches!(ended, Err(Error::Unavailable(_))), "{what}: {ended:?}");
    }
    // What is the model's, or the request's, is told from what is the server's: others may ask on.
    for (what, acts) in [
        ("an error in a line", vec![Act::ok(), said("one"), Act::line(&json!({"error": "out of memory"}))]),
        ("a fault", vec![Act::Head("500".to_owned()), Act::Send("<html>".to_owned())]),
        (
            "another machine's",
            vec![Act::ok(), Act::line(&json!({"response": "x", "remote_host": "https://ollama.com"}))],
        ),
    ] {
        let (_, ended) = of(acts);
        assert!(matches!(ended, Err(Error::Failed(_))), "{what}: {ended:?}");
    }
    let busy = of(vec![Act::Head("503".to_owned()), Act::line(&json!({"error": "server busy"}))]);
    assert!(matches!(busy.1, Err(Error::Busy(_))), "{busy:?}");
    let missing = of(vec![Act::Head("404".to_owned()), Act::line(&json!({"error": "model not found"}))]);
    assert_eq!(missing.1, Err(Error::NoModel("m".to_owned())));
    let long = of(vec![Act::Head("400".to_owned()), Act::line(&json!({"error": "input length exceeds"}))]);
    assert!(matches!(long.1, Err(Error::Invalid(why)) if why.contains("input length")));
}

#[test]
fn an_answer_has_an_end_in_bytes() {
    let ten_gigabytes = 10_000_000;
    let endless = vec![Act::ok(), Act::Repeat("x".repeat(1000), ten_gigabytes)];
    let begun = Instant::now();
    let (_, ended) = of(endless);
    assert!(matches!(&ended, Err(Error::Unavailable(why)) if why.contains("longer")), "{ended:?}");
    let tokens = vec![Act::ok(), Act::Repeat(format!("{}\n", json!({"response": "word"})), ten_gigabytes)];
    let (text, ended) = of(tokens);
    assert!(matches!(&ended, Err(Error::Unavailable(why)) if why.contains("longer")), "{ended:?}");
    assert!(text.len() < 2 << 20 && begun.elapsed() < Duration::from_secs(20), "{}", text.len());
}

/// A server that nobody should ask, and whether somebody has.
fn trap() -> (Lines, Arc<AtomicBool>) {
    let asked = Arc::new(AtomicBool::new(false));
    let seen = asked.clone();
    let server = Lines::serve(move |_| {
        seen.store(true, Ordering::Relaxed);
        vec![Act::ok(), said("taken"), done()]
    });
    (server, asked)
}

#[test]
fn a_request_goes_where_it_was_told_to_and_nowhere_else() {
    let (elsewhere, hit) = trap();
    for status in [301, 302, 303, 307, 308] {
        let head = Act::Head(format!("{status} location: {}/api/generate", elsewhere.url()));
        let (_, ended) = of(vec![head]);
        assert!(matches!(ended, Err(Error::Failed(_))), "{status}: {ended:?}");
    }
    let (cloud, asked) = trap();
    for model in ["big:cloud", "big:120b-cloud", "bigcloud", "big:120b-CLOUD"] {
        let (_, ended) = answer(cloud.url(), &request(model));
        assert!(matches!(&ended, Err(Error::Failed(why)) if why.contains("another machine")), "{ended:?}");
    }
    assert!(!hit.load(Ordering::Relaxed) && !asked.load(Ordering::Relaxed));
    let (_, gone) = answer("http://127.0.0.1:1", &request("m"));
    assert!(matches!(gone, Err(Error::Unavailable(why)) if why.contains("ollama serve")));
}

#[test]
fn what_a_model_is_loaded_with_is_the_hosts() {
    let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let server = {
        let seen = seen.clone();
        Lines::serve(move |Asked { path, body, .. }| {
            seen.lock().expect("no panic").push((path, body));
            vec![Act::ok(), done()]
        })
    };
    let message =
        |role, content: &str| Message { role, content: content.to_owned(), extra: serde_json::Map::new() };
    let chat = Request {
        prompt: Prompt::Messages(vec![message(Role::System, "short"), message(Role::User, "why?")]),
        sampling: Sampling {
            temperature: Some(0.5),
            seed: Some(3),
            stop: vec!["x".to_owned()],
            ..Sampling::default()
        },
        schema: Some("{\"z\": 1, \"type\": \"object\"}".to_owned()),
        ..request("m")
    };
    answer(server.url(), &request("m")).1.expect("an end");
    answer(server.url(), &chat).1.expect("an end");
    let seen = seen.lock().expect("no panic");
    assert_eq!(
        seen[0],
        (
            "/api/generate".to_owned(),
            json!({
                "model": "m", "prompt": "why?", "stream": true, "truncate": false, "shift": false,
                "options": {"num_ctx": 2048, "num_gpu": 3, "num_predict": 10},
            })
        )
    );
    assert_eq!(
        seen[1],
        (
            "/api/chat".to_owned(),
            json!({
                "model": "m", "stream": true, "truncate": false, "shift": false, "format": {"z": 1, "type": "object"},
                "messages": [{"role": "system", "content": "short"}, {"role": "user", "content": "why?"}],
                "options": {
                    "num_ctx": 2048, "num_gpu": 3, "num_predict": 10, "temperature": 0.5, "seed": 3, "stop": ["x"],
                },
            })
        )
    );
}

#[test]
fn an_answer_that_nobody_wants_any_more_is_ended() {
    let server = Lines::serve(|_| vec![Act::ok(), said("one"), Act::Hang]);
    block_on(async {
        let mut answer = ollama(server.url()).begin(&request("m"));
        assert_eq!(answer.next().await, Ok(Piece::Text("one".to_owned())));
        drop(answer);
    });
    eventually(|| (server.left.load(Ordering::Relaxed) == 1).then_some(()));
}

#[test]
fn models_are_listed_with_what_they_take_and_other_machines_are_not() {
    let server = Lines::serve(|Asked { path, .. }| {
        let models = match &*path {
            "/api/tags" => json!([
                {"name": "a:latest", "size": 100}, {"name": "b:7b", "size": 200},
                {"name": "c:cloud"}, {"name": "d", "remote_host": "https://ollama.com"},
            ]),
            _ => json!([{"name": "b:7b", "size": 300, "size_vram": 250, "context_length": 4096}]),
        };
        vec![Act::ok(), Act::line(&json!({"models": models}))]
    });
    let models = block_on(async { ollama(server.url()).models().await }).expect("models");
    let shown: Vec<_> = models
        .iter()
        .map(|model| {
            (
                &*model.name,
                model.size_bytes,
                model.loaded.map(|loaded| (loaded.bytes, loaded.vram_bytes, loaded.context)),
            )
        })
        .collect();
    assert_eq!(shown, [("a:latest", Some(100), None), ("b:7b", Some(200), Some((300, 250, Some(4096))))]);
}
