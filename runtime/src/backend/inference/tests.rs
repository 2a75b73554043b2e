//! What becomes of an answer, whatever a model does: what the guest gets, and what that costs.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::cache::Cache as _;
use crate::limits::{Budget, Ledger, Mode, Requested};
use crate::task::Priority;
use std::sync::Arc;

fn ledger(tokens: u64) -> Arc<Ledger> {
    let mut requested = Requested::default();
    requested.ask("llm_tokens", tokens).unwrap();
    Arc::new(Ledger::new(requested.effective(Mode::Dev).unwrap()))
}

fn caller(ledger: &Arc<Ledger>) -> Caller {
    Caller { tenant: "t".into(), priority: Priority::Medium, ledger: ledger.clone(), models: Arc::default() }
}

/// Forty bytes of prompt: ten tokens, about.
fn wanted(model: &str) -> Wanted {
    Wanted {
        model: Some(model.to_owned()),
        prompt: Prompt::Text("x".repeat(40)),
        sampling: Sampling::default(),
        schema: None,
        max_tokens: None,
    }
}

fn text(text: &str) -> Step {
    Step::Give(Piece::Text(text.to_owned()))
}

fn end(is_cut: bool, prompt: u64, completion: u64) -> Step {
    Step::Give(Piece::End(Ending {
        is_cut,
        prompt_tokens: Some(prompt),
        completion_tokens: Some(completion),
    }))
}

fn service(
    settings: Settings,
    models: &[&str],
    script: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
) -> Arc<Inference> {
    let backend = Arc::new(Scripted::new(models, script));
    Arc::new(Inference::new(settings, backend, tokio::runtime::Handle::current()))
}

fn gone() -> Error {
    Error::Unavailable("gone".to_owned())
}

#[tokio::test]
async fn what_was_read_and_written_is_charged_and_nothing_else() {
    let service = service(Settings::default(), &["m"], |_| vec![text("a"), text("b"), end(false, 12, 3)]);
    let ledger = ledger(1000);
    let made = service.complete(wanted("m"), caller(&ledger)).await.unwrap();
    assert_eq!((&*made.text, made.finish, &*made.model), ("ab", Finish::Stop, "m"));
    assert_eq!((made.prompt_tokens, made.completion_tokens, made.cached), (12, 3, false));
    assert_eq!(ledger.used(Budget::LlmTokens), 15);
}

#[tokio::test]
async fn an_answer_ends_where_the_budget_does_and_says_so() {
    let most: Arc<AtomicUsize> = Arc::default();
    let seen = most.clone();
    let service = service(Settings::default(), &["m"], move |request| {
        seen.store(request.max_tokens as usize, Ordering::Relaxed);
        vec![text("so far"), end(true, 10, request.max_tokens)]
    });
    let few = ledger(30);
    let made = service.complete(wanted("m"), caller(&few)).await.unwrap();
    assert_eq!((&*made.text, made.finish, most.load(Ordering::Relaxed)), ("so far", Finish::Budget, 20));
    assert_eq!(few.remaining(Budget::LlmTokens), 0);
    let refused = service.complete(wanted("m"), caller(&few)).await.unwrap_err();
    assert!(matches!(refused, Error::Exhausted(exhausted) if exhausted.budget == Budget::LlmTokens));
    // Just enough is not the budget's end.
    let short = Wanted { max_tokens: Some(20), ..wanted("m") };
    let made = service.complete(short, caller(&ledger(30))).await.unwrap();
    assert_eq!(made.finish, Finish::Length);
    // Not even the prompt fits.
    assert!(service.begin(wanted("m"), caller(&ledger(10))).is_err());
}

