//! Texts that guests have embedded: what that costs, what is refused, and that nobody is in anybody's way.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnimind::backend::Backends;
use omnimind::backend::embedding::{Embedder, Settings, folder_of};
use omnimind::cache::Cache;
use omnimind::config::EmbeddingProvider;
use omnimind::executor::Tenant;
use omnimind::task::{End, FailureKind};
use omnimind_tests::server::{Server, eventually};
use omnimind_tests::web::ollama;
use omnimind_tests::{Lab, OutcomeExt, Run, binary, block_on, checkpoint, guest_path};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// Lines of which two pairs are nearly the same.
const LINES: &str = "The cat sat on the red mat.\n\nA dog ran.\nthe cat sat on the red mat\nThe sparrow builds its nest\n  a dog ran";

#[track_caller]
fn told(run: Run, what: &str) {
    let outcome = run.execute();
    let failure = outcome.failure();
    let kind = match what {
        "budget-exhausted" => FailureKind::BudgetExhausted,
        _ => FailureKind::GuestError,
    };
    assert_eq!((failure.kind, &*failure.message), (kind, what));
}

#[test]
fn tokens_are_counted_before_anything_is_computed() {
    let texts = |count| Run::hostile("embed-tokens").units(count).limit("embed_tokens", 100);
    let twin = texts(100).execute();
    twin.output();
    assert_eq!(twin.used("embed_tokens"), 100);
    assert!(twin.used("host_call_bytes") >= 100 * (8 + 4 * 384), "{:?}", twin.receipt);
    told(texts(101), "budget-exhausted");
    told(Run::hostile("embed-tokens").limit("embed_tokens", 1000), "budget-exhausted");
    told(Run::hostile("embed-tokens").units(1).limit("embed_tokens", 0), "budget-exhausted");
}

#[test]
fn no_texts_and_too_many_are_refused_and_the_others_are_not() {
    let many = |count| Run::hostile("embed-many").units(count);
    told(many(0), "refused");
    told(many(10_001), "refused");
    told(many(1_000_000), "refused");
    assert_eq!(many(10_000).execute().used("embed_tokens"), 10_000);
    let endless = Run::hostile("embed-many").limit("host_call_bytes", 64 * MIB).execute();
    assert_eq!(endless.failure().kind, FailureKind::HostcallLimit, "{endless:?}");
}

#[test]
fn vectors_that_the_host_has_no_room_for_are_not_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let io = tokio::runtime::Runtime::new().expect("a runtime");
    let web = ollama("m", 2048, 100, |texts| assert!(texts.len() < 100, "it was asked for them"));
    let settings = Settings {
        provider: EmbeddingProvider::Ollama,
        model: "m".to_owned(),
        base_url: web.url(),
        ..Settings::default()
    };
    let embedding = Arc::new(Embedder::new(settings, Some(io.handle().clone())));
    let lab =
        Lab::with_backends(dir.path().join("artefacts"), 1, Backends { embedding, ..Backends::default() });
    let run = |count| {
        let run = Run::hostile("embed-many").units(count).limit("memory_bytes", 4 * MIB);
        block_on(lab.executor.execute(run.job(&lab).expect("a task")))
    };
    run(10).output();
    assert_eq!(run(4000).failure().message, "budget-exhausted", "64 MB, of 34");
}

#[test]
fn what_computing_vectors_took_is_the_tasks_cpu_time() {
    let Some(folder) = checkpoint::minilm() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { provider: EmbeddingProvider::Local, folder, ..Settings::default() };
    let backends = Backends { embedding: Arc::new(Embedder::new(settings, None)), ..Backends::default() };
    let lab = Lab::with_backends(dir.path().join("artefacts"), 2, backends);
    let run = |count| {
        block_on(lab.executor.execute(Run::hostile("embed-many").units(count).job(&lab).expect("a task")))
    };
    run(1).output();
    let (one, many) = (run(1), run(1000));
    assert_eq!(many.used("embed_tokens"), 3000);
    // 130 billion operations, beside counting the tokens.
    assert!(many.receipt.cpu_ms >= one.receipt.cpu_ms + 20, "{:?} {:?}", one.receipt, many.receipt);
    assert!(many.receipt.cpu_ms <= 3 * many.receipt.wall_ms, "two threads: {:?}", many.receipt);
}

