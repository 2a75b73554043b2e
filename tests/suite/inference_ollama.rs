//! Answers of a real Ollama, with a model that is small and knows little: that it does what the runtime takes it for. What
//! the model says is its own affair here.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use omnimind::backend::inference::{
    Caller, Error, Finish, Inference, Load, Message, Ollama as Backend, Prompt, Role, Sampling, Settings,
    Wanted, about,
};
use omnimind::backend::ollama::Server;
use omnimind::limits::{Budget, Ledger, Mode, Requested};
use omnimind::task::Priority;
use omnimind_tests::ollama::{MODEL, Ollama};
use omnimind_tests::server::Server as HttpServer;
use omnimind_tests::{binary, block_on, guest_path};
use serde_json::{Value, json};
use tokio::runtime::Handle;

/// Tokens of prompt and answer together.
const CONTEXT: u64 = 1024;

/// It writes until the context is full.
const LONG: &str = "Write a very long story about a cat.";

fn service(ollama: &Ollama) -> Arc<Inference> {
    let server = Server::new(&ollama.url(), Handle::current()).expect("a URL");
    let backend = Backend::new(server, Load { context: CONTEXT, gpu_layers: None });
    let settings = Settings {
        model: MODEL.to_owned(),
        temperature: 0.0,
        max_tokens: 16,
        context: CONTEXT,
        ..Settings::default()
    };
    Arc::new(Inference::new(settings, Arc::new(backend), Handle::current()))
}

fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new(Requested::default().effective(Mode::Dev).expect("limits")))
}

fn caller(ledger: &Arc<Ledger>) -> Caller {
    Caller { tenant: "t".into(), priority: Priority::Medium, ledger: ledger.clone(), models: Arc::default() }
}

fn wanted(prompt: &str) -> Wanted {
    Wanted {
        model: None,
        prompt: Prompt::Text(prompt.to_owned()),
        sampling: Sampling::default(),
        schema: None,
        max_tokens: None,
    }
}

fn used(ledger: &Ledger) -> u64 {
    ledger.used(Budget::LlmTokens)
}

#[test]
fn what_ollama_counts_is_what_is_charged() {
    let Some(ollama) = Ollama::start() else { return };
    block_on(async {
        let (service, ledger) = (service(&ollama), ledger());
        let models = service.models().await.expect("models");
        assert_eq!(models.iter().map(|model| &*model.name).collect::<Vec<_>>(), [MODEL]);
        assert!(models[0].loaded.is_none() && models[0].size_bytes > Some(50 << 20), "{models:?}");

        let question = "What is the capital of France?";
        let made = service.complete(wanted(question), caller(&ledger)).await.expect("an answer");
        assert!(!made.text.is_empty() && made.completion_tokens > 0 && made.model == MODEL, "{made:?}");
        // It counts what its template adds, too.
        assert!(made.prompt_tokens > about(question.len()), "{made:?}");
        assert_eq!(used(&ledger), made.prompt_tokens + made.completion_tokens);
        let loaded = service.models().await.expect("models")[0].loaded.expect("loaded");
        assert_eq!((loaded.context, loaded.vram_bytes <= loaded.bytes), (Some(CONTEXT), true));

        // The same as a conversation, and cut.
        let before = used(&ledger);
        let message =
            Message { role: Role::User, content: question.to_owned(), extra: serde_json::Map::default() };
        let chat =
            Wanted { prompt: Prompt::Messages(vec![message]), max_tokens: Some(3), ..wanted(question) };
        let cut = service.complete(chat, caller(&ledger)).await.expect("an answer");
        assert_eq!((cut.prompt_tokens, cut.completion_tokens), (made.prompt_tokens, 3));
        assert_eq!((cut.finish, used(&ledger) - before), (Finish::Length, cut.prompt_tokens + 3));
    });
}

