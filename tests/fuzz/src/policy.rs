//! Decisions from whatever figures: they are possible ones, they contradict nothing, and calm ends all of them.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use omnimind::limits::Mode;
use omnimind::protection::{
    Action, CALM, Cpu, DWELL, Disk, ENDING_AFTER, Level, Missing, PRUNING_EVERY, Process, Ram, Reading,
    Resource, Rules, Sample, Scope, Stall, Stalls, State, decide,
};

/// A figure that is there, or not, or not any more.
#[derive(Clone, Copy, Debug)]
enum Figure<T> {
    Is(T),
    NotYet,
    Absent,
    Failed,
}

#[derive(Debug)]
struct Look {
    after_ms: u16,
    outside_percent: Figure<f64>,
    ram_percent: Figure<f64>,
    own_bytes: Figure<(u64, u64)>,
    disk_percent: Figure<f64>,
    stall_percent: Figure<f64>,
    wake_delay_ms: Figure<f64>,
}

impl<'a, T: Arbitrary<'a>> Arbitrary<'a> for Figure<T> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Figure<T>> {
        Ok(match bytes.int_in_range(0..=7)? {
            0 => Figure::NotYet,
            1 => Figure::Absent,
            2 => Figure::Failed,
            _ => Figure::Is(bytes.arbitrary()?),
        })
    }
}

impl<'a> Arbitrary<'a> for Look {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Look> {
        Ok(Look {
            after_ms: bytes.arbitrary()?,
            outside_percent: bytes.arbitrary()?,
            ram_percent: bytes.arbitrary()?,
            own_bytes: bytes.arbitrary()?,
            disk_percent: bytes.arbitrary()?,
            stall_percent: bytes.arbitrary()?,
            wake_delay_ms: bytes.arbitrary()?,
        })
    }
}

impl<T> Figure<T> {
    fn reading<R>(self, of: impl Fn(T) -> R) -> Reading<R> {
        match self {
            Figure::Is(value) => Ok(of(value)),
            Figure::NotYet => Err(Missing::NotYet),
            Figure::Absent => Err(Missing::Absent),
            Figure::Failed => Err(Missing::Failed("gone".to_owned())),
        }
    }
}

impl Look {
    const CALM: Look = Look {
        after_ms: 0,
        outside_percent: Figure::Is(0.0),
        ram_percent: Figure::Is(0.0),
        own_bytes: Figure::Is((0, 0)),
        disk_percent: Figure::Is(0.0),
        stall_percent: Figure::Is(0.0),
        wake_delay_ms: Figure::Is(0.0),
    };

    fn sample(&self, at: Duration) -> Sample {
        let stalled = |some_percent| Stall { some_percent, full_percent: None };
        let stalls = || Stalls {
            cpu: self.stall_percent.reading(stalled),
            memory: self.stall_percent.reading(stalled),
            io: self.stall_percent.reading(stalled),
        };
        Sample {
            at,
            cpu: self.outside_percent.reading(|outside_percent| Cpu { outside_percent, ..Cpu::default() }),
            cpu_quota_cores: Err(Missing::Absent),
            ram: self.ram_percent.reading(|used_percent| Ram {
                used_percent,
                available_bytes: 0,
                total_bytes: 100_000_000_000,
                scope: Scope::Machine,
            }),
            swap: Err(Missing::Absent),
            process: self.own_bytes.reading(|(rss_bytes, children_rss_bytes)| Process {
                rss_bytes,
                children_rss_bytes,
                ..Process::default()
            }),
            handles: Err(Missing::Absent),
            disk: self.disk_percent.reading(|used_percent| Disk { used_percent, ..Disk::default() }),
            io: Err(Missing::Absent),
            stall: stalls(),
            cgroup_stall: stalls(),
            wake_delay_ms: self.wake_delay_ms.reading(|delay| delay),
        }
    }
}

fuzz_target!(|input: (u8, bool, Vec<Look>)| {
    let (mode, strict_cpu_cap, looks) = input;
    let mode = Mode::ALL[usize::from(mode) % Mode::ALL.len()];
    let rules = Rules { strict_cpu_cap, ..Rules::from(mode) };
    let (mut state, mut at) = (State::default(), Duration::ZERO);
    let (mut ended, mut pruned): (Option<Duration>, Option<Duration>) = (None, None);
    for look in looks {
        at += Duration::from_millis(look.after_ms.into());
        let sample = look.sample(at);
        let (next, decisions) = decide(&rules, &state, &sample);
        if format!("{sample:?}").contains("NaN") {
            // Evidence of it is unequal to itself.
        } else {
            assert_eq!(
                decide(&rules, &state, &sample),
                (next.clone(), decisions.clone()),
                "it is a function"
            );
        }
        for decision in &decisions {
            assert_eq!((decision.at, decision.level), (at, next.level(decision.resource)));
            match &decision.action {
                Action::EndOne => {
                    assert!(ended.is_none_or(|last| at - last >= ENDING_AFTER), "a task is ended too soon");
                    assert_eq!(decision.level, Level::Critical);
                    ended = Some(at);
                }
                Action::Prune => {
                    assert!(pruned.is_none_or(|last| at - last >= PRUNING_EVERY), "pruned too soon");
                    pruned = Some(at);
                }
                Action::Level { from } => assert_ne!(*from, decision.level, "{decision:?}"),
                _ => {}
            }
        }
        let stance = &next.stance;
        let critical = |resource| next.level(resource) == Level::Critical;
        assert_eq!(stance.writes_refused, critical(Resource::Disk));
        assert_eq!(stance.growth_refused, critical(Resource::Ram) || critical(Resource::ProcessRam));
        assert_eq!(stance.paused_below.is_some(), critical(Resource::Cpu));
        state = next;
    }
    // Whatever was, a machine at rest is normal soon, and nothing is left behind.
    for _ in 0..4 {
        at += DWELL.max(CALM);
        state = decide(&rules, &state, &Look::CALM.sample(at)).0;
    }
    assert!(Resource::ALL.iter().all(|resource| state.level(*resource) == Level::Normal), "{state:?}");
    let at_rest = decide(&rules, &State::default(), &Look::CALM.sample(at)).0;
    assert_eq!(state.stance, at_rest.stance);
});