#[test]
fn an_empty_text_and_one_that_is_too_long_are_refused() {
    let long = |bytes| Run::hostile("embed-long").units(bytes);
    told(long(0), "refused");
    assert_eq!(long(100).execute().used("embed_tokens"), 13, "eight letters are a token");
    assert_eq!(long(4096).execute().used("embed_tokens"), 512);
    told(long(4097), "refused");
    told(Run::hostile("embed-long"), "refused");
    let endless = long(200_000_000).limit("memory_bytes", 512 * MIB).execute();
    assert_eq!(endless.failure().kind, FailureKind::HostcallLimit, "{endless:?}");
}

/// What `near-duplicates` found, as pairs of lines.
fn pairs(answer: &Value) -> Vec<(u64, u64)> {
    let number = |pair: &Value, at: usize| pair["lines"][at].as_u64().expect("a number");
    answer["pairs"].as_array().expect("pairs").iter().map(|pair| (number(pair, 0), number(pair, 1))).collect()
}

#[test]
fn near_duplicates_are_found_here_and_over_http() {
    let mut omnimind = Command::new(binary());
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("lines.txt"), LINES).expect("a file");
    omnimind
        .arg("run")
        .arg(guest_path("near-duplicates"))
        .args(["--input", "@lines.txt"])
        .current_dir(dir.path());
    omnimind.env("OMNIMIND_DATA_DIR", dir.path()).env("OMNIMIND_EMBEDDING__PROVIDER", "hashing");
    let output = omnimind.output().expect("it starts");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&answer["model"], &answer["lines"]), (&json!("hashing (lexical)"), &json!(5)));
    assert_eq!(pairs(&answer).len(), 2, "{answer}");
    assert!(pairs(&answer).contains(&(1, 4)) && pairs(&answer).contains(&(3, 6)), "{answer}");

    let server = Server::set_up(&[], |serve| {
        serve.env("OMNIMIND_EMBEDDING__PROVIDER", "hashing");
    });
    let task =
        json!({"component": server.push("near-duplicates"), "input": {"text": LINES, "threshold": 0.8}});
    let done = server.run(&task);
    assert_eq!(pairs(&done["result"]), pairs(&answer), "{done}");
    let used = |done: &Value, budget: &str| done["receipt"]["budgets"][budget]["used"].as_u64();
    assert!(used(&done, "embed_tokens") > Some(20), "{done}");
    assert!(used(&done, "tensor_bytes") >= Some(5 * 384 * 4 * 2), "{done}");
    // Again: nothing is counted that was there.
    let again = server.run(&task);
    assert_eq!((used(&again, "embed_tokens"), pairs(&again["result"])), (Some(0), pairs(&answer)));
    let caches = server.get("/api/cache/").json();
    let ours =
        caches["caches"].as_array().expect("caches").iter().find(|cache| cache["name"] == "embeddings");
    let ours = ours.unwrap_or_else(|| panic!("{caches}"));
    assert_eq!((&ours["entries"], &ours["hits"], &ours["misses"]), (&json!(5), &json!(5), &json!(5)));
    server.delete("/api/cache/embeddings");
    assert_eq!(used(&server.run(&task), "embed_tokens"), used(&done, "embed_tokens"));
    let denied =
        server.post("/api/tasks/", &json!({"component": task["component"], "grants": {"tensor": true}}));
    denied.problem(403, "capability_denied");
}

/// A lab whose tasks embed as `settings` say.
fn lab(dir: &Path, slots: usize, settings: Settings) -> (Lab, Arc<Embedder>) {
    let embedder = Arc::new(Embedder::new(settings, None));
    let backends = Backends { embedding: embedder.clone(), ..Backends::default() };
    (Lab::with_backends(dir.join("artefacts"), slots, backends), embedder)
}

/// A tiny model, computed here.
fn local(dir: &Path) -> Settings {
    checkpoint::write(&dir.join("model"));
    Settings { provider: EmbeddingProvider::Local, folder: dir.join("model"), ..Settings::default() }
}

