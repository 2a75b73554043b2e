//! Every transition at its thresholds, what follows from it, and that nothing flaps or is left behind.

use super::super::cpu::Cpu;
use super::super::disk::Disk;
use super::super::level::{CALM, DWELL};
use super::super::memory::{Ram, Scope};
use super::super::process::Process;
use super::super::reading::Missing;
use super::super::sampler::Stalls;
use super::super::stall::Stall;
use super::*;
use Level::{Critical, Elevated, Normal};

/// A time after every grace.
const LATE: Duration = Duration::from_secs(1000);

fn stalls(percent: f64) -> Stalls<Stall> {
    let stall = Stall { some_percent: percent, full_percent: None };
    Stalls { cpu: Ok(stall), memory: Ok(stall), io: Ok(stall) }
}

/// A machine at rest. The memory is 10^11 bytes, so that a percent is 10^9, and all of what is used is ours.
fn sample(at: Duration) -> Sample {
    Sample {
        at,
        cpu: Ok(Cpu::default()),
        cpu_quota_cores: Err(Missing::Absent),
        ram: Ok(Ram {
            used_percent: 0.0,
            available_bytes: 0,
            total_bytes: 100_000_000_000,
            scope: Scope::Machine,
        }),
        swap: Err(Missing::Absent),
        process: Ok(Process::default()),
        handles: Err(Missing::Absent),
        disk: Ok(Disk::default()),
        io: Err(Missing::Absent),
        stall: stalls(0.0),
        cgroup_stall: stalls(0.0),
        wake_delay_ms: Ok(0.0),
    }
}

fn with(at: Duration, change: impl FnOnce(&mut Sample)) -> Sample {
    let mut sample = sample(at);
    change(&mut sample);
    sample
}

fn failed<T>() -> Result<T, Missing> {
    Err(Missing::Failed("gone".to_owned()))
}

/// Puts the figure of one resource where it is asked to be; memory of the machine is ours.
fn put(sample: &mut Sample, resource: Resource, value: f64) {
    match resource {
        Resource::Cpu => {
            sample.cpu = Ok(Cpu { outside_percent: value, ..Cpu::default() });
            (sample.stall, sample.wake_delay_ms) = (stalls(100.0), Ok(100.0));
        }
        Resource::Ram => {
            let Ok(ram) = &mut sample.ram else { return };
            ram.used_percent = value;
            // Children's: it is not the process' own.
            sample.process = Ok(Process { children_rss_bytes: (value * 1e9) as u64, ..Process::default() });
        }
        Resource::ProcessRam => {
            sample.process = Ok(Process { rss_bytes: value as u64, ..Process::default() });
        }
        Resource::Disk => sample.disk = Ok(Disk { used_percent: value, ..Disk::default() }),
    }
}

/// The limit of a resource, and how much lower the thresholds are that keep a level.
fn limit(mode: Mode, resource: Resource) -> (f64, f64) {
    match (resource, mode) {
        (Resource::Ram, Mode::Dev) => (80.0, 5.0),
        (Resource::Ram, Mode::Test) => (85.0, 5.0),
        (Resource::ProcessRam, Mode::Dev) => (8e9, 4e8),
        (Resource::ProcessRam, Mode::Test) => (10e9, 5e8),
        (Resource::ProcessRam, Mode::Prod) => (12e9, 6e8),
        (Resource::Disk, Mode::Dev | Mode::Test) => (90.0, 5.0),
        (Resource::Ram | Resource::Disk, Mode::Prod) => (95.0, 5.0),
        // Of others' load, with stall and late: what the mode leaves to them.
        (Resource::Cpu, Mode::Dev) => (25.0, 2.5),
        (Resource::Cpu, Mode::Test) => (15.0, 1.5),
        (Resource::Cpu, Mode::Prod) => (5.0, 0.5),
    }
}

/// The level after `value` was seen for long, by one that had `from`.
fn settled(rules: &Rules, from: Level, resource: Resource, value: f64) -> Level {
    let mut state = State::default();
    let held = Held { level: from, ..Held::default() };
    match resource {
        Resource::Cpu => state.held.cpu = held,
        Resource::Ram => state.held.ram = held,
        Resource::ProcessRam => state.held.process_ram = held,
        Resource::Disk => state.held.disk = held,
    }
    for step in 0..3 {
        let sample = with(LATE + DWELL * step, |sample| put(sample, resource, value));
        state = decide(rules, &state, &sample).0;
        if step == 0 {
            assert!(state.level(resource) >= from, "left at once");
        }
    }
    for other in Resource::ALL {
        assert!(other == resource || state.level(other) == Normal, "{resource:?} is not {other:?}");
    }
    state.level(resource)
}

