//! Every limit from both sides: a guest that takes one unit too much, and its twin at the limit.
//!
//! Most hostile guests take the number of units to consume as their input, so that attack and twin are
//! the same code. When the enforcing line of a limit is removed, its test here fails.

use omnimind::limits::{Budget, Mode, Requested};
use omnimind::task::FailureKind;
use omnimind_tests::{OutcomeExt, Run, assert_stopped};

const PAGE: u64 = 64 << 10;
const MIB: u64 = 1 << 20;

#[test]
fn fuel_ends_a_loop() {
    let twin = Run::hostile("spin").units(100_000).execute();
    assert_eq!(twin.output(), b"100000");
    let needed = twin.used("fuel");

    let exact = Run::hostile("spin").units(100_000).limit("fuel", needed).execute();
    assert_eq!(exact.output(), b"100000");
    // Fuel is looked at where loops and functions begin, not at every operation.
    let over = Run::hostile("spin").units(100_000).limit("fuel", needed - 100).execute();
    assert_stopped(&over, FailureKind::FuelExhausted, "fuel");
    assert_eq!(over.used("fuel"), needed - 100, "all of it was used");
}

#[test]
fn fuel_ends_every_kind_of_loop() {
    for guest in [
        "spin-memory",
        "spin-tail-call",
        "spin-indirect",
        "bulk-fill",
        "grow-spam",
        "start-loop",
        "post-return-loop",
    ] {
        let outcome = Run::hostile(guest).limit("fuel", 50_000_000).limit("wall_ms", 60_000).execute();
        assert_stopped(&outcome, FailureKind::FuelExhausted, "fuel");
    }
}

#[test]
fn fuel_is_charged_for_host_calls() {
    let ten = Run::hostile("host-calls").units(10).execute();
    let twenty = Run::hostile("host-calls").units(20).execute();
    assert!(twenty.used("fuel") - ten.used("fuel") >= 10 * Budget::HOST_CALL_FUEL);
}

#[test]
fn fuel_is_charged_for_growing_a_memory() {
    let little = Run::hostile("grow-once").units(10).execute();
    let much = Run::hostile("grow-once").units(1000).execute();
    assert!(much.used("fuel") - little.used("fuel") >= 990 * 64, "64 for each page");
}

#[test]
fn wall_ms_ends_a_loop_that_computes() {
    for guest in [
        "spin",
        "spin-memory",
        "spin-tail-call",
        "spin-indirect",
        "start-loop",
        "realloc-loop",
        "post-return-loop",
    ] {
        let outcome = Run::hostile(guest).limit("wall_ms", 200).execute();
        assert_stopped(&outcome, FailureKind::DeadlineExceeded, "wall_ms");
        assert!(outcome.failure().used >= Some(200), "{:?}", outcome.failure());
        assert!(outcome.used("fuel") > 1_000_000, "{guest} was running until then");
    }
}

#[test]
fn wall_ms_ends_a_guest_that_sleeps_in_a_host_call() {
    let twin = Run::hostile("sleep").units(50).limit("wall_ms", 20_000).execute();
    assert_eq!(twin.output(), b"50");
    assert!(twin.receipt.wall_ms >= 50);

    for (guest, units) in [("sleep", 3_600_000), ("sleep-chain", 3_600_000), ("poll-many", 100)] {
        let over = Run::hostile(guest).units(units).limit("wall_ms", 200).execute();
        assert_stopped(&over, FailureKind::DeadlineExceeded, "wall_ms");
        assert!(over.receipt.wall_ms < 5_000, "{guest} slept on: {} ms", over.receipt.wall_ms);
    }
}

#[test]
fn memory_bytes_is_met_to_the_page() {
    for guest in ["grow", "grow-once", "grow-touch"] {
        let limit = 100 * PAGE;
        let twin = Run::hostile(guest).units(100).limit("memory_bytes", limit).execute();
        assert_eq!(twin.used("memory_bytes"), limit, "{guest}");
        let over = Run::hostile(guest).units(101).limit("memory_bytes", limit).execute();
        assert_stopped(&over, FailureKind::MemoryLimit, "memory_bytes");
        assert_eq!(over.failure().asked, Some(101 * PAGE));
        assert!(over.used("memory_bytes") <= limit);
    }
}

