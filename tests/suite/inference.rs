//! Answers that tasks get of language models over HTTP: what they cost, who may ask, what is kept and what is logged. An
//! Ollama is played, so that it says the same each time, or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use omnimind_tests::exposition::Exposition;
use omnimind_tests::guest;
use omnimind_tests::lines::{Act, Asked, Lines};
use omnimind_tests::server::{Reply, Server, eventually};
use serde_json::{Value, json};

/// What hostile guests say to a model, and how many tokens that is, about, with what is around it.
const HELLO: &str = "hello";
const OF_HELLO: u64 = 10;

/// How an Ollama answers that has the models `m:latest` and `other:7b`; conversations as `chat` says, of what was said
/// last and all of the request.
pub(super) fn ollama(
    chat: impl Fn(&str, &Value) -> Vec<Act> + Send + Sync + 'static,
) -> impl Fn(Asked) -> Vec<Act> + Send + Sync + 'static {
    let answer = |answer: Value| vec![Act::ok(), Act::line(&answer)];
    let missing = || vec![Act::Head("404".to_owned()), Act::line(&json!({"error": "model not found"}))];
    move |Asked { path, body, .. }| {
        let is_there = matches!(body["model"].as_str(), Some("m" | "m:latest" | "other:7b"));
        match &*path {
            "/api/tags" => answer(json!({"models": [
                {
                    "name": "m:latest", "size": 100,
                    "details": {"family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"},
                },
                {"name": "other:7b", "size": 2048},
                {"name": "big:cloud", "size": 300},
            ]})),
            "/api/ps" => answer(json!({"models": [
                {"name": "m:latest", "size": 300, "size_vram": 250, "context_length": 4096},
            ]})),
            "/api/show" if is_there => answer(json!({
                "model_info": {"general.architecture": "llama", "llama.context_length": 2048},
                "capabilities": ["completion", "tools"],
            })),
            "/api/chat" if is_there => {
                let last = body["messages"].as_array().and_then(|messages| messages.last());
                let said = last.and_then(|message| message["content"].as_str()).unwrap_or_default();
                chat(said, &body)
            }
            _ => missing(),
        }
    }
}

/// A piece of an answer.
pub(super) fn said(text: &str) -> Act {
    Act::line(&json!({"message": {"role": "assistant", "content": text}, "done": false}))
}

/// An answer of these pieces, for seven tokens and two.
pub(super) fn answer(pieces: &[&str]) -> Vec<Act> {
    let end = json!({
        "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop",
        "prompt_eval_count": 7, "eval_count": 2,
    });
    let pieces = pieces.iter().map(|piece| said(piece));
    [Act::ok()].into_iter().chain(pieces).chain([Act::line(&end)]).collect()
}

/// A server that asks the Ollama at `url`, for the model `m` where a task names none.
pub(super) fn serve(url: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Server {
    Server::set_up(arguments, |serve| {
        serve.env("OMNIMIND_MODEL__BASE_URL", url).env("OMNIMIND_MODEL__NAME", "m");
        // Else it would be asked for vectors too.
        serve.env("OMNIMIND_EMBEDDING__PROVIDER", "hashing");
        serve.envs(variables.iter().copied());
    })
}

/// A task that has `text` summarized, once, by `model` or, where that is null, by the configured one.
pub(super) fn summary(summarize: &str, text: &str, model: Value, grants: Value) -> Value {
    json!({
        "component": summarize, "input": {"text": text, "model": model}, "grants": grants,
        "retry": {"max_attempts": 1},
    })
}

/// The same by whatever is configured.
pub(super) fn summarized(server: &Server, text: &str) -> Value {
    server.run(&summary(&server.push("summarize"), text, Value::Null, Value::Null))
}

/// Tokens that a task was charged for.
#[track_caller]
pub(super) fn tokens(done: &Value) -> u64 {
    let used = done["receipt"]["budgets"]["llm_tokens"]["used"].as_u64();
    used.unwrap_or_else(|| panic!("no receipt: {done}"))
}

/// A task's failure: its kind, and what it says.
#[track_caller]
pub(super) fn failure(done: &Value) -> (&str, &str) {
    let failure = &done["failure"];
    let both = failure["kind"].as_str().zip(failure["message"].as_str());
    both.unwrap_or_else(|| panic!("it did not fail: {done}"))
}

/// The one line of a receipt: model, answers, those that were kept, tokens of prompts and of answers.
#[track_caller]
fn line(done: &Value) -> (&str, [u64; 4]) {
    let lines = done["receipt"]["inference"].as_array().unwrap_or_else(|| panic!("no lines: {done}"));
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let number = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name}: {line}"));
    let numbers = ["answers", "cached", "prompt_tokens", "completion_tokens"].map(number);
    (line["model"].as_str().expect("a name"), numbers)
}