#[test]
fn every_threshold_of_every_resource_in_every_mode() {
    for mode in Mode::ALL {
        let rules = Rules::from(mode);
        for resource in Resource::ALL {
            let (limit, margin) = limit(mode, resource);
            let bit = limit / 1e4;
            // The processors are elevated earlier where there is stall as well: see the test below.
            let near = if resource == Resource::Cpu { 0.2 } else { 0.8 } * limit;
            let near_kept = if resource == Resource::Cpu { 0.1 * limit } else { near - margin };
            for (value, from_normal, from_elevated, from_critical) in [
                (near_kept - bit, Normal, Normal, Normal),
                (near_kept + bit, Normal, Elevated, Elevated),
                (near - bit, Normal, Elevated, Elevated),
                (near + bit, Elevated, Elevated, Elevated),
                (limit - margin - bit, Elevated, Elevated, Elevated),
                (limit - margin + bit, Elevated, Elevated, Critical),
                (limit, Elevated, Elevated, Critical),
                (limit + bit, Critical, Critical, Critical),
            ] {
                let case = format!("{mode} {resource:?} {value}");
                assert_eq!(settled(&rules, Normal, resource, value), from_normal, "{case}");
                assert_eq!(settled(&rules, Elevated, resource, value), from_elevated, "{case}");
                assert_eq!(settled(&rules, Critical, resource, value), from_critical, "{case}");
            }
        }
    }
}

#[test]
fn processors_are_pressed_by_others_alone() {
    // Others' load, stall, our cgroup's stall, delay of the server: level in dev, where the rest is 25 %.
    for (outside, stall, cgroup, delay, level) in [
        // Whatever our own guests do to each other.
        (0.0, 100.0, 100.0, 900.0, Normal),
        (4.9, 100.0, 100.0, 900.0, Normal),
        (5.0, 41.0, 0.0, 0.0, Elevated),
        (5.0, 40.0, 40.0, 50.0, Normal),
        (19.9, 0.0, 0.0, 0.0, Normal),
        (20.0, 0.0, 0.0, 0.0, Elevated),
        (25.0, 100.0, 0.0, 0.0, Elevated),
        (25.1, 40.0, 40.0, 50.0, Elevated),
        (25.1, 100.0, 100.0, 50.0, Elevated),
        (25.1, 0.0, 0.0, 50.1, Critical),
        (75.0, 0.0, 0.0, 0.0, Elevated),
        (75.1, 0.0, 0.0, 0.0, Critical),
    ] {
        let sample = with(LATE, |sample| {
            sample.cpu = Ok(Cpu { own_percent: 20.0, outside_percent: outside, ..Cpu::default() });
            (sample.stall, sample.cgroup_stall, sample.wake_delay_ms) =
                (stalls(stall), stalls(cgroup), Ok(delay));
        });
        let (state, _) = decide(&Mode::Dev.into(), &State::default(), &sample);
        assert_eq!(state.level(Resource::Cpu), level, "{outside} {stall} {cgroup} {delay}");
    }
    // As on an idle machine that has two guests.
    let busy = with(LATE, |sample| {
        sample.cpu =
            Ok(Cpu { machine_percent: 100.0, own_percent: 99.0, outside_percent: 1.0, steal_percent: 0.0 });
    });
    assert_eq!(decide(&Mode::Dev.into(), &State::default(), &busy).1, []);
}

#[test]
fn nothing_is_critical_in_the_grace() {
    for mode in Mode::ALL {
        let rules = Rules::from(mode);
        let grace = Duration::from_secs(match mode {
            Mode::Dev => 60,
            Mode::Test => 30,
            Mode::Prod => 120,
        });
        for resource in Resource::ALL {
            let (limit, _) = limit(mode, resource);
            let at = |at, state: &State| {
                decide(&rules, state, &with(at, |sample| put(sample, resource, limit * 1.04))).0
            };
            let state = at(grace - Duration::from_millis(1), &State::default());
            assert_eq!(state.level(resource), Elevated, "{mode} {resource:?}");
            assert_eq!(at(grace, &state).level(resource), Critical, "{mode} {resource:?}: at once");
        }
    }
}