#[test]
fn memory_bytes_counts_the_sum_of_all_memories() {
    let limit = 120 * PAGE;
    let twin = Run::hostile("memories").units(120).limit("memory_bytes", limit).execute();
    assert_eq!(twin.used("memory_bytes"), limit);
    assert!(twin.used("memories") >= 12);
    let over = Run::hostile("memories").units(121).limit("memory_bytes", limit).execute();
    assert_stopped(&over, FailureKind::MemoryLimit, "memory_bytes");
    assert!(over.used("memory_bytes") <= limit);
}

#[test]
fn memory_bytes_counts_what_a_memory_begins_with() {
    let over = Run::hostile("memory-minimum").limit("memory_bytes", 64 * MIB).execute();
    assert_stopped(&over, FailureKind::MemoryLimit, "memory_bytes");
}

#[test]
fn memory_bytes_refuses_and_the_guest_may_go_on() {
    let outcome = Run::hostile("grow-patient").units(200).limit("memory_bytes", 100 * PAGE).execute();
    let text = String::from_utf8_lossy(outcome.output()).into_owned();
    assert!(text.contains("refused at"), "{text}");
}

#[test]
fn memory_bytes_is_not_blamed_for_a_later_trap() {
    let outcome = Run::hostile("abort-after-refusal").limit("memory_bytes", 100 * PAGE).execute();
    assert_eq!(outcome.failure().kind, FailureKind::Trap);
    assert_eq!(outcome.failure().trap.as_deref(), Some("unreachable"));
}

#[test]
fn memory_hint_names_the_limit_that_would_do() {
    let over = Run::hostile("grow-once")
        .units(272 * MIB / PAGE)
        .mode(Mode::Test)
        .limit("memory_bytes", 256 * MIB)
        .execute();
    assert_eq!(
        over.failure().hint.as_deref(),
        Some(
            "asked for 272 MiB, limit 256 MiB, maximum in mode test 2 GiB: set limits.memory_bytes to 285212672"
        )
    );
    let raised =
        Run::hostile("grow-once").units(272 * MIB / PAGE).limit("memory_bytes", 285_212_672).execute();
    raised.output();
}

#[test]
fn memories_are_counted() {
    let count = Run::hostile("memory-count").execute().used("memories");
    Run::hostile("memory-count").limit("memories", count).execute().output();
    let over = Run::hostile("memory-count").limit("memories", count - 1).execute();
    assert_stopped(&over, FailureKind::MemoryLimit, "memories");
    assert_eq!(over.failure().asked, Some(count));
}

#[test]
fn table_elements_are_met_exactly() {
    let base = Run::hostile("table-grow").units(1).execute().used("table_elements");
    for units in [1_000, 5_000] {
        let limit = base - 1 + units;
        Run::hostile("table-grow").units(units).limit("table_elements", limit).execute().output();
        let over = Run::hostile("table-grow").units(units).limit("table_elements", limit - 1).execute();
        assert_stopped(&over, FailureKind::TableLimit, "table_elements");
    }
}

#[test]
fn table_elements_counts_what_a_table_begins_with() {
    let over = Run::hostile("table-minimum").execute();
    assert_stopped(&over, FailureKind::TableLimit, "table_elements");
    assert!(over.failure().asked >= Some(10_000_000));
}