fn metrics(server: &Server) -> Exposition {
    Exposition::parse(&server.get("/metrics").text()).expect("an exposition")
}

#[test]
fn a_prompt_that_its_budget_does_not_cover_is_not_begun() {
    // Nobody is there, and nobody is asked.
    let server = serve("http://127.0.0.1:9", &[], &[]);
    let prompts = server.push("hostile/llm-tokens");
    let run = |bytes: u64| {
        server.run(&json!({
            "component": prompts, "input": bytes, "grants": {"inference": ["attest"]},
            "limits": {"llm_tokens": 1000},
        }))
    };
    // With 32 bytes around it, a token for each four, and one for the answer.
    let under = run(4 * 999 - 32);
    assert_eq!((&under["result"], tokens(&under)), (&json!(4 * 999 - 32), 0), "{under}");
    let over = run(4 * 999 - 31);
    assert_eq!(failure(&over), ("budget_exhausted", "budget-exhausted"));
    assert_eq!((&over["failure"]["limit"], tokens(&over)), (&json!("llm_tokens"), 0), "{over}");
}

#[test]
fn answers_that_nobody_takes_cost_what_was_begun_of_them_and_take_no_turns() {
    let ollama = Lines::serve(ollama(|text, _| match text {
        HELLO => vec![Act::ok(), Act::Hang],
        _ => answer(&["taken"]),
    }));
    let server = serve(ollama.url(), &[], &[]);
    let streams = server.push("hostile/llm-streams");
    let run = |count: u64| server.run(&json!({"component": streams, "input": count}));
    // So many for each prompt that the model has; the sixteen of each answer are given back.
    let is_settled = |done: &Value| tokens(done).is_multiple_of(OF_HELLO) && tokens(done) <= 64 * OF_HELLO;
    let most = run(64);
    assert_eq!((&most["result"], line(&most).1[0]), (&json!(64), 64), "{most}");
    assert!(is_settled(&most), "{most}");
    let over = run(65);
    assert_eq!(failure(&over), ("guest_error", "refused"));
    assert_eq!(line(&over).1[0], 64, "all but the last were begun: {over}");
    assert!(is_settled(&over), "{over}");
    // A task may have ended before the first of them had its turn: not each time.
    let charged = eventually(|| Some(run(65)).filter(|done| tokens(done) > 0));
    let (model, [answers, _, prompts, pieces]) = line(&charged);
    assert_eq!((model, answers, prompts, pieces), ("m", 64, tokens(&charged), 0));

    // Four were at the model, which never said anything.
    assert_eq!(summarized(&server, "why?")["result_text"], "taken");
}

