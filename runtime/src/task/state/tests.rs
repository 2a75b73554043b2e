//! Every transition of a task, and what its history says of it.

use super::*;
use crate::task::{End, Outcome};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// With so many executions begun and interrupted, in the middle of the last one.
fn running(attempts: u32, interruptions: u32) -> State {
    let mut state = State::submitted(at(0));
    (1..=attempts).for_each(|attempt| state.start(at(attempt.into())));
    state.interruptions = interruptions;
    state
}

fn retry(max_attempts: u32) -> Retry {
    Retry { max_attempts, on: Retry::DEFAULT_ON.to_vec(), backoff_ms: 1000 }
}

fn receipt() -> Receipt {
    Outcome::not_begun(Failure::new(FailureKind::HostError, "no"), 1, "").receipt
}

fn fail(state: &mut State, kind: FailureKind, retry: &Retry, jitter: f64) -> Next {
    let end = End::Failed(Box::new(Failure::new(kind, "no")));
    state.end(at(100), &end, receipt(), retry, jitter)
}

fn events(state: &State) -> Vec<(What, u32)> {
    state.history.iter().map(|line| (line.event, line.attempt)).collect()
}

#[test]
fn an_execution_is_counted_when_it_begins() {
    let mut state = State::submitted(at(0));
    assert_eq!((state.status, state.attempts, state.started), (Status::Pending, 0, None));
    state.due = Some(at(5));
    state.start(at(6));
    state.start(at(7));
    assert_eq!((state.status, state.attempts, state.started), (Status::Running, 2, Some(at(6))));
    assert_eq!(state.due, None);
    assert_eq!(events(&state), [(What::Submitted, 0), (What::Started, 1), (What::Started, 2)]);
}

#[test]
fn only_what_runs_is_paused_and_only_what_is_paused_goes_on() {
    let mut waiting = State::submitted(at(0));
    assert!(!waiting.pause(at(1), true, None) && !waiting.pause(at(1), false, None));
    let mut state = running(1, 0);
    assert!(!state.pause(at(2), false, None));
    assert!(state.pause(at(2), true, Some("cpu")) && !state.pause(at(3), true, None));
    assert_eq!(state.status, Status::Paused);
    assert!(state.pause(at(4), false, None) && !state.pause(at(5), false, None));
    assert_eq!(state.status, Status::Running);
    assert_eq!(events(&state)[2..], [(What::Paused, 1), (What::Resumed, 1)]);
    assert_eq!(state.history[2].detail.as_deref(), Some("cpu"));
}

#[test]
fn whoever_asks_for_the_end_twice_is_noted_once() {
    let mut state = running(1, 0);
    state.ask_to_cancel(at(2));
    state.ask_to_cancel(at(3));
    assert!(state.cancel_asked);
    assert_eq!(events(&state)[2..], [(What::CancelRequested, 1)]);
    assert_eq!(state.cancelled(at(4)), Next::Ended);
    assert_eq!((state.status, state.completed), (Status::Cancelled, Some(at(4))));
}

#[test]
fn an_execution_that_failed_is_tried_again_as_often_as_it_may() {
    let due =
        |second: f64| Next::Again(Timestamp::from_millisecond((100_000.0 + second * 1e3) as i64).unwrap());
    let kind = FailureKind::HostError;
    let mut state = running(1, 0);
    assert_eq!(fail(&mut state, kind, &retry(3), 0.0), due(0.5), "half of the wait is sure");
    assert_eq!((state.status, state.completed), (Status::Pending, None));
    assert_eq!(fail(&mut running(2, 0), kind, &retry(3), 1.0), due(2.0), "and it doubles");
    assert_eq!(fail(&mut running(3, 0), kind, &retry(3), 0.0), Next::Ended);
    // An interrupted execution was no attempt of the task's own.
    assert_eq!(fail(&mut running(4, 2), kind, &retry(3), 1.0), due(2.0));
    assert_eq!(fail(&mut running(1, 0), FailureKind::Trap, &retry(3), 0.0), Next::Ended, "its own doing");
    let mut asked = running(1, 0);
    asked.ask_to_cancel(at(2));
    assert_eq!(fail(&mut asked, kind, &retry(3), 0.0), Next::Ended, "nobody wants it any more");
    assert_eq!((asked.status, asked.due), (Status::Failed, None));
}