#[tokio::test]
async fn an_answer_that_fails_or_is_not_wanted_any_more_costs_what_there_was_of_it() {
    let late = || Error::TimedOut("late".to_owned());
    let models = ["fails", "hangs", "thinks", "takes long", "keeps back"];
    let service = service(Settings::default(), &models, move |request| match &*request.model {
        "fails" => vec![text("a"), text("b"), Step::Fail(gone())],
        "thinks" => vec![Step::Give(Piece::Silent), Step::Give(Piece::Silent), Step::Fail(gone())],
        "takes long" => vec![Step::Fail(late())],
        "keeps back" => vec![text(&"a".repeat(40)), Step::Fail(gone())],
        _ => vec![text("a"), Step::Wait(Duration::from_secs(3600))],
    });
    let ledger = ledger(1000);
    assert_eq!(service.complete(wanted("fails"), caller(&ledger)).await, Err(gone()));
    assert_eq!(ledger.used(Budget::LlmTokens), 12, "ten of the prompt, about, and two pieces");
    let mut stream = service.begin(wanted("hangs"), caller(&ledger)).unwrap();
    assert_eq!(ledger.used(Budget::LlmTokens), 1000, "set aside");
    assert_eq!(stream.next().await, Ok(Some("a".to_owned())));
    assert!(stream.ended().is_none());
    stream.cancel();
    assert_eq!(ledger.used(Budget::LlmTokens), 23);
    assert_eq!(stream.next().await, Ok(None));
    let ended = stream.ended().unwrap().unwrap();
    assert_eq!((&*ended.text, ended.finish, ended.completion_tokens), ("a", Finish::Cancelled, 1));
    // Dropped, it is the same.
    let mut stream = service.begin(wanted("hangs"), caller(&ledger)).unwrap();
    stream.next().await.unwrap();
    drop(stream);
    assert_eq!(ledger.used(Budget::LlmTokens), 34);
    // What no model was asked costs nothing.
    let missing = service.complete(wanted("missing"), caller(&ledger)).await;
    assert_eq!((missing, ledger.used(Budget::LlmTokens)), (Err(Error::NoModel("missing".to_owned())), 34));
    // What nobody sees was written all the same; a model that may keep something back sends several tokens at once.
    let mut keeps_back = wanted("keeps back");
    keeps_back.sampling.stop = vec!["b".to_owned(), "c".repeat(8)];
    for (wanted, failure, cost) in [
        (wanted("thinks"), gone(), 10 + 2),
        (wanted("takes long"), late(), 10),
        (wanted("keeps back"), gone(), 10 + 1),
        (keeps_back, gone(), 10 + 10 + 2),
    ] {
        let (before, model) = (ledger.used(Budget::LlmTokens), wanted.model.clone());
        assert_eq!(service.complete(wanted, caller(&ledger)).await, Err(failure));
        assert_eq!(ledger.used(Budget::LlmTokens) - before, cost, "{model:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_and_one_that_fails_is_left_alone() {
    let asked: Arc<AtomicUsize> = Arc::default();
    let seen = asked.clone();
    let service = service(Settings::default(), &["busy", "gone"], move |request| {
        let before = seen.fetch_add(1, Ordering::Relaxed);
        match &*request.model {
            "busy" if before < 3 => vec![Step::Fail(Error::Busy("busy".to_owned()))],
            "busy" => vec![text("a"), end(false, 1, 1)],
            _ => vec![Step::Fail(gone())],
        }
    });
    let ledger = ledger(1000);
    assert_eq!(service.complete(wanted("busy"), caller(&ledger)).await.unwrap().text, "a");
    assert_eq!((asked.swap(0, Ordering::Relaxed), ledger.used(Budget::LlmTokens)), (4, 2));
    for _ in 0..10 {
        assert_eq!(service.complete(wanted("gone"), caller(&ledger)).await, Err(gone()));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "the others were not even asked");
    assert_eq!(ledger.used(Budget::LlmTokens), 2);
}

#[tokio::test]
async fn another_model_is_asked_where_the_first_is_missing_or_fails() {
    let settings = || Settings { fallback: Some("other".to_owned()), ..Settings::default() };
    let service = service(settings(), &["fails", "other", "refuses"], |request| match &*request.model {
        "fails" => vec![Step::Fail(gone())],
        "refuses" => vec![Step::Fail(Error::Invalid("too long".to_owned()))],
        _ => vec![text("a"), end(false, 1, 1)],
    });
    let ledger = ledger(1000);
    for model in ["missing", "fails"] {
        let made = service.complete(wanted(model), caller(&ledger)).await.unwrap();
        assert_eq!((&*made.model, &*made.text), ("other", "a"));
    }
    let refused = service.complete(wanted("refuses"), caller(&ledger)).await;
    assert_eq!(refused, Err(Error::Invalid("too long".to_owned())), "no model takes that");
}

#[tokio::test]
async fn what_would_be_the_same_again_is_made_once() {
    let made: Arc<AtomicUsize> = Arc::default();
    let seen = made.clone();
    let settings = Settings { kept: 10, ..Settings::default() };
    let service = service(settings, &["m"], move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        vec![Step::Wait(Duration::from_millis(50)), text("a"), end(false, 10, 1)]
    });
    let seeded =
        |seed| Wanted { sampling: Sampling { seed: Some(seed), ..Sampling::default() }, ..wanted("m") };
    let (first, second) = (ledger(1000), ledger(1000));
    let [of_first, of_second] = [&first, &second].map(|ledger| service.complete(seeded(1), caller(ledger)));
    let (of_first, of_second) = tokio::join!(of_first, of_second);
    assert_eq!(made.load(Ordering::Relaxed), 1, "who asks for the same meanwhile waits for it");
    assert_eq!((of_first.unwrap().cached, of_second.unwrap().cached), (false, true));
    assert_eq!((first.used(Budget::LlmTokens), second.used(Budget::LlmTokens)), (11, 0));
    service.complete(seeded(2), caller(&first)).await.unwrap();
    let other = Caller { tenant: "other".into(), ..caller(&first) };
    assert!(!service.complete(seeded(1), other).await.unwrap().cached, "a tenant's own");
    for _ in 0..2 {
        assert!(!service.complete(wanted("m"), caller(&first)).await.unwrap().cached, "never the same");
    }
    assert_eq!(made.load(Ordering::Relaxed), 5);
    service.cache().clear();
    assert!(!service.complete(seeded(1), caller(&first)).await.unwrap().cached);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_its_schema_is_repaired_once() {
    let service = service(Settings::default(), &["learns", "never"], |request| {
        let told = matches!(&request.prompt, Prompt::Messages(messages) if messages.len() == 3
            && messages[1].content == "{}" && messages[2].content.contains("name"));
        let answer = if told && request.model == "learns" { "{\"name\": \"a\"}" } else { "{}" };
        vec![text(answer), end(false, 10, 5)]
    });
    let ledger = ledger(1000);
    let of = |model| Wanted { schema: Some(json!({"required": ["name"]}).to_string()), ..wanted(model) };
    let made = service.complete(of("learns"), caller(&ledger)).await.unwrap();
    assert_eq!((&*made.text, made.prompt_tokens, made.completion_tokens), ("{\"name\": \"a\"}", 20, 10));
    assert_eq!(ledger.used(Budget::LlmTokens), 30, "both turns");
    let never = service.complete(of("never"), caller(&ledger)).await.unwrap_err();
    assert!(matches!(&never, Error::Misfit(why) if why.contains("name")), "{never:?}");
    let wrong = Wanted { schema: Some(json!({"type": 7}).to_string()), ..wanted("learns") };
    let used = ledger.used(Budget::LlmTokens);
    assert!(matches!(service.complete(wrong, caller(&ledger)).await, Err(Error::Invalid(_))));
    assert_eq!(ledger.used(Budget::LlmTokens), used, "nobody was asked");
}

#[tokio::test]
async fn a_prompt_that_no_context_takes_is_not_sent() {
    let settings = Settings { context: 256, ..Settings::default() };
    let service = service(settings, &["m"], |_| vec![text("a"), end(false, 1, 1)]);
    let long = |bytes: usize| Wanted { prompt: Prompt::Text("x".repeat(bytes)), ..wanted("m") };
    let ledger = ledger(100_000);
    assert!(service.complete(long(256 * 32), caller(&ledger)).await.is_ok());
    assert!(matches!(service.complete(long(256 * 32 + 1), caller(&ledger)).await, Err(Error::Invalid(_))));
}