#[test]
fn an_answer_that_is_dropped_is_written_no_further_and_charged_as_far_as_it_came() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let ollama = Lines::serve(ollama(move |text, _| match text {
        HELLO => {
            seen.fetch_add(1, Ordering::Relaxed);
            vec![Act::ok(), said("one"), said("two"), said("three"), Act::Hang]
        }
        _ => answer(&["taken"]),
    }));
    let server = serve(ollama.url(), &[], &[]);
    let drops = server.push("hostile/llm-drop");
    let drop_after = |pieces: u64| server.run(&json!({"component": drops, "input": pieces}));
    let (asked, left) = (|| asked.load(Ordering::Relaxed), || ollama.left.load(Ordering::Relaxed));
    for (pieces, times) in [(1, 1), (3, 2)] {
        let done = drop_after(pieces);
        assert_eq!(done["result"], pieces, "{done}");
        // The model may be ahead of the guest.
        assert!((OF_HELLO + pieces..=OF_HELLO + 3).contains(&tokens(&done)), "{done}");
        let (_, [_, _, prompt, completion]) = line(&done);
        assert_eq!((prompt, prompt + completion), (OF_HELLO, tokens(&done)));
        assert_eq!(asked(), times);
        eventually(|| (left() == times).then_some(()));
    }
    let none = drop_after(0);
    assert_eq!(none["result"], 0, "{none}");
    assert!(tokens(&none) <= OF_HELLO + 3, "{none}");
    let thousand = server.run(&json!({"component": drops}));
    assert_eq!((&thousand["status"], line(&thousand).1[0]), (&json!("completed"), 1000), "{thousand}");
    assert!(tokens(&thousand) <= 1000 * (OF_HELLO + 3), "{thousand}");
    let ended = [("model", "m"), ("end", "cancelled")];
    assert_eq!(metrics(&server).value("omnimind_inference_answers_total", &ended), Some(1003.0));

    assert_eq!(summarized(&server, "why?")["result_text"], "taken");
    // Some went before they had asked.
    eventually(|| (left() >= asked()).then_some(()));
}

#[test]
fn a_task_asks_the_models_that_it_was_granted_and_no_other() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let ollama = Lines::serve(ollama(move |_, body| {
        seen.fetch_add(1, Ordering::Relaxed);
        answer(&["by ", body["model"].as_str().unwrap_or_default()])
    }));
    let other = || json!({"inference": ["other:7b"]});
    let (nothing, m) = (Value::Null, || json!({"inference": ["m"]}));
    let dev = serve(ollama.url(), &[], &[]);
    let prod = serve(ollama.url(), &["--mode", "prod"], &[]);
    for (server, grants, model, by) in [
        (&dev, nothing.clone(), nothing.clone(), Ok("m")),
        // The same by its whole name.
        (&dev, nothing.clone(), json!("m:latest"), Ok("m:latest")),
        (&dev, nothing.clone(), json!("other:7b"), Err("other:7b")),
        (&dev, other(), json!("other:7b"), Ok("other:7b")),
        (&dev, other(), nothing.clone(), Err("m")),
        (&prod, m(), nothing.clone(), Ok("m")),
        (&prod, m(), json!("other:7b"), Err("other:7b")),
    ] {
        let before = asked.load(Ordering::Relaxed);
        let done = server.run(&summary(&server.push("summarize"), "why?", model, grants));
        match by {
            Ok(model) => assert_eq!(done["result_text"], format!("by {model}"), "{done}"),
            Err(model) => {
                let (kind, why) = failure(&done);
                let grant = format!("\"grants\": {{\"inference\": [\"{model}\"]}}");
                assert!(kind == "capability_denied" && why.contains(&grant), "{done}");
                assert_eq!((asked.load(Ordering::Relaxed), tokens(&done)), (before, 0), "{done}");
            }
        }
    }
    // One that is granted none is not begun.
    for (server, grants) in [(&dev, json!({})), (&dev, json!({"tensor": true})), (&prod, nothing.clone())] {
        let task = summary(&server.push("summarize"), "why?", nothing.clone(), grants);
        let problem = server.post("/api/tasks/", &task).problem(403, "capability_denied");
        assert_eq!(problem["grants"], json!({"inference": ["MODEL"]}), "{problem}");
    }
}