#[test]
fn vectors_that_are_kept_are_a_tenants_own_and_not_for_ever() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { cache_size: 100, cache_ttl: Duration::from_secs(3600), ..Settings::default() };
    let (lab, embedder) = lab(dir.path(), 2, settings);
    let tokens = |tenant: &str| {
        let mut job = Run::guest("near-duplicates").input(LINES).job(&lab).expect("a task");
        job.tenant = Tenant { name: tenant.into(), share: 100 };
        block_on(lab.executor.execute(job)).used("embed_tokens")
    };
    let all = tokens("a");
    assert!(all > 0);
    assert_eq!([tokens("a"), tokens("b"), tokens("b"), tokens("a")], [0, all, 0, 0]);
    assert_eq!(embedder.cache().clear(), 10);
    assert_eq!(tokens("a"), all);
}

#[test]
fn a_local_model_is_loaded_at_the_first_use_and_lent_to_guests() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lab, embedder) = lab(dir.path(), 2, local(dir.path()));
    block_on(embedder.look());
    let status = embedder.status();
    assert_eq!((status.provider, status.dimensions, status.error), (Some("local"), None, None));
    let job = Run::guest("near-duplicates").input(LINES).job(&lab).expect("a task");
    let outcome = block_on(lab.executor.execute(job));
    let answer: Value = serde_json::from_slice(outcome.output()).expect("JSON");
    assert_eq!((&answer["lines"], embedder.status().dimensions), (&json!(5), Some(checkpoint::DIMENSIONS)));
    // [CLS] and [SEP] are counted: the shortest line has two words.
    assert!(outcome.used("embed_tokens") >= 5 * 4, "{:?}", outcome.receipt);
}

#[test]
fn a_model_that_is_not_there_is_said_and_tried_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("model");
    let settings =
        Settings { provider: EmbeddingProvider::Local, folder: folder.clone(), ..Settings::default() };
    let (lab, embedder) = lab(dir.path(), 1, settings);
    let run = || {
        let job = Run::guest("near-duplicates").input(LINES).job(&lab).expect("a task");
        block_on(lab.executor.execute(job))
    };
    let missing = run();
    assert!(missing.failure().message.contains("omnimind model pull"), "{missing:?}");
    assert!(embedder.status().error.is_some_and(|why| why.contains("omnimind model pull")));
    checkpoint::write(&folder);
    eventually(|| matches!(run().end, End::Completed(_)).then_some(()));
    assert_eq!(embedder.status().error, None);
}

/// Texts of 100 words: work for many seconds.
fn much() -> String {
    (0..9_000).map(|line| format!("{line} {}\n", "cat sat ".repeat(50))).collect()
}

#[test]
fn guests_and_embeddings_share_the_slots() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lab, _) = lab(dir.path(), 1, local(dir.path()));
    let run = Run::guest("near-duplicates").input(much()).limit("embed_tokens", 100_000_000);
    let control = run.control.clone();
    let job = run.job(&lab).expect("a task");
    let few = || Run::guest("near-duplicates").input(LINES).job(&lab).expect("a task");
    let spins = (0..11).map(|_| Run::hostile("spin").units(1000).job(&lab).expect("a task"));
    let mut short: Vec<_> = spins.collect();
    let (next, last) = (few(), short.swap_remove(0));
    block_on(async {
        let embedding = lab.executor.execute(job);
        let others = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            for job in short {
                let next = lab.executor.execute(job);
                tokio::time::timeout(Duration::from_secs(10), next).await.expect("its turn").output();
            }
            control.cancel(Duration::ZERO);
        };
        let (outcome, ()) = tokio::join!(embedding, others);
        assert_eq!(outcome.end, End::Cancelled);
        // Nobody waits for its vectors: the only slot is free, and so is the next batch.
        tokio::time::timeout(Duration::from_secs(10), lab.executor.execute(last))
            .await
            .expect("a slot")
            .output();
        tokio::time::timeout(Duration::from_secs(10), lab.executor.execute(next))
            .await
            .expect("a batch")
            .output();
    });
    // Another that computes all the time does not keep embeddings from their turn.
    let spin = Run::hostile("spin");
    let control = spin.control.clone();
    let (spin, next) = (spin.job(&lab).expect("a task"), few());
    block_on(async {
        let others = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            tokio::time::timeout(Duration::from_secs(20), lab.executor.execute(next))
                .await
                .expect("its turn")
                .output();
            control.cancel(Duration::ZERO);
        };
        tokio::join!(lab.executor.execute(spin), others);
    });
}