#[test]
fn what_ollama_refuses_costs_nothing() {
    let Some(ollama) = Ollama::start() else { return };
    block_on(async {
        let (service, ledger) = (service(&ollama), ledger());
        let missing = Wanted { model: Some("missing".to_owned()), ..wanted("why?") };
        let missing = service.complete(missing, caller(&ledger)).await;
        assert_eq!(missing, Err(Error::NoModel("missing".to_owned())));
        // It does not answer half of a prompt.
        let long = service.complete(wanted(&"cat ".repeat(2000)), caller(&ledger)).await;
        assert!(matches!(&long, Err(Error::Invalid(why)) if why.contains("context")), "{long:?}");
        assert_eq!((used(&ledger), service.status().error), (0, None));
        service.complete(wanted("why?"), caller(&ledger)).await.expect("an answer");
    });
}

#[test]
fn an_answer_is_of_the_shape_that_was_asked_for() {
    let Some(ollama) = Ollama::start() else { return };
    block_on(async {
        let (service, ledger) = (service(&ollama), ledger());
        let schema = json!({
            "type": "object", "properties": {"blue": {"type": "boolean"}}, "required": ["blue"],
            "additionalProperties": false,
        });
        let of = |max_tokens| Wanted {
            schema: Some(schema.to_string()),
            max_tokens: Some(max_tokens),
            ..wanted("Is the sky blue?")
        };
        let made = service.complete(of(32), caller(&ledger)).await.expect("an answer");
        let answer: Value = serde_json::from_str(&made.text).expect("JSON");
        assert!(answer["blue"].is_boolean(), "{answer}");
        assert_eq!(used(&ledger), made.prompt_tokens + made.completion_tokens, "at once");
        // Two tokens are no whole object: not at the second try either, which is charged too.
        let before = used(&ledger);
        let never = service.complete(of(2), caller(&ledger)).await;
        assert!(matches!(never, Err(Error::Misfit(_))), "{never:?}");
        assert!(used(&ledger) - before > 2 * (made.prompt_tokens + 2), "{}", used(&ledger) - before);
    });
}

/// Tokens that the model's only slot held when each of the requests came to it.
fn held(log: &str) -> Vec<u64> {
    let number = |line: &str| line.split_once(" cache=")?.1.split(' ').next()?.parse().ok();
    log.lines().filter(|line| line.contains("loading cache slot")).filter_map(number).collect()
}

#[test]
fn a_stream_that_nobody_wants_any_more_is_written_no_further() {
    let Some(ollama) = Ollama::start() else { return };
    block_on(async {
        let (service, ledger) = (service(&ollama), ledger());
        let long = || Wanted { max_tokens: Some(CONTEXT), ..wanted(LONG) };
        let mut stream = service.begin(long(), caller(&ledger)).expect("a stream");
        for _ in 0..2 {
            assert!(stream.next().await.expect("a piece").is_some());
        }
        assert!(used(&ledger) > CONTEXT, "set aside");
        stream.cancel();
        let ended = stream.ended().expect("an end").expect("no failure");
        assert!(ended.finish == Finish::Cancelled && ended.completion_tokens >= 2, "{ended:?}");
        assert_eq!(used(&ledger), ended.prompt_tokens + ended.completion_tokens);
        // Dropped, it is the same.
        let mut stream = service.begin(long(), caller(&ledger)).expect("a stream");
        stream.next().await.expect("a piece");
        drop(stream);

        // There is one slot, and it is free; of what it held before, nothing was written to the end.
        let next = service.complete(wanted(LONG), caller(&ledger)).await.expect("an answer");
        let held = held(&ollama.log());
        let [_, first, second] = held[..] else { panic!("{held:?}") };
        assert!(first < CONTEXT / 2 && second < CONTEXT / 2, "{held:?}");
        // The last token that was sent is not in it.
        assert!(next.prompt_tokens + ended.completion_tokens <= first + 1, "{ended:?} {held:?}");
    });
}