#[test]
fn the_machines_need_costs_no_attempt() {
    let mut state = running(1, 0);
    for time in 1..=10_u32 {
        let Next::Again(due) = fail(&mut state, FailureKind::MachineMemory, &retry(1), 1.0) else {
            panic!("{time}: it is tried again")
        };
        let wait = 1000 << (time - 1).min(6);
        assert_eq!(due.as_millisecond(), 100_000 + wait.min(60_000), "{time}");
        assert_eq!(state.attempts, 0);
        state.start(at(200));
    }
}

#[test]
fn a_task_that_a_crash_interrupted_begins_again_until_that_happened_too_often() {
    let now = at(50);
    let mut waiting = State::submitted(at(0));
    assert_eq!((waiting.recover(now, &retry(3)), waiting.interruptions), (Next::Again(now), 0));
    let mut paused = running(1, 0);
    paused.pause(at(2), true, None);
    for (mut state, attempts) in [(running(1, 0), 1), (paused, 1), (running(2, MAX_INTERRUPTIONS - 2), 2)] {
        let before = state.interruptions;
        assert_eq!(state.recover(now, &retry(3)), Next::Again(now));
        assert_eq!((state.status, state.interruptions), (Status::Pending, before + 1));
        assert_eq!(events(&state).last(), Some(&(What::Interrupted, attempts)));
    }
    let mut lost = running(3, MAX_INTERRUPTIONS - 1);
    assert_eq!(lost.recover(now, &retry(3)), Next::Ended);
    assert_eq!((lost.status, lost.completed), (Status::Failed, Some(now)));
    assert_eq!(lost.failure.map(|failure| failure.kind), Some(FailureKind::Lost));
    let mut asked = running(3, MAX_INTERRUPTIONS - 1);
    asked.ask_to_cancel(at(4));
    assert_eq!((asked.recover(now, &retry(3)), asked.status), (Next::Ended, Status::Cancelled));
}

#[test]
fn an_end_of_the_runtime_in_order_counts_for_nothing() {
    let mut state = running(2, 0);
    state.requeue(at(9));
    assert_eq!((state.status, state.attempts), (Status::Pending, 1));
    assert_eq!(events(&state).last(), Some(&(What::Requeued, 1)));
}

#[test]
fn a_long_history_loses_its_middle() {
    let mut state = State::submitted(at(0));
    (1..=MAX_EVENTS as u32 + 9).for_each(|attempt| state.start(at(attempt.into())));
    let attempts: Vec<u32> = state.history.iter().map(|line| line.attempt).collect();
    let half = MAX_EVENTS as u32 / 2;
    let kept: Vec<u32> = (0..half).chain(half + 10..=MAX_EVENTS as u32 + 9).collect();
    assert_eq!(attempts, kept);
}

#[test]
fn a_line_of_the_history_is_read_as_it_was_written() {
    let line =
        Happened { at: at(1_700_000_000), event: What::Failed, attempt: 2, detail: Some("trap".into()) };
    let text = serde_json::to_string(&line).unwrap();
    assert!(text.contains("2023-11-14T22:13:20.000Z"), "{text}");
    assert_eq!(serde_json::from_str::<Happened>(&text).unwrap(), line);
}

#[test]
fn three_statuses_are_final() {
    let last = [Status::Completed, Status::Failed, Status::Cancelled];
    assert!(Status::ALL.into_iter().all(|status| status.is_final() == last.contains(&status)));
}