#[test]
fn a_deadline_ends_a_long_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let (lab, _) = lab(dir.path(), 2, local(dir.path()));
    let run = Run::guest("near-duplicates").input(much()).limit("embed_tokens", 100_000_000);
    let outcome = block_on(lab.executor.execute(run.limit("wall_ms", 200).job(&lab).expect("a task")));
    omnimind_tests::assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
    assert_eq!(outcome.used("embed_tokens"), 0, "nothing came back");
}

/// A server with these variables, and the check `embedding` once it says what it is.
fn serve(variables: &[(&str, &str)]) -> (Server, Value) {
    let server = Server::set_up(&[], |serve| {
        serve.envs(variables.iter().map(|(name, value)| (format!("OMNIMIND_{name}"), value)));
    });
    let check = eventually(|| {
        let check = server.get("/api/v1/health/embedding").json();
        check["details"]["provider"].is_string().then_some(check)
    });
    (server, check)
}

fn duplicates(server: &Server) -> Value {
    server.run(&json!({"component": server.push("near-duplicates"), "input": {"text": LINES}}))
}

#[test]
fn auto_takes_what_is_there() {
    // The files.
    let dir = tempfile::tempdir().expect("a directory");
    checkpoint::write(dir.path());
    let path = dir.path().to_str().expect("UTF-8");
    let nobody = ("MODEL__BASE_URL", "http://127.0.0.1:1");
    let (server, check) = serve(&[("EMBEDDING__PATH", path), nobody]);
    assert_eq!((&check["status"], &check["details"]["provider"]), (&json!("healthy"), &json!("local")));
    assert_eq!(check["details"]["loaded"], false);
    assert_eq!(duplicates(&server)["result"]["model"], "sentence-transformers/all-MiniLM-L6-v2");
    let check = server.get("/api/v1/health/embedding").json();
    assert_eq!((&check["details"]["loaded"], &check["details"]["dimensions"]), (&json!(true), &json!(24)));
    assert!(server.log.lock().expect("no panic").contains("the model is in memory"), "its memory is told");

    // Ollama, which has another name for it.
    let batches = Arc::new(Mutex::new(Vec::new()));
    let seen = batches.clone();
    let web = ollama("all-minilm", 48, 100, move |texts| seen.lock().expect("no panic").push(texts.len()));
    let url = web.url();
    let (server, check) = serve(&[("MODEL__BASE_URL", &url)]);
    assert_eq!((&check["status"], &check["details"]["provider"]), (&json!("healthy"), &json!("ollama")));
    let done = duplicates(&server);
    assert_eq!(done["result"]["model"], "all-minilm", "{done}");
    // It counted the words.
    assert_eq!(
        done["receipt"]["budgets"]["embed_tokens"]["used"].as_u64().map(|used| used / 8),
        Some(3),
        "{done}"
    );
    assert_eq!(*batches.lock().expect("no panic"), [5]);

    // Nothing.
    let (server, check) = serve(&[nobody]);
    assert_eq!((&check["status"], &check["details"]["provider"]), (&json!("healthy"), &json!("hashing")));
    assert_eq!(duplicates(&server)["result"]["model"], check["details"]["model"]);
}

#[test]
fn what_is_configured_and_not_there_is_degraded_and_not_replaced() {
    for (variables, says) in [
        (
            vec![("EMBEDDING__PROVIDER", "local"), ("EMBEDDING__MODEL", "me/mine")],
            "omnimind model pull me/mine",
        ),
        (vec![("EMBEDDING__PROVIDER", "ollama"), ("MODEL__BASE_URL", "http://127.0.0.1:1")], "ollama serve"),
    ] {
        let (server, check) = serve(&variables);
        assert_eq!(check["status"], "degraded", "{check}");
        assert!(check["error"].as_str().expect("why").contains(says), "{check}");
        let done = duplicates(&server);
        assert!(done["failure"]["message"].as_str().expect("why").contains(says), "{done}");
        assert_eq!(server.get("/api/v1/health/").status, 200);
    }
}