#[test]
fn a_reading_that_fails_is_pressure_in_prod_and_a_warning_elsewhere() {
    type Break = fn(&mut Sample);
    let breaks: [(Resource, Break); 6] = [
        (Resource::Cpu, |sample| sample.cpu = failed()),
        (Resource::Cpu, |sample| sample.stall.cpu = failed()),
        (Resource::Cpu, |sample| sample.wake_delay_ms = failed()),
        (Resource::Ram, |sample| sample.ram = failed()),
        (Resource::ProcessRam, |sample| sample.process = failed()),
        (Resource::Disk, |sample| sample.disk = failed()),
    ];
    for (resource, change) in breaks {
        for mode in Mode::ALL {
            let rules = Rules::from(mode);
            let level = |from, times: u32| {
                let held = Each::new(|_| Held { level: from, ..Held::default() });
                let mut state = State { held, ..State::default() };
                for time in 0..times {
                    state = decide(&rules, &state, &with(LATE + DWELL * time, change)).0;
                }
                state.level(resource)
            };
            let expected = if mode == Mode::Prod { Elevated } else { Normal };
            assert_eq!(level(Normal, 1), expected, "{mode} {resource:?}");
            assert_eq!(level(Normal, 100), expected, "{mode} {resource:?}: never critical by itself");
            let kept = if mode == Mode::Prod { Critical } else { Normal };
            assert_eq!(level(Critical, 100), kept, "{mode} {resource:?}: blind, nothing gets better");

            let (state, decisions) = decide(&rules, &State::default(), &with(LATE, change));
            let warned = |decision: &&Decision| decision.action == Action::Warn { reason: "gone".to_owned() };
            let warnings: Vec<_> =
                decisions.iter().filter(warned).map(|decision| decision.resource).collect();
            assert_eq!(warnings, [resource], "{mode}");
            let (state, decisions) = decide(&rules, &state, &with(LATE + CALM, change));
            assert_eq!(decisions.iter().filter(warned).count(), 0, "told once");
            let (_, decisions) = decide(&rules, &state, &sample(LATE + CALM * 2));
            assert!(decisions.iter().any(|decision| decision.action == Action::Readable));
        }
    }
}

#[test]
fn what_is_not_there_or_not_yet_is_no_failure() {
    for mode in Mode::ALL {
        let sample = with(LATE, |sample| {
            sample.cpu = Err(Missing::NotYet);
            let absent = || Stalls {
                cpu: Err(Missing::Absent),
                memory: Err(Missing::Absent),
                io: Err(Missing::Absent),
            };
            (sample.stall, sample.cgroup_stall) = (absent(), absent());
            sample.wake_delay_ms = Err(Missing::NotYet);
        });
        assert_eq!(decide(&mode.into(), &State::default(), &sample).1, []);
        let mut state = State::default();
        state.held.cpu.level = Critical;
        assert_eq!(decide(&mode.into(), &state, &sample).0.level(Resource::Cpu), Critical, "kept");
    }
}

/// What is done about `resource` when it is at `value` from one moment to the next.
fn actions(mode: Mode, resource: Resource, value: f64) -> Vec<Action> {
    let sample = with(LATE, |sample| put(sample, resource, value));
    let decisions = decide(&mode.into(), &State::default(), &sample).1;
    for decision in &decisions {
        assert_eq!((decision.at, decision.resource), (LATE, resource));
        assert!(
            decision.evidence.iter().any(|evidence| (evidence.value - value).abs() < 1e-6),
            "{decision:?}"
        );
    }
    decisions.into_iter().map(|decision| decision.action).collect()
}