#[test]
fn a_tenant_sees_and_asks_the_models_of_its_token() {
    let ollama = Lines::serve(ollama(|_, body| answer(&["by ", body["model"].as_str().unwrap_or_default()])));
    let server = serve(ollama.url(), &[], &[]);
    let token = |grants: Value| {
        let made = server.post("/api/tokens/", &json!({"tenant": "acme", "grants": grants}));
        assert_eq!(made.status, 201, "{made:?}");
        format!("Bearer {}", made.json()["token"].as_str().expect("text"))
    };
    let (some, none) = (token(json!({"inference": ["other:7b"]})), token(json!({"tensor": true})));
    let as_of =
        |token: &str, method: &str, path: &str| server.request(method, path).header("Authorization", token);
    let uploaded = as_of(&some, "POST", "/api/components/").wasm(&guest("summarize")).send();
    assert_eq!(uploaded.status, 201, "{uploaded:?}");
    let summarize = uploaded.json()["digest"].as_str().expect("a digest").to_owned();
    let ask = |token: &str, model: Value, grants: Value| -> Reply {
        let task = summary(&summarize, "why?", model, grants);
        as_of(token, "POST", "/api/tasks/?wait=60s").json(&task).send()
    };

    let shown = |token: &str| {
        let models = as_of(token, "GET", "/api/models/").send().json()["models"].clone();
        let all = models.as_array().expect("models").iter();
        all.map(|model| (model["name"].clone(), model["granted"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(shown(&some), [(json!("other:7b"), json!(false))]);
    assert_eq!(shown(&none), []);

    let both = || json!({"inference": ["m", "other:7b"]});
    let granted = ask(&some, json!("other:7b"), both()).json();
    assert_eq!(granted["result_text"], "by other:7b", "{granted}");
    let beyond = ask(&some, json!("m"), both()).json();
    assert_eq!(failure(&beyond).0, "capability_denied", "{beyond}");
    // What the mode gives is not what this token allows.
    for (token, grants) in [(&some, Value::Null), (&some, json!({"inference": ["m"]})), (&none, both())] {
        let problem = ask(token, Value::Null, grants).problem(403, "capability_denied");
        let detail = problem["detail"].as_str().expect("text");
        assert!(detail.contains("\"grants\": {\"inference\":[\"MODEL\"]}"), "{problem}");
    }
}

#[test]
fn what_models_wrote_is_in_the_receipt_and_in_the_metrics() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let ollama = Lines::serve(ollama(move |text, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        let mut acts = answer(&["one", " two"]);
        acts.insert(1, Act::Wait(Duration::from_millis(50)));
        if text == "breaks" {
            // After the first piece.
            acts.truncate(3);
        }
        acts
    }));
    let server = serve(ollama.url(), &[], &[]);
    let first = summarized(&server, "why?");
    assert_eq!((&first["result_text"], tokens(&first)), (&json!("one two"), 9), "{first}");
    assert_eq!(line(&first), ("m", [1, 0, 7, 2]));
    let times = &first["receipt"]["inference"][0];
    assert!(times["first_token_ms"].as_u64() >= Some(50) && times["queue_ms"].is_u64(), "{times}");
    let again = summarized(&server, "why?");
    assert_eq!((&again["result_text"], tokens(&again)), (&json!("one two"), 0), "{again}");
    assert_eq!((line(&again), asked.load(Ordering::Relaxed)), (("m", [1, 1, 0, 0]), 1));
    let failed = summarized(&server, "breaks");
    let (kind, why) = failure(&failed);
    assert!(kind == "upstream_unavailable" && why.contains("ended in the middle"), "{failed}");
    let (model, [answers, kept, prompt, completion]) = line(&failed);
    assert_eq!((model, answers, kept, completion), ("m", 1, 0, 1));
    assert!(prompt > 1 && tokens(&failed) == prompt + 1, "{failed}");
    // A name that somebody made up.
    let nowhere =
        summary(&server.push("summarize"), "?", json!("nowhere"), json!({"inference": ["nowhere"]}));
    let nowhere = server.run(&nowhere);
    let (kind, why) = failure(&nowhere);
    assert!(kind == "guest_error" && why.contains("ollama pull nowhere"), "{nowhere}");
    assert_eq!((line(&nowhere), tokens(&nowhere)), (("nowhere", [1, 0, 0, 0]), 0));
    // Who asked no model has no line.
    let echo = server.run(&json!({"component": server.push("hostile/echo"), "input": 1}));
    assert!(echo["receipt"].get("inference").is_none(), "{echo}");

    let metrics = metrics(&server);
    for (name, labels, value) in [
        ("answers_total", [("model", "m"), ("end", "stop")], 1),
        ("answers_total", [("model", "m"), ("end", "cached")], 1),
        ("answers_total", [("model", "m"), ("end", "failed")], 1),
        ("answers_total", [("model", "(other)"), ("end", "failed")], 1),
        ("tokens_total", [("model", "m"), ("kind", "prompt")], 7 + prompt),
        ("tokens_total", [("model", "m"), ("kind", "completion")], 2 + 1),
    ] {
        let found = metrics.value(&format!("omnimind_inference_{name}"), &labels);
        assert_eq!(found, Some(value as f64), "{name} {labels:?}");
    }
    // A kept one was not waited for; of one piece there is no speed.
    for (name, count) in [("queue_seconds", 2.0), ("first_token_seconds", 2.0), ("tokens_per_second", 1.0)] {
        let found = metrics.value(&format!("omnimind_inference_{name}_count"), &[("model", "m")]);
        assert_eq!(found, Some(count), "{name}");
    }
    let names = metrics.families.values().flat_map(|family| &family.samples);
    assert!(!names.into_iter().any(|sample| sample.labels.values().any(|value| value == "nowhere")));
}

#[test]
fn kept_answers_are_let_go_and_may_be_switched_off() {
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    let ollama = Lines::serve(ollama(move |_, _| {
        seen.fetch_add(1, Ordering::Relaxed);
        answer(&["one"])
    }));
    let figures = |server: &Server| {
        let caches = server.get("/api/cache/").json();
        let found =
            caches["caches"].as_array().expect("caches").iter().find(|cache| cache["name"] == "inference");
        found.unwrap_or_else(|| panic!("{caches}")).clone()
    };
    // Tokens of the same twice, and how often the model was asked.
    let twice = |server: &Server| {
        let before = asked.load(Ordering::Relaxed);
        let charged = [(); 2].map(|()| tokens(&summarized(server, "why?")));
        (charged, asked.load(Ordering::Relaxed) - before)
    };
    let server = serve(ollama.url(), &[], &[]);
    assert_eq!(twice(&server), ([9, 0], 1));
    let kept = figures(&server);
    assert_eq!((&kept["enabled"], &kept["entries"], &kept["hits"]), (&json!(true), &json!(1), &json!(1)));
    let cleared = server.delete("/api/cache/inference").json();
    assert_eq!(cleared, json!({"cleared": [{"name": "inference", "removed": 1}]}));
    assert_eq!(twice(&server), ([9, 0], 1), "it was let go");
    for off in [("OMNIMIND_ENABLE_CACHE", "false"), ("OMNIMIND_MODEL__CACHE_SIZE", "0")] {
        let server = serve(ollama.url(), &[], &[off]);
        assert_eq!(twice(&server), ([9, 9], 2), "{off:?}");
        let kept = figures(&server);
        assert_eq!((&kept["enabled"], &kept["entries"]), (&json!(false), &json!(0)), "{off:?}");
    }
}

#[test]
fn texts_are_in_the_log_where_that_is_wanted_and_nowhere_else() {
    let (question, words) = ("question-4711", "answer-4712");
    let ollama = Lines::serve(ollama(move |_, _| answer(&[words])));
    let log_of = |variables: &[(&str, &str)]| {
        let server = serve(ollama.url(), &[], variables);
        let done = summarized(&server, question);
        assert_eq!(done["result_text"], words, "{done}");
        // What comes later in the log says that all of it is there.
        server.get("/the/end");
        eventually(|| {
            Some(server.log.lock().expect("no panic").clone()).filter(|log| log.contains("/the/end"))
        })
    };
    let quiet = log_of(&[("OMNIMIND_LOGGING__LEVEL", "DEBUG")]);
    assert!(quiet.contains("an answer ended"), "it tells of answers: {quiet}");
    for text in [question, words] {
        let line = quiet.lines().find(|line| line.contains(text));
        assert!(line.is_none(), "{line:?}");
    }
    let loud = log_of(&[("OMNIMIND_LOGGING__LEVEL", "INFO"), ("OMNIMIND_MODEL__LOG_TEXTS", "true")]);
    for (what, text) in [("prompt for a language model", question), ("answer of a language model", words)] {
        assert!(loud.lines().any(|line| line.contains(what) && line.contains(text)), "{what}: {loud}");
    }
}
