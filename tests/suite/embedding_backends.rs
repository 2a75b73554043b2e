//! Every embedding backend keeps the same promises; and what is Ollama's own: a service that may be anything.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use omnimind::backend::embedding::{
    Embedded, EmbeddingBackend, Encoded, Error, GoOn, Hashing, Local, Ollama, Vector,
};
use omnimind::backend::ollama::Server;
use omnimind::backend::work::Inline;
use omnimind_tests::web::{Reply, Web, ollama};
use omnimind_tests::{block_on, checkout, checkpoint};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;

fn always() -> GoOn {
    Arc::new(|| true)
}

fn encoded(backend: &dyn EmbeddingBackend, texts: &[&str]) -> Vec<Encoded> {
    texts.iter().map(|text| backend.encode(text).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

async fn vectors(backend: &dyn EmbeddingBackend, texts: &[&str]) -> Vec<Vector> {
    let made = backend.embed(encoded(backend, texts), &Inline, always()).await;
    made.into_iter().map(|made| made.expect("a vector").vector).collect()
}

fn distance(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

/// What every backend promises.
async fn keeps_its_promises(backend: &dyn EmbeddingBackend) {
    let model = backend.describe();
    assert!(!model.name.is_empty() && !model.device.is_empty() && model.dimensions > 0, "{model:?}");

    let texts = ["the cat sat on the mat.", "a red dog ran", "é中 cats \u{1f600}", "a red dog ran", "x"];
    let made = backend.embed(encoded(backend, &texts), &Inline, always()).await;
    let made: Vec<Embedded> = made.into_iter().map(|made| made.expect("a vector")).collect();
    assert_eq!(made.len(), texts.len());
    for (Embedded { vector, tokens, .. }, text) in made.iter().zip(texts) {
        let squares: f32 = vector.iter().map(|number| number * number).sum();
        assert!((squares - 1.0).abs() < 1e-4, "{model:?}, {text}: length {squares}");
        assert_eq!(vector.len(), model.dimensions);
        assert!(*tokens > 0, "every text costs something");
        // Alone as among others.
        let alone = &vectors(backend, &[text]).await[0];
        assert!(distance(vector, alone) < 1e-4, "{model:?}, {text}");
    }
    assert!(distance(&made[1].vector, &made[3].vector) < 1e-5, "one text has one vector");
    assert!(distance(&made[0].vector, &made[1].vector) > 1e-3, "two texts have two");
    assert!(backend.embed(Vec::new(), &Inline, always()).await.is_empty());

    // The longest there may be, and one more, which does no harm to others.
    let long = "cat ".repeat(model.max_tokens * 2);
    let one = match backend.encode(&long) {
        Err(error) => error,
        Ok(long) => {
            let short = backend.encode("a cat").expect("short");
            let mut made = backend.embed(vec![long, short], &Inline, always()).await;
            assert!(made[1].is_ok(), "{made:?}");
            made.remove(0).expect_err("too long")
        }
    };
    let told = one.to_string();
    assert!(matches!(one, Error::Invalid(_)) && told.contains(&model.max_tokens.to_string()), "{told}");
    let endless = backend.encode(&"x".repeat(16 << 20)).expect_err("too long");
    assert!(matches!(endless, Error::Invalid(_)), "{endless}");

    let nobody = backend.embed(encoded(backend, &texts), &Inline, Arc::new(|| false)).await;
    assert_eq!(nobody, vec![Err(Error::Stopped); texts.len()]);
}

#[test]
fn hashing_keeps_its_promises() {
    block_on(keeps_its_promises(&Hashing));
}

#[test]
fn a_local_model_keeps_its_promises() {
    let dir = tempfile::tempdir().expect("a directory");
    checkpoint::write(dir.path());
    let local = Local::load(dir.path(), "tiny", 2).expect("a model");
    let model = local.describe();
    assert_eq!((&*model.name, model.dimensions, model.max_tokens), ("tiny", 24, 128));
    block_on(keeps_its_promises(&local));
}

/// The Ollama at a URL with the model `m`.
async fn found(url: &str) -> Result<Ollama, Error> {
    let server = Server::new(url, Handle::current()).map_err(Error::from)?;
    Ollama::find(&server, &["m"]).await
}

#[test]
fn ollama_keeps_its_promises() {
    let web = ollama("m", 64, 100, |_| {});
    block_on(async {
        let ollama = found(&web.url()).await.expect("it is there");
        let model = ollama.describe();
        assert_eq!(
            (&*model.name, model.dimensions, model.max_tokens, model.device),
            ("m", 64, 100, "ollama")
        );
        keeps_its_promises(&ollama).await;
        // It counts: six words and four.
        let made =
            ollama.embed(encoded(&ollama, &["one two three four five six", "a b c d"]), &Inline, always());
        let tokens: u64 = made.await.into_iter().map(|made| made.expect("a vector").tokens).sum();
        assert!((10..=11).contains(&tokens), "{tokens}");
    });
}

#[test]
fn an_ollama_without_the_model_or_with_another_machines_is_told_of() {
    let told = |web: Web| block_on(found(&web.url())).expect_err("no model").to_string();
    assert!(told(ollama("another", 8, 8, |_| {})).contains("ollama pull m"));
    let shown = |shown: serde_json::Value| Web::serve(move |_| Reply::json(&shown));
    assert!(told(shown(json!({"remote_host": "https://ollama.com"}))).contains("another machine"));
    assert!(told(shown(json!({"capabilities": ["completion"]}))).contains("no embeddings"));
    assert!(
        told(shown(json!({"model_info": {"general.architecture": "b", "b.context_length": 0}})))
            .contains("say")
    );
    assert!(
        told(Web::serve(|_| Reply::new(500, r#"{"error": "out\nof memory"}"#))).contains("500: outof memory")
    );
    assert!(told(Web::serve(|_| Reply::new(200, "<html>"))).contains("/api/show"));
    assert!(told(Web::serve(|_| Reply::new(200, vec![b' '; 17 << 20]))).contains("longer"));
    let gone = Web::serve(|_| Reply::new(200, "")).url();
    for url in [&*gone, "http://127.0.0.1:1", "http://no.such.host.invalid"] {
        let error = block_on(found(url)).expect_err("nobody");
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("ollama serve")), "{url}: {error}");
    }
    for url in ["", "localhost:11434", "file:///etc/passwd"] {
        assert!(block_on(found(url)).expect_err("no URL").to_string().contains("model.base_url"));
    }
}

#[test]
fn what_an_ollama_answers_is_not_believed() {
    let shown = json!({"model_info": {
        "general.architecture": "b", "b.embedding_length": 2, "b.context_length": 10,
    }});
    let hit = Arc::new(Mutex::new(false));
    let elsewhere = {
        let hit = hit.clone();
        Web::serve(move |_| {
            *hit.lock().expect("no panic") = true;
            Reply::json(&json!({"embeddings": [[1.0, 0.0]]}))
        })
    };
    let to = format!("{}/api/embed", elsewhere.url());
    for (reply, says) in [
        (Reply::json(&json!({"embeddings": [[1.0, 0.0], [0.0, 1.0]]})), "/api/embed"),
        (Reply::json(&json!({"embeddings": [[1.0, 0.0, 0.0]]})), "/api/embed"),
        (Reply::json(&json!({"embeddings": [[0.0, 0.0]]})), "/api/embed"),
        (Reply::new(200, r#"{"embeddings": [[1e39, 0]]}"#), "/api/embed"),
        (Reply::new(200, r#"{"embeddings": [[NaN, 0]]}"#), "/api/embed"),
        (Reply::new(200, ""), "/api/embed"),
        (Reply::new(200, vec![b'['; 1 << 20]), "longer"),
        (Reply::new(200, "{\"embeddings\"").header("content-length", "1000"), "does not answer"),
        (Reply::new(302, "").header("location", &to), "302"),
        (Reply::new(503, r#"{"error": "server busy"}"#), "server busy"),
        (Reply::new(404, ""), "no more"),
    ] {
        let (shown, answer) = (shown.clone(), reply.clone());
        let web = Web::serve(move |request| match request.path.as_str() {
            "/api/show" => Reply::json(&shown),
            _ => answer.clone(),
        });
        block_on(async {
            let ollama = found(&web.url()).await.expect("it is there");
            let made = ollama.embed(encoded(&ollama, &["a"]), &Inline, always()).await;
            let error = made.into_iter().next().expect("an answer").expect_err("no vector");
            assert!(matches!(&error, Error::Unavailable(why) if why.contains(says)), "{reply:?}: {error}");
        });
    }
    assert!(!*hit.lock().expect("no panic"), "a redirect was followed");
}

#[test]
fn an_ollama_that_is_slow_is_left_when_nobody_waits() {
    let shown =
        json!({"model_info": {"general.architecture": "b", "b.embedding_length": 2, "b.context_length": 9}});
    let web = Web::serve(move |request| match request.path.as_str() {
        "/api/show" => Reply::json(&shown),
        _ => {
            std::thread::sleep(Duration::from_secs(60));
            Reply::new(200, "")
        }
    });
    block_on(async {
        let ollama = found(&web.url()).await.expect("it is there");
        let begun = Instant::now();
        let go_on = Arc::new(move || begun.elapsed() < Duration::from_millis(300));
        let made = ollama.embed(encoded(&ollama, &["a"]), &Inline, go_on).await;
        assert_eq!(made, [Err(Error::Stopped)]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    });
}

/// Vectors of all-MiniLM-L6-v2 against those that sentence-transformers 6.2 (torch 2.15, CPU) gave for the same texts:
/// `data/minilm.json`, rounded to six places.
#[test]
fn vectors_agree_with_sentence_transformers() {
    #[derive(Deserialize)]
    struct Reference {
        text: String,
        tokens: u64,
        vector: Vec<f32>,
    }

    let Some(folder) = checkpoint::minilm() else { return };
    let text = std::fs::read_to_string(checkout().join("tests/data/minilm.json")).expect("references");
    let references: Vec<Reference> = serde_json::from_str(&text).expect("references");
    let local = Local::load(&folder, "all-MiniLM-L6-v2", 2).expect("the model");
    assert_eq!(local.describe().max_tokens, 256);
    let texts: Vec<&str> = references.iter().map(|reference| &*reference.text).collect();
    let made = block_on(local.embed(encoded(&local, &texts), &Inline, always()));
    for (reference, made) in references.iter().zip(made) {
        let made = made.expect("a vector");
        assert_eq!(made.tokens, reference.tokens, "{}", reference.text);
        let far = distance(&made.vector, &reference.vector);
        assert!(far < 1e-4, "{}: {far}", reference.text);
    }
}