#[test]
fn what_follows_is_what_the_table_says() {
    let level = || Action::Level { from: Normal };
    let cap = Action::CapGuests { percent: Some(75.0) };
    assert_eq!(
        actions(Mode::Dev, Resource::Cpu, 25.0),
        [level(), cap.clone(), Action::SetShares(Shares { low: 50, medium: 100, high: 200, critical: 200 })]
    );
    assert_eq!(
        actions(Mode::Dev, Resource::Cpu, 26.0),
        [
            level(),
            cap,
            Action::SetShares(Shares { low: 50, medium: 50, high: 100, critical: 200 }),
            Action::HoldBack { below: Priority::Medium },
            Action::Pause { below: Priority::High },
        ]
    );
    for (resource, near, above) in [(Resource::Ram, 70.0, 81.0), (Resource::ProcessRam, 7e9, 8.1e9)] {
        let wait = Action::Admit { admission: Admission::WaitToFit };
        assert_eq!(actions(Mode::Dev, resource, near), [level(), wait, Action::ShrinkCaches]);
        let refuse = Action::Admit { admission: Admission::RefuseUnfit };
        assert_eq!(
            actions(Mode::Dev, resource, above),
            [level(), refuse, Action::RefuseGrowth, Action::ShrinkCaches]
        );
    }
    assert_eq!(actions(Mode::Dev, Resource::Disk, 80.0), [level(), Action::Prune]);
    assert_eq!(actions(Mode::Dev, Resource::Disk, 91.0), [level(), Action::RefuseWrites, Action::Prune]);
    let strict = Rules { strict_cpu_cap: true, ..Mode::Prod.into() };
    let decisions = decide(&strict, &State::default(), &sample(LATE)).1;
    assert!(matches!(&decisions[..], [one] if one.action == Action::CapGuests { percent: Some(95.0) }));
}

#[test]
fn memory_of_others_is_critical_in_prod_alone_and_costs_no_task() {
    for mode in Mode::ALL {
        let (mut state, mut ended) = (State::default(), 0);
        for second in 0..60 {
            let sample = with(LATE + Duration::from_secs(second), |sample| {
                put(sample, Resource::Ram, 99.0);
                sample.process = Ok(Process { rss_bytes: 1_000_000_000, ..Process::default() });
            });
            let (next, decisions) = decide(&mode.into(), &state, &sample);
            ended += decisions.iter().filter(|decision| decision.action == Action::EndOne).count();
            state = next;
        }
        let expected = if mode == Mode::Prod { Critical } else { Elevated };
        assert_eq!((state.level(Resource::Ram), ended), (expected, 0), "{mode}");
    }
}

#[test]
fn memory_of_ours_costs_a_task_every_ten_seconds_and_a_full_disk_is_pruned_every_minute() {
    for (resource, value) in [(Resource::Ram, 90.0), (Resource::ProcessRam, 9e9), (Resource::Disk, 95.0)] {
        let (mut state, mut times) = (State::default(), Vec::new());
        for second in 0..=70 {
            let at = LATE + Duration::from_secs(second);
            let (next, decisions) =
                decide(&Mode::Dev.into(), &state, &with(at, |sample| put(sample, resource, value)));
            let once = |decision: &&Decision| matches!(decision.action, Action::EndOne | Action::Prune);
            times.extend(decisions.iter().filter(once).map(|_| second));
            state = next;
        }
        let expected: &[u64] =
            if resource == Resource::Disk { &[0, 60] } else { &[10, 20, 30, 40, 50, 60, 70] };
        assert_eq!(times, expected, "{resource:?}");
    }
}

/// xorshift: the same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        for shift in [13_i32, -7, 17] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        self.0 % limit
    }

    fn percent(&mut self) -> f64 {
        self.below(1001) as f64 / 10.0
    }

    /// A sample of anything, failures too.
    fn sample(&mut self, at: Duration) -> Sample {
        let mut sample = with(at, |sample| put(sample, Resource::Disk, self.percent()));
        let own = self.percent();
        if let Ok(ram) = &mut sample.ram {
            ram.used_percent = self.percent();
        }
        sample.process = Ok(Process {
            rss_bytes: self.below(14_000_000_000),
            children_rss_bytes: (own * 1e9) as u64,
            ..Process::default()
        });
        sample.cpu = Ok(Cpu { outside_percent: self.percent() * self.percent() / 100.0, ..Cpu::default() });
        (sample.stall, sample.wake_delay_ms) = (stalls(self.percent()), Ok(self.percent()));
        let missing = if self.below(2) == 0 { Missing::NotYet } else { Missing::Failed("gone".into()) };
        match self.below(40) {
            0 => sample.cpu = Err(missing),
            1 => sample.ram = Err(missing),
            2 => sample.process = Err(missing),
            3 => sample.disk = Err(missing),
            4 => sample.stall.cpu = Err(missing),
            _ => {}
        }
        sample
    }
}

