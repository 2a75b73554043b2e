//! What protects the machine.

use std::time::Duration;

use super::super::Protection;
use super::super::value::Kind;
use super::{File, Key};
use crate::limits::{MB, Thresholds};

type Amount = fn(&Thresholds) -> u64;

pub(super) fn keys() -> Vec<Key> {
    use File::Omnimind;
    let milliseconds = |path: &str, default: &str, about: &str, set: fn(&mut Protection, Duration)| {
        Key::new(Omnimind, path, Kind::Number { min: 50, max: 60_000 }, default, about, move |c, v| {
            set(&mut c.protection, Duration::from_millis(v.number()));
        })
    };
    let limit =
        |name: &str, (min, max): (u64, u64), about: &str, amount: Amount, set: fn(&mut Thresholds, u64)| {
            let path = format!("protection.limits.{name}");
            let key = Key::new(Omnimind, path, Kind::Number { min, max }, "", about, move |c, v| {
                set(&mut c.protection.thresholds, v.number());
            });
            key.by_mode(|mode| amount(&mode.into()).to_string())
        };
    let percent = (1, 100);
    vec![
        milliseconds(
            "protection.interval_ms",
            "2000",
            "Milliseconds between two looks at the machine",
            |p, time| {
                p.interval = time;
            },
        ),
        milliseconds(
            "protection.pressed_interval_ms",
            "250",
            "The same, while something is short, if that is less",
            |p, time| p.pressed_interval = time,
        ),
        Key::new(
            Omnimind,
            "protection.cpu_cap",
            Kind::Choice(&["shared", "strict"]),
            "shared",
            "Whether guests are held to cpu_percent while others want the processors, or always",
            |c, v| c.protection.strict_cpu_cap = v.word().eq_ignore_ascii_case("strict"),
        ),
        limit(
            "cpu_percent",
            percent,
            "Percent of all cores that guests together may take while others want the rest",
            |t| t.cpu_percent as u64,
            |t, n| t.cpu_percent = n as f64,
        ),
        limit(
            "ram_percent",
            percent,
            "Percent of the machine's memory, or of the container's, above which it is short",
            |t| t.ram_percent as u64,
            |t, n| t.ram_percent = n as f64,
        ),
        limit(
            "process_ram_mb",
            (16, 100_000_000),
            "Megabytes of memory that this process may take before it is short",
            |t| t.process_ram_bytes / MB,
            |t, n| t.process_ram_bytes = n * MB,
        ),
        limit(
            "disk_percent",
            percent,
            "Percent of the data directory's file system above which nothing new is written",
            |t| t.disk_percent as u64,
            |t, n| t.disk_percent = n as f64,
        ),
        limit(
            "instances",
            (1, 1000),
            "Tasks that run at one time",
            |t| t.instances.into(),
            |t, n| t.instances = u32::try_from(n).unwrap_or(u32::MAX),
        ),
        limit(
            "startup_grace",
            (0, 3600),
            "Seconds after the start in which nothing is called critical",
            |t| t.grace.as_secs(),
            |t, n| t.grace = Duration::from_secs(n),
        ),
    ]
}
