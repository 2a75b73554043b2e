//! Language models as operators see them: which there are, over HTTP and by the command line, and what becomes of
//! everybody when they are gone.

use std::process::Command;

use omnimind_tests::binary;
use omnimind_tests::lines::{Act, Lines};
use omnimind_tests::server::{Server, eventually};
use serde_json::{Value, json};

use super::inference::{answer, failure, ollama, said, serve, summarized, summary, tokens};

/// What `omnimind model …` comes to with these variables: its exit code, and what it says here and there.
fn omnimind_model(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut omnimind = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        omnimind.env_remove(name);
    }
    omnimind.arg("model").args(arguments).arg("--data-dir").arg(dir.path()).envs(variables.iter().copied());
    let output = omnimind.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn models(server: &Server) -> Value {
    let reply = server.get("/api/models/");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn health(server: &Server) -> Value {
    server.get("/api/v1/health/inference").json()
}

/// Waits until the models of the Ollama have been seen.
fn is_seen(server: &Server) {
    let check = eventually(|| Some(health(server)).filter(|check| check["details"]["models"] == 2));
    assert_eq!((&check["status"], &check["details"]["provider"]), (&json!("healthy"), &json!("ollama")));
}

#[track_caller]
fn assert_gone(check: &Value) {
    let why = check["error"].as_str().unwrap_or_default();
    assert!(check["status"] == "degraded" && why.contains("ollama serve"), "{check}");
    assert!(check["remediation"].as_str().is_some_and(|what| what.contains("model.base_url")), "{check}");
}

#[test]
fn the_models_that_there_are_are_listed_and_shown() {
    let lines = Lines::serve(ollama(|_, body| answer(&[body["model"].as_str().unwrap_or_default()])));
    let url = lines.url().to_owned();
    let fallback = ("OMNIMIND_MODEL__FALLBACK_MODEL", "other:7b");
    let server = serve(&url, &[], &[fallback]);
    let m = json!({
        "name": "m:latest", "size_bytes": 100, "family": "llama", "parameters": "1B", "quantization": "Q4_0",
        "loaded": {"bytes": 300, "vram_bytes": 250, "context": 4096},
        "default": true, "fallback": false, "granted": true,
    });
    let other = json!({
        "name": "other:7b", "size_bytes": 2048, "family": null, "parameters": null, "quantization": null,
        "loaded": null, "default": false, "fallback": true, "granted": true,
    });
    assert_eq!(models(&server), json!({"provider": "ollama", "models": [m, other], "error": null}));
    server.request("GET", "/api/models/").anonymous().send().problem(401, "unauthorized");
    // It is as it says: who says nothing of grants may ask the fallback by its name.
    let done = server.run(&summary(&server.push("summarize"), "why?", json!("other:7b"), Value::Null));
    assert_eq!(done["result_text"], "other:7b", "{done}");
    // In mode prod nobody has what was not granted.
    let prod = models(&serve(&url, &["--mode", "prod"], &[fallback]));
    let granted: Vec<&Value> =
        prod["models"].as_array().expect("models").iter().map(|of| &of["granted"]).collect();
    assert_eq!(granted, [false, false], "{prod}");

    let variables = [("OMNIMIND_MODEL__BASE_URL", &*url), ("OMNIMIND_MODEL__NAME", "m")];
    let model = |arguments: &[&str]| omnimind_model(arguments, &variables);
    let (code, list, told) = model(&["list"]);
    assert!(code == Some(0) && !told.contains("no language models"), "{code:?}: {told}");
    let row = |name: &str| {
        let row = list.lines().find(|row| row.starts_with(name)).unwrap_or_else(|| panic!("{name}: {list}"));
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("m:latest"), "m:latest language 100 B 300 B, 250 B of it on the GPU all");
    assert_eq!(row("other:7b"), "other:7b language 2.0 KiB granted by name");
    assert!(!list.contains("cloud"), "{list}");
    let (code, shown, told) = model(&["show", "m"]);
    assert_eq!(code, Some(0), "{told}");
    let shown: Vec<(&str, &str)> =
        shown.lines().filter_map(|line| line.split_once(' ')).map(|(name, of)| (name, of.trim())).collect();
    for line in
        [("name", "m:latest"), ("parameters", "1B"), ("context", "2048"), ("can", "completion, tools")]
    {
        assert!(shown.contains(&line), "{line:?}: {shown:?}");
    }
    let (code, out, told) = model(&["show", "nothing"]);
    assert_eq!((code, &*out), (Some(8), ""), "{told}");
    assert!(told.contains("there is no model nothing") && told.contains("ollama pull nothing"), "{told}");

    // Gone, it is said why there are none, and who has none is not at fault.
    lines.end();
    let gone = models(&server);
    assert_eq!((&gone["provider"], &gone["models"]), (&json!("ollama"), &json!([])), "{gone}");
    assert!(gone["error"].as_str().is_some_and(|why| why.contains("ollama serve")), "{gone}");
    let (code, list, told) = model(&["list"]);
    assert_eq!((code, list.contains("m:latest")), (Some(0), false), "{list}");
    assert!(told.contains("no language models") && told.contains("ollama serve"), "{told}");
    let (code, out, told) = model(&["show", "m"]);
    assert_eq!((code, &*out), (Some(5), ""), "{told}");
    assert!(told.contains("ollama serve"), "{told}");
}

#[test]
fn there_need_be_no_language_models() {
    let provider = ("OMNIMIND_MODEL__PROVIDER", "none");
    let lines = Lines::serve(ollama(|_, _| answer(&["taken"])));
    let server = serve(lines.url(), &[], &[provider]);
    let none = models(&server);
    assert_eq!((&none["provider"], &none["models"]), (&Value::Null, &json!([])), "{none}");
    assert!(none["error"].as_str().is_some_and(|why| why.contains("model.provider is none")), "{none}");
    let check = health(&server);
    assert_eq!((&check["status"], &check["details"]["provider"]), (&json!("healthy"), &Value::Null));
    // No grant would help.
    for grants in [Value::Null, json!({"inference": ["m"]})] {
        let task = summary(&server.push("summarize"), "why?", Value::Null, grants);
        let problem = server.post("/api/tasks/", &task).problem(503, "capability_unavailable");
        assert!(problem["detail"].as_str().is_some_and(|why| why.contains("model.provider")), "{problem}");
    }
    let (code, _, told) = omnimind_model(&["list"], &[provider]);
    assert!(code == Some(0) && told.contains("model.provider is none"), "{code:?} {told}");
    assert_eq!(omnimind_model(&["show", "m"], &[provider]).0, Some(5));
}

#[test]
fn a_model_server_that_goes_is_told_of_and_a_task_that_waits_for_it_ends_well() {
    let answers = || {
        ollama(|text, _| match text {
            "breaks" => vec![Act::ok(), said("one"), said(" two")],
            _ => answer(&["taken"]),
        })
    };
    let lines = Lines::serve(answers());
    let url = lines.url().to_owned();
    let server = serve(&url, &[], &[]);
    is_seen(&server);
    let cut = summarized(&server, "breaks");
    assert_eq!(failure(&cut).0, "upstream_unavailable", "{cut}");
    let line = &cut["receipt"]["inference"][0];
    assert_eq!(line["completion_tokens"], 2, "{cut}");
    let prompt = line["prompt_tokens"].as_u64().expect("a number");
    assert!(prompt > 0 && tokens(&cut) == prompt + 2, "{cut}");

    lines.end();
    for _ in 0..2 {
        let gone = summarized(&server, "why?");
        let (kind, why) = failure(&gone);
        assert!(kind == "upstream_unavailable" && why.contains("ollama serve"), "{gone}");
        assert_eq!(tokens(&gone), 0, "nobody read anything: {gone}");
    }
    // It was the third time, so nobody has to look first.
    assert_gone(&health(&server));
    let all = server.get("/api/v1/health/");
    assert_eq!((all.status, &all.json()["overall_status"]), (200, &json!("degraded")), "it works without");

    let patient = json!({
        "component": server.push("summarize"), "input": {"text": "why?"},
        "retry": {"max_attempts": 20, "on": ["upstream_unavailable"], "backoff_ms": 100},
    });
    let id = server.submit(&patient);
    server.wait_for(&id, |task| task["attempts"].as_u64() >= Some(2));
    let _lines = Lines::serve_again(&url, answers());
    let done = server.wait_for(&id, |task| task["completed_at"].is_string());
    assert_eq!((&done["result_text"], tokens(&done)), (&json!("taken"), 9), "{done}");
    is_well(&server);
}

/// Waits until it is healthy again.
fn is_well(server: &Server) {
    eventually(|| (health(server)["status"] == "healthy").then_some(()));
    is_seen(server);
}

/// Half a minute: it is looked at every fifteen seconds.
#[test]
fn slow_a_model_server_that_nobody_asks_is_missed_and_found_again() {
    let lines = Lines::serve(ollama(|_, _| answer(&["taken"])));
    let url = lines.url().to_owned();
    let server = serve(&url, &[], &[]);
    is_seen(&server);
    lines.end();
    assert_gone(&eventually(|| Some(health(&server)).filter(|check| check["status"] != "healthy")));
    let _lines = Lines::serve_again(&url, ollama(|_, _| answer(&["taken"])));
    is_well(&server);
}