#[test]
fn an_ollama_that_answers_and_makes_no_vectors_shows_in_health() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let web = ollama("all-minilm", 8, 100, move |_| {
        assert!(!is_broken.load(Ordering::Relaxed), "an accident, as it was told to");
    });
    let (server, check) = serve(&[("EMBEDDING__PROVIDER", "ollama"), ("MODEL__BASE_URL", &web.url())]);
    assert_eq!(check["status"], "healthy", "{check}");
    let health = || server.get("/api/v1/health/embedding").json();
    let failed = duplicates(&server);
    assert!(failed["failure"]["message"].to_string().contains("does not answer"), "{failed}");
    let check = health();
    assert!(check["status"] == "degraded" && check["error"].to_string().contains("not answer"), "{check}");
    broken.store(false, Ordering::Relaxed);
    assert!(duplicates(&server)["failure"].is_null());
    assert_eq!(health()["status"], "healthy");
}

#[test]
fn what_ollama_computed_is_charged_though_it_refused_another_text() {
    let web = ollama("all-minilm", 8, 5, |_| {});
    let (server, _) = serve(&[("EMBEDDING__PROVIDER", "ollama"), ("MODEL__BASE_URL", &web.url())]);
    let text = "one two three four\none two three\none two three four five six\n";
    let done = server.run(&json!({"component": server.push("near-duplicates"), "input": {"text": text}}));
    assert!(done["failure"]["message"].as_str().expect("why").contains("more tokens than the 5"), "{done}");
    assert_eq!(done["receipt"]["budgets"]["embed_tokens"]["used"], 7, "{done}");
}

#[test]
fn models_that_were_pulled_are_found_by_their_name() {
    let server = Server::set_up(&[], |serve| {
        let data = serve.get_args().last().expect("the data directory").to_owned();
        checkpoint::write(&folder_of(Path::new(&data), "me/mine"));
        serve.env("OMNIMIND_EMBEDDING__MODEL", "me/mine");
    });
    let done = duplicates(&server);
    assert_eq!(done["result"]["model"], "me/mine", "{done}");
}

#[test]
fn batches_and_the_cache_are_as_the_configuration_says() {
    let most_of = |variables: &[(&str, &str)]| {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = batches.clone();
        let web = ollama("m", 8, 100, move |texts| seen.lock().expect("no panic").push(texts.len()));
        let url = web.url();
        let mut all =
            vec![("EMBEDDING__PROVIDER", "ollama"), ("EMBEDDING__MODEL", "m"), ("MODEL__BASE_URL", &url)];
        all.extend(variables);
        let (server, _) = serve(&all);
        assert_eq!(duplicates(&server)["status"], "completed");
        (batches.lock().expect("no panic").clone(), server, web)
    };
    assert_eq!(most_of(&[("EMBEDDING__BATCH_SIZE", "3")]).0, [3, 2]);
    assert_eq!(most_of(&[("BATCH_LIMITS__EMBEDDINGS", "2")]).0, [2, 2, 1]);
    let (batches, ..) = most_of(&[("BATCH_LIMITS__EMBEDDINGS", "auto"), ("EMBEDDING__BATCH_SIZE", "4")]);
    assert_eq!(batches, [4, 1]);

    let again = |server: &Server| duplicates(server)["receipt"]["budgets"]["embed_tokens"]["used"].as_u64();
    let (_, server, _web) = most_of(&[("EMBEDDING__CACHE__MAX_SIZE", "2")]);
    let caches = server.get("/api/cache/").json();
    let ours =
        caches["caches"].as_array().expect("caches").iter().find(|cache| cache["name"] == "embeddings");
    assert_eq!(ours.map(|cache| (&cache["capacity"], &cache["entries"])), Some((&json!(2), &json!(2))));
    let (_, server, _web) = most_of(&[]);
    assert_eq!(again(&server), Some(0));
    let (_, server, _web) = most_of(&[("EMBEDDING__CACHE__TTL", "1")]);
    std::thread::sleep(Duration::from_millis(1100));
    assert!(again(&server) > Some(0), "too old");
    let (_, server, _web) = most_of(&[("ENABLE_CACHE", "false")]);
    assert!(again(&server) > Some(0), "switched off");
}