#[test]
fn an_ollama_that_dies_is_told_of_and_asked_again_when_it_is_back() {
    let Some(mut ollama) = Ollama::start() else { return };
    block_on(async {
        let (service, ledger) = (service(&ollama), ledger());
        // As it is looked at again and again: what was never there is not missed.
        service.look().await;
        let long = Wanted { max_tokens: Some(CONTEXT), ..wanted(LONG) };
        let mut stream = service.begin(long, caller(&ledger)).expect("a stream");
        stream.next().await.expect("a piece");
        ollama.kill();
        let mut pieces = 1;
        let error = loop {
            match stream.next().await {
                Ok(Some(_)) => pieces += 1,
                Ok(None) => panic!("it is no whole answer"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        let charged = used(&ledger);
        assert_eq!(charged, about(LONG.len()) + pieces, "and nothing is set aside any more");

        // Left alone after a few failures, which cost nothing.
        for _ in 0..3 {
            let gone = service.complete(wanted("why?"), caller(&ledger)).await;
            assert!(matches!(gone, Err(Error::Unavailable(_))), "{gone:?}");
        }
        assert_eq!(used(&ledger), charged);
        assert!(service.status().error.is_some());

        ollama.restart();
        let answered = async {
            loop {
                match service.complete(wanted("why?"), caller(&ledger)).await {
                    Ok(made) => break made,
                    Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        let made = tokio::time::timeout(Duration::from_secs(90), answered).await.expect("by itself");
        assert_eq!(used(&ledger), charged + made.prompt_tokens + made.completion_tokens);
        assert_eq!(service.status().error, None);
    });
}

/// The configuration of whoever is to use it.
fn settings(ollama: &Ollama) -> [(&'static str, String); 4] {
    [
        ("OMNIMIND_MODEL__BASE_URL", ollama.url()),
        ("OMNIMIND_MODEL__NAME", MODEL.to_owned()),
        ("OMNIMIND_MODEL__CONTEXT_WINDOW", CONTEXT.to_string()),
        ("OMNIMIND_MODEL__MAX_TOKENS", "32".to_owned()),
    ]
}

#[test]
fn guests_ask_ollama_here_and_over_http() {
    let Some(ollama) = Ollama::start() else { return };
    let schema = json!({
        "type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
        "additionalProperties": false,
    });
    let input = json!({"text": "Ada is 36 years old.", "schema": schema});

    let dir = tempfile::tempdir().expect("a directory");
    let mut omnimind = Command::new(binary());
    omnimind.arg("run").arg(guest_path("extract")).args(["--input", &input.to_string()]);
    omnimind.env("OMNIMIND_DATA_DIR", dir.path()).envs(settings(&ollama));
    let output = omnimind.output().expect("it starts");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert!(answer["age"].is_i64(), "{answer}");

    let server = HttpServer::set_up(&[], |serve| {
        serve.envs(settings(&ollama));
    });
    let models = server.get("/api/models/").json();
    assert_eq!((&models["provider"], &models["error"]), (&json!("ollama"), &Value::Null), "{models}");
    assert_eq!(
        (&models["models"][0]["name"], &models["models"][0]["default"]),
        (&json!(MODEL), &json!(true))
    );
    let tokens = |done: &Value| done["receipt"]["budgets"]["llm_tokens"]["used"].as_u64().expect("tokens");
    let task = json!({"component": server.push("extract"), "input": input});
    let done = server.run(&task);
    assert!(done["result"]["age"].is_i64() && tokens(&done) > 0, "{done}");
    let again = server.run(&task);
    assert_eq!((&again["result"], tokens(&again)), (&done["result"], 0), "it is kept");

    // A budget that ends in the middle of the answer: what there is of it is the result.
    let text = "The cat sat on the red mat. The dog ran after a bird, and the bird flew into a tree.";
    let cut = server.run(&json!({
        "component": server.push("summarize"), "input": {"text": text}, "limits": {"llm_tokens": 100},
    }));
    assert!(cut["result_text"].as_str().is_some_and(|text| text.len() > 10), "{cut}");
    assert!((50..200).contains(&tokens(&cut)), "{cut}");
}