/// What a reader of the decisions believes, who knows nothing else.
fn told(stance: &mut Stance, action: &Action) {
    match action {
        Action::CapGuests { percent } => stance.cpu_cap_percent = *percent,
        Action::SetShares(shares) => stance.shares = *shares,
        Action::Pause { below } => stance.paused_below = Some(*below),
        Action::Resume => stance.paused_below = None,
        Action::HoldBack { below } => stance.held_back_below = Some(*below),
        Action::LetBegin => stance.held_back_below = None,
        Action::Admit { admission } => stance.admission = *admission,
        Action::RefuseGrowth => stance.growth_refused = true,
        Action::AllowGrowth => stance.growth_refused = false,
        Action::RefuseWrites => stance.writes_refused = true,
        Action::AcceptWrites => stance.writes_refused = false,
        _ => {}
    }
}

#[test]
fn nothing_flaps_and_everything_comes_back_whatever_the_samples() {
    let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seeds = (1..=100).chain((0..100).map(|n| clock.wrapping_mul(2 * n + 1) | 1));
    for seed in seeds {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let rules = Rules::from(Mode::ALL[numbers.below(3) as usize]);
        let (mut state, mut at, mut believed) = (State::default(), Duration::ZERO, Stance::default());
        let mut changed = Each::<Duration>::default();
        let mut held: Option<Sample> = None;
        for step in 0..2000 {
            at += Duration::from_millis(50 + numbers.below(2000) * u64::from(numbers.below(3) == 0));
            // The same thing for a while, or something else each time.
            let sample = match held.take() {
                Some(sample) if numbers.below(4) > 0 => Sample { at, ..sample },
                _ => numbers.sample(at),
            };
            let (next, decisions) = decide(&rules, &state, &sample);
            for resource in Resource::ALL {
                let (from, to) = (state.level(resource), next.level(resource));
                let case = format!("seed {seed}, step {step}: {resource:?} {from:?} to {to:?}");
                assert!(to >= from || at - *changed.of(resource) >= DWELL, "{case}, too soon");
                assert!(to < Critical || at >= rules.thresholds.grace, "{case}, in the grace");
                let said = decisions.iter().any(|decision| {
                    decision.resource == resource && decision.action == Action::Level { from }
                });
                assert_eq!(said, from != to, "{case}");
            }
            let changes = |resource: Resource| state.level(resource) != next.level(resource);
            changed = Each::new(|resource| if changes(resource) { at } else { *changed.of(resource) });
            decisions.iter().for_each(|decision| told(&mut believed, &decision.action));
            assert_eq!(believed, next.stance, "seed {seed}, step {step}");
            (state, held) = (next, Some(sample));
        }
        for _ in 0..3 {
            at += DWELL;
            let (next, decisions) = decide(&rules, &state, &sample(at));
            decisions.iter().for_each(|decision| told(&mut believed, &decision.action));
            state = next;
        }
        assert!(!state.is_pressed() && state.failures == Each::default(), "seed {seed}");
        assert_eq!(believed, Stance::default(), "seed {seed}: something was not given back");
    }
}

#[test]
fn a_disk_that_is_elevated_for_months_is_not_looked_at_four_times_a_second() {
    let (limit, _) = limit(Mode::Dev, Resource::Disk);
    for (share, level, is_pressed) in [(0.9, Elevated, false), (1.05, Critical, true)] {
        let sample = with(LATE, |sample| put(sample, Resource::Disk, limit * share));
        let (state, _) = decide(&Mode::Dev.into(), &State::default(), &sample);
        assert_eq!((state.level(Resource::Disk), state.is_pressed()), (level, is_pressed));
    }
    let sample = with(LATE, |sample| put(sample, Resource::Ram, 75.0));
    assert!(decide(&Mode::Dev.into(), &State::default(), &sample).0.is_pressed());
}

#[test]
fn of_two_that_are_equally_pressed_the_machine_is_blamed() {
    let rules = Rules::from(Mode::Dev);
    let both = with(LATE, |sample| {
        put(sample, Resource::Ram, 99.0);
        sample.process = Ok(Process { rss_bytes: 99_000_000_000, ..Process::default() });
    });
    let (state, decisions) = decide(&rules, &State::default(), &both);
    assert_eq!((state.level(Resource::Ram), state.level(Resource::ProcessRam)), (Critical, Critical));
    let growth = decisions.iter().find(|decision| matches!(decision.action, Action::RefuseGrowth));
    assert_eq!(growth.map(|decision| decision.resource), Some(Resource::Ram));
}