#[test]
fn table_elements_counts_the_sum_of_all_tables() {
    let guest: std::sync::Arc<[u8]> = wat::parse_str(
        r#"(component
          (core module $m
            (memory (export "memory") 1)
            (table 600 funcref) (table 600 funcref)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func (export "run") (param i32 i32) (result i32) i32.const 16))
          (core instance $i (instantiate $m))
          (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
            (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc")))))"#,
    )
    .expect("text")
    .into();
    let twin = Run::bytes(guest.clone()).limit("table_elements", 1200).execute();
    twin.output();
    assert_eq!(twin.used("table_elements"), 1200);
    let over = Run::bytes(guest).limit("table_elements", 1199).execute();
    assert_stopped(&over, FailureKind::TableLimit, "table_elements");
    assert_eq!(over.failure().asked, Some(1200));
}

#[test]
fn tables_are_counted() {
    let count = Run::hostile("table-count").execute().used("tables");
    Run::hostile("table-count").limit("tables", count).execute().output();
    let over = Run::hostile("table-count").limit("tables", count - 1).execute();
    assert_stopped(&over, FailureKind::TableLimit, "tables");
    assert_eq!(over.failure().asked, Some(count));
}

#[test]
fn instances_are_counted() {
    let count = Run::hostile("instance-count").execute().used("instances");
    Run::hostile("instance-count").limit("instances", count).execute().output();
    let over = Run::hostile("instance-count").limit("instances", count - 1).execute();
    assert_stopped(&over, FailureKind::InstanceLimit, "instances");
    assert_eq!((over.failure().asked, over.failure().used), (Some(count), Some(count)));
}

#[test]
fn instances_by_default_are_a_hundred() {
    let bomb = |instances| Run::bytes(omnimind_tests::bombs::many_instances(instances).into());
    assert_eq!(bomb(100).input("x").execute().used("instances"), 100);
    assert_stopped(&bomb(101).execute(), FailureKind::InstanceLimit, "instances");
}

#[test]
fn stack_bytes_ends_a_recursion() {
    for guest in ["recurse", "recurse-fat", "recurse-mutual"] {
        Run::hostile(guest).units(50).execute().output();
        let over = Run::hostile(guest).units(10_000_000).execute();
        assert_stopped(&over, FailureKind::StackOverflow, "stack_bytes");
    }
}

#[test]
fn stack_bytes_is_half_a_mebibyte() {
    // 10 915 and 486 calls fit; in twice the stack the larger number would.
    for (guest, fits, over) in [("recurse", 8_000, 16_000), ("recurse-fat", 350, 700)] {
        Run::hostile(guest).units(fits).execute().output();
        let over = Run::hostile(guest).units(over).execute();
        assert_stopped(&over, FailureKind::StackOverflow, "stack_bytes");
    }
}

#[test]
fn stack_bytes_is_fixed() {
    for asked in [0, 1 << 10, (512 << 10) - 1, (512 << 10) + 1, u64::MAX] {
        let mut requested = Requested::default();
        requested.ask("stack_bytes", asked).expect("a limit of that name");
        let error = requested.effective(Mode::Dev).expect_err("another stack than the engine's");
        assert!(error.to_string().contains("stack_bytes"), "{error}");
    }
}

#[test]
fn input_bytes_is_refused_before_anything_runs() {
    let lab = omnimind_tests::Lab::shared();
    let prepared = lab.prepare(omnimind_tests::guest("hostile/echo")).expect("a component");
    let mut requested = Requested::default();
    requested.ask("input_bytes", 1000).expect("a limit of that name");
    let limits = requested.effective(Mode::Dev).expect("limits");
    let job = |size: usize| {
        let journal = std::sync::Arc::new(omnimind::task::MemoryJournal::default());
        omnimind::executor::Job::new(
            omnimind::task::TaskId::generate(),
            prepared.clone(),
            vec![b'x'; size].into(),
            limits,
            journal,
        )
    };
    assert!(job(1000).is_ok());
    let error = job(1001).err().expect("one byte too much");
    assert!(error.to_string().contains("limits.input_bytes is 1000"), "{error}");
}

#[test]
fn output_bytes_is_met_to_the_byte() {
    // Below and above the 64 KiB that may come beside the output: two enforcing lines.
    for limit in [1000, 10 * MIB] {
        let twin = Run::hostile("output").units(limit).limit("output_bytes", limit).execute();
        assert_eq!(twin.output().len() as u64, limit);
        for units in [limit + 1, limit + 100_000, 64 * MIB] {
            let over = Run::hostile("output").units(units).limit("output_bytes", limit).execute();
            assert_stopped(&over, FailureKind::OutputLimit, "output_bytes");
        }
    }
}

#[test]
fn output_bytes_bounds_a_command() {
    let whole = 20 * MIB;
    let twin = Run::hostile("command-stdout").limit("output_bytes", whole).execute();
    assert_eq!(twin.output().len() as u64, whole);
    let over = Run::hostile("command-stdout").limit("output_bytes", whole - 1).execute();
    assert_stopped(&over, FailureKind::OutputLimit, "output_bytes");
}

#[test]
fn output_bytes_bounds_an_error_text() {
    let twin = Run::hostile("error-text").units(1000).execute();
    assert_eq!(twin.failure().kind, FailureKind::GuestError);
    assert_eq!(twin.failure().message.len(), 1000);
    let long = Run::hostile("error-text").units(MIB).execute();
    assert_eq!(long.failure().kind, FailureKind::GuestError);
    assert!(long.failure().message.len() < 5000, "cut to 4 KiB");
    let over = Run::hostile("error-text").units(MIB).limit("output_bytes", 1000).execute();
    assert_stopped(&over, FailureKind::OutputLimit, "output_bytes");
}

#[test]
fn log_bytes_keeps_head_and_tail() {
    let twin = Run::hostile("log").units(8192).limit("log_bytes", 8192).execute();
    assert_eq!(twin.log.dropped, 0);
    assert_eq!(twin.log.head.len() + twin.log.tail.len(), 8192);
    for guest in ["log", "log-unchecked"] {
        let over = Run::hostile(guest).units(MIB).limit("log_bytes", 8192).execute();
        over.output();
        assert_eq!((over.log.head.len(), over.log.tail.len()), (4096, 4096), "{guest}");
        assert_eq!(over.log.dropped, MIB - 8192, "{guest}");
        assert_eq!(over.used("log_bytes"), 8192);
    }
}

#[test]
fn host_call_bytes_counts_what_guests_make_the_host_copy() {
    for guest in ["log", "log-unchecked", "random-bytes"] {
        let twin = Run::hostile(guest).units(100_000).limit("host_call_bytes", 100_000).execute();
        assert_eq!(twin.used("host_call_bytes"), 100_000, "{guest}");
        let over = Run::hostile(guest).units(100_001).limit("host_call_bytes", 100_000).execute();
        assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
    }
}

#[test]
fn host_call_bytes_bounds_one_call() {
    // 128 MiB of one write cross the boundary; more do not, whatever is left.
    let twin = Run::hostile("log-unchecked").units(120 * MIB).execute();
    twin.output();
    let over = Run::hostile("log-unchecked").units(129 * MIB).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
    // Refused before it is copied, because less than that is left.
    let over = Run::hostile("log-unchecked").units(MIB).limit("host_call_bytes", 1000).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
    assert!(over.failure().message.contains("one host call carried"), "{}", over.failure().message);
}

#[test]
fn host_call_bytes_bounds_random_numbers_in_one_call() {
    Run::hostile("random-once").units(64 << 10).execute().output();
    for units in [(64 << 10) + 1, 1 << 40] {
        let over = Run::hostile("random-once").units(units).execute();
        assert_eq!(over.failure().kind, FailureKind::HostcallLimit);
        assert_eq!(over.failure().asked, Some(units));
    }
}

#[test]
fn host_memory_for_zeroes_is_bounded() {
    let twin = Run::hostile("log-zeroes").units(MIB).execute();
    assert_eq!(twin.log.head.len() + twin.log.tail.len(), MIB as usize);
    for units in [MIB + 1, u64::MAX] {
        let over = Run::hostile("log-zeroes").units(units).execute();
        assert_eq!(over.failure().kind, FailureKind::HostcallLimit, "{:?}", over.failure());
    }
}

#[test]
fn host_calls_are_counted() {
    let needed = Run::hostile("host-calls").units(1000).execute().used("host_calls");
    assert!((1000..1100).contains(&needed), "{needed}");
    Run::hostile("host-calls").units(1000).limit("host_calls", needed).execute().output();
    let over = Run::hostile("host-calls").units(1001).limit("host_calls", needed).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_calls");
}

#[test]
fn handles_of_a_guests_own_resources_are_counted() {
    Run::hostile("handles").units(100).limit("handles", 100).execute().output();
    let over = Run::hostile("handles").units(101).limit("handles", 100).execute();
    assert_stopped(&over, FailureKind::HandleLimit, "handles");
    assert_stopped(&Run::hostile("handles").execute(), FailureKind::HandleLimit, "handles");
}

#[test]
fn handles_of_host_resources_are_counted() {
    // A pollable is two entries of the host's table: the sleep and the right to wait for it.
    Run::hostile("pollables").units(50).limit("handles", 101).execute().output();
    let over = Run::hostile("pollables").units(51).limit("handles", 100).execute();
    assert_stopped(&over, FailureKind::HandleLimit, "handles");
    assert_stopped(&Run::hostile("pollables").execute(), FailureKind::HandleLimit, "handles");
}

#[test]
fn checkpoint_bytes_are_counted() {
    // The name of the checkpoint is kept too.
    let twin = Run::hostile("checkpoint").units(999).limit("checkpoint_bytes", 1000).execute();
    twin.output();
    assert_eq!(twin.used("checkpoint_bytes"), 1000);
    let over = Run::hostile("checkpoint").units(1000).limit("checkpoint_bytes", 1000).execute();
    let failure = over.failure();
    assert_eq!(failure.kind, FailureKind::BudgetExhausted, "the guest was told and returned an error");
    assert_eq!((failure.limit.as_deref(), failure.asked), (Some("checkpoint_bytes"), Some(1001)));
    assert!(failure.hint.as_deref().is_some_and(|hint| hint.contains("limits.checkpoint_bytes to 1001")));
    assert_eq!(over.used("checkpoint_bytes"), 0, "a refused checkpoint costs nothing");
}

#[test]
fn limits_above_the_mode_are_refused_not_clamped() {
    for mode in Mode::ALL {
        for budget in Budget::ALL {
            let max = budget.bounds(mode).max;
            let mut requested = Requested::default();
            requested.ask(budget.name(), max).expect("a limit of that name");
            let limits = requested.effective(mode).expect("the maximum itself is allowed");
            assert_eq!(limits.get(budget), max);
            requested.ask(budget.name(), max + 1).expect("a limit of that name");
            let error = requested.effective(mode).expect_err("one above the maximum").to_string();
            assert!(error.contains(budget.name()) && error.contains(&max.to_string()), "{error}");
        }
    }
}

#[test]
fn unknown_limits_are_refused_with_the_nearest() {
    let error = Requested::default().ask("feul", 1).expect_err("no such limit").to_string();
    assert!(error.contains("did you mean fuel?"), "{error}");
}

#[test]
fn host_call_bytes_counts_names_that_are_carried_for_nothing() {
    let twin = Run::hostile("remaining").units(1).limit("host_call_bytes", 100 * MIB).execute();
    assert_eq!(twin.used("host_call_bytes"), 100 * MIB);
    let over = Run::hostile("remaining").units(2).limit("host_call_bytes", 199 * MIB).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
}

#[test]
fn host_call_bytes_counts_the_environment_each_time() {
    let mut run = Run::hostile("get-environment").limit("host_call_bytes", 10_000);
    run.env = vec![("N".into(), "x".repeat(999))];
    run.clone().units(10).execute().output();
    assert_stopped(&run.units(11).execute(), FailureKind::HostcallLimit, "host_call_bytes");
}

#[test]
fn memory_bytes_is_blamed_only_for_what_follows_at_once() {
    let outcome = Run::hostile("trap-after-refusal").limit("memory_bytes", 100 * PAGE).execute();
    assert_eq!(outcome.failure().kind, FailureKind::Trap, "{:?}", outcome.failure());
    let outcome = Run::hostile("abi-after-refusal").limit("memory_bytes", 100 * PAGE).execute();
    assert_eq!(outcome.failure().kind, FailureKind::AbiViolation, "{:?}", outcome.failure());
}

#[test]
fn checkpoint_bytes_counts_what_earlier_attempts_kept() {
    let mut first = Run::hostile("checkpoint").units(900).limit("checkpoint_bytes", 1000);
    first.journal = std::sync::Arc::new(omnimind::task::MemoryJournal::default());
    let second = first.clone();
    first.execute().output();
    // The same name again: replaced, and not counted twice.
    let again = second.clone().units(999).execute();
    again.output();
    assert_eq!(again.used("checkpoint_bytes"), 1000);
    let over = second.units(1000).execute();
    assert_eq!(over.failure().kind, FailureKind::BudgetExhausted);
    assert_eq!(over.used("checkpoint_bytes"), 1000);
}

/// The hostile guest `name`, made to need the async component model and with it the other engine.
pub fn concurrent(name: &str) -> Run {
    let folder = omnimind_tests::checkout().join("guest-tasks/hostile");
    let read = |file: String| std::fs::read_to_string(folder.join(file)).expect("text");
    let text = read(format!("{name}.wat")).replace(";; include skeleton", &read("skeleton.inc".to_owned()));
    let text = text.replacen("(component", "(component (core func $unused (canon task.cancel))", 1);
    Run::bytes(wat::parse_str(text).expect("text").into())
}

#[test]
fn every_limit_holds_on_the_concurrent_engine_too() {
    let prepared = omnimind_tests::Lab::shared().prepare(concurrent("echo").component).expect("a task");
    assert_eq!(prepared.component.flavour, omnimind::engine::Flavour::Concurrent);

    assert_stopped(
        &concurrent("spin").limit("fuel", 1_000_000).execute(),
        FailureKind::FuelExhausted,
        "fuel",
    );
    assert_stopped(
        &concurrent("spin").limit("wall_ms", 200).execute(),
        FailureKind::DeadlineExceeded,
        "wall_ms",
    );
    let asleep = concurrent("sleep").units(3_600_000).limit("wall_ms", 200).execute();
    assert_stopped(&asleep, FailureKind::DeadlineExceeded, "wall_ms");
    let limit = 120 * PAGE;
    concurrent("memories").units(120).limit("memory_bytes", limit).execute().output();
    let over = concurrent("memories").units(121).limit("memory_bytes", limit).execute();
    assert_stopped(&over, FailureKind::MemoryLimit, "memory_bytes");
    let over = concurrent("table-grow").units(5000).limit("table_elements", 1000).execute();
    assert_stopped(&over, FailureKind::TableLimit, "table_elements");
    let over = concurrent("instance-count").limit("instances", 7).execute();
    assert_stopped(&over, FailureKind::InstanceLimit, "instances");
    assert_stopped(
        &concurrent("memory-count").limit("memories", 7).execute(),
        FailureKind::MemoryLimit,
        "memories",
    );
    assert_stopped(
        &concurrent("table-count").limit("tables", 7).execute(),
        FailureKind::TableLimit,
        "tables",
    );
    let over = concurrent("recurse").units(10_000_000).execute();
    assert_stopped(&over, FailureKind::StackOverflow, "stack_bytes");
    concurrent("output").units(1000).limit("output_bytes", 1000).execute().output();
    let over = concurrent("output").units(200_000).limit("output_bytes", 1000).execute();
    assert_stopped(&over, FailureKind::OutputLimit, "output_bytes");
    let over = concurrent("random-bytes").units(2000).limit("host_call_bytes", 1000).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_call_bytes");
    let over = concurrent("host-calls").units(1001).limit("host_calls", 1000).execute();
    assert_stopped(&over, FailureKind::HostcallLimit, "host_calls");
    let over = concurrent("handles").units(101).limit("handles", 100).execute();
    assert_stopped(&over, FailureKind::HandleLimit, "handles");
    let over = concurrent("log").units(MIB).limit("log_bytes", 8192).execute();
    assert_eq!(over.log.dropped, MIB - 8192);
}
