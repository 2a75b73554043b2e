//! Figures of the whole server as they are shown: what was counted, what runs, the machine against its mode.
//!
//! The machine's figures are those of the guard's last look: nobody who asks waits for a file of the kernel, or for a
//! lock that is held while something is stored or computed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::App;
use super::health::Overall;
use crate::cache;
use crate::events::Bus;
use crate::limits::Thresholds;
use crate::metrics::{Family, Figures, Kind, PRECISION_PERCENT};
use crate::protection::{IoScope, Level, Reading, Sample};
use crate::task::timestamp;
use crate::telemetry;

/// Time between two events of figures.
const INTERVAL: Duration = Duration::from_secs(2);

/// Routes that the short form names.
const SLOWEST: usize = 5;

/// Tells the figures in short on the bus, again and again, as long as somebody listens.
pub async fn tell(app: Arc<App>) {
    every(INTERVAL, &app.bus, || in_short(&app)).await;
}

async fn every(interval: Duration, bus: &Bus, figures: impl Fn() -> Value) {
    loop {
        tokio::time::sleep(interval).await;
        bus.metrics(&figures);
    }
}

/// Everything: `GET /api/metrics`.
pub fn all(app: &App) -> Value {
    let mut tasks = app.metrics.tasks();
    let load = app.scheduler.load();
    if let Some(tasks) = tasks.as_object_mut() {
        tasks.insert("active".to_owned(), json!(load.running));
        tasks.insert("pending".to_owned(), json!(load.pending));
    }
    json!({
        "timestamp": timestamp(jiff::Timestamp::now()),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": app.metrics.uptime().as_secs(),
        "window": {"seconds": app.metrics.window().as_secs(), "precision_percent": PRECISION_PERCENT},
        "requests": app.metrics.requests(),
        "tasks": tasks,
        "machine": machine(app),
        "caches": app.cache_figures(),
        "log": {"dropped_lines": telemetry::dropped()},
        "websockets": {"open": app.web_sockets.open()},
    })
}

/// The machine now, each figure beside the limit of the mode in force; null where it cannot be read, and why.
fn machine(app: &App) -> Value {
    let last = app.guard.last();
    let mode = app.modes.mode();
    let thresholds = app.modes.of(mode).thresholds;
    let (sampled_at, mut figures) = match &last.sample {
        Some((at, sample)) => (Some(timestamp(*at)), sample.to_json()),
        None => (None, Value::Object(Map::new())),
    };
    let mut put = |figure: &str, name: &str, limit: Value| {
        if let Some(figure) = figures.get_mut(figure).and_then(Value::as_object_mut) {
            figure.insert(name.to_owned(), limit);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    put("cpu", "cores", json!(cores));
    put("cpu", "limit_percent", json!(thresholds.cpu_percent));
    put("ram", "limit_percent", json!(thresholds.ram_percent));
    put("process", "rss_limit_bytes", json!(thresholds.process_ram_bytes));
    put("disk", "limit_percent", json!(thresholds.disk_percent));
    if let Some(figures) = figures.as_object_mut() {
        let pressure = last.levels.iter().map(|(resource, level)| (resource.name().to_owned(), json!(level)));
        figures.insert("mode".to_owned(), json!(mode.name()));
        figures.insert("sampled_at".to_owned(), json!(sampled_at));
        figures.insert("pressure".to_owned(), Value::Object(pressure.collect()));
        figures.insert("instances_limit".to_owned(), json!(thresholds.instances));
    }
    figures
}

/// What fits on a screen: `GET /api/v1/performance/summary`.
pub fn in_short(app: &App) -> Value {
    let window = app.metrics.window();
    let (requests, slowest) = app.metrics.requests_in_short(SLOWEST);
    let (wall, queue) = app.metrics.tasks_in_short();
    let load = app.scheduler.load();
    let [completed, failed, cancelled] = wall.outcomes;
    let sample = app.guard.last().sample.map(|(_, sample)| sample);
    let sample = sample.as_ref();
    let Thresholds { cpu_percent, ram_percent, process_ram_bytes, disk_percent, .. } =
        app.modes.current().thresholds;
    let process = sample.and_then(|of| of.process.as_ref().ok());
    let figure = |used: Option<f64>, limit: f64| json!({"used": used, "limit": limit});
    json!({
        "timestamp": timestamp(jiff::Timestamp::now()),
        "uptime_s": app.metrics.uptime().as_secs(),
        "window_s": window.as_secs(),
        "response_time_ms": requests,
        "throughput_per_s": per_second(&requests, window),
        "error_rate": error_rate(&requests),
        "tasks": {
            "active": load.running, "pending": load.pending,
            "completed": completed, "failed": failed, "cancelled": cancelled,
            "success_rate": share(completed, completed + failed),
            "wall_ms": wall, "queue_ms": queue,
        },
        "cpu_percent": figure(sample.and_then(|of| Some(of.cpu.as_ref().ok()?.machine_percent)), cpu_percent),
        "memory_percent": figure(sample.and_then(|of| Some(of.ram.as_ref().ok()?.used_percent)), ram_percent),
        "process_memory_bytes": {"used": process.map(|of| of.rss_bytes), "limit": process_ram_bytes},
        "disk_percent": figure(sample.and_then(|of| Some(of.disk.as_ref().ok()?.used_percent)), disk_percent),
        "slowest": slowest,
    })
}

/// Of all requests those that the server could not answer.
fn error_rate(requests: &Figures) -> Option<f64> {
    let [.., errors] = requests.outcomes;
    share(errors, requests.outcomes.iter().sum())
}

fn per_second(requests: &Figures, window: Duration) -> f64 {
    requests.outcomes.iter().sum::<u64>() as f64 / window.as_secs_f64().max(1.0)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What Prometheus is told besides what was counted.
pub fn families(app: &App) -> Vec<Family> {
    let last = app.guard.last();
    let mode = app.modes.mode();
    let mut families = server(app);
    families.extend(caches(app));
    families.push(Family::by(
        Kind::Counter,
        "omnimind_protection_decisions_total",
        "What was decided to protect the machine.",
        "action",
        last.decisions.into_iter().map(|(action, count)| (action, count as f64)),
    ));
    families.push(Family::by(
        Kind::Gauge,
        "omnimind_pressure_level",
        "How pressed a resource is: 0 normal, 1 elevated, 2 critical.",
        "resource",
        last.levels.iter().map(|(resource, level)| {
            let level = match level {
                Level::Normal => 0.0,
                Level::Elevated => 1.0,
                Level::Critical => 2.0,
            };
            (resource.name(), level)
        }),
    ));
    families.extend(limits(&app.modes.of(mode).thresholds));
    if let Some((at, sample)) = last.sample {
        let age = jiff::Timestamp::now().duration_since(at).as_secs_f64().max(0.0);
        families.push(gauge("omnimind_sample_age_seconds", "Since the machine was looked at.", Some(age)));
        families.extend(of_sample(&sample));
    }
    families
}

fn gauge(name: &'static str, help: &'static str, value: Option<f64>) -> Family {
    Family::one(Kind::Gauge, name, help, value)
}

fn server(app: &App) -> Vec<Family> {
    let load = app.scheduler.load();
    let uptime = app.metrics.uptime().as_secs_f64();
    let started = app.metrics.started().as_millisecond() as f64 / 1000.0;
    let ready = !*app.ending.borrow() && app.health.refuses_new().is_none();
    let version = [(env!("CARGO_PKG_VERSION"), 1.0)];
    let checks = app.health.trends.lock().statuses().into_iter().map(|(name, status)| {
        let status = match status {
            Overall::Healthy => 0.0,
            Overall::Degraded => 1.0,
            Overall::Unhealthy => 2.0,
        };
        (name, status)
    });
    vec![
        Family::by(Kind::Gauge, "omnimind_build_info", "Always 1.", "version", version),
        Family::by(
            Kind::Gauge,
            "omnimind_mode",
            "1 for the mode that is in force.",
            "mode",
            [(app.modes.mode().name(), 1.0)],
        ),
        gauge("omnimind_uptime_seconds", "Since the start.", Some(uptime)),
        gauge("process_start_time_seconds", "When the process started, in Unix time.", Some(started)),
        gauge("omnimind_ready", "1 while new work is accepted.", Some(f64::from(u8::from(ready)))),
        Family::by(
            Kind::Gauge,
            "omnimind_health_status",
            "What a check came to: 0 healthy, 1 degraded, 2 unhealthy.",
            "check",
            checks,
        ),
        gauge("omnimind_websockets_open", "WebSockets.", Some(app.web_sockets.open() as f64)),
        Family::one(
            Kind::Counter,
            "omnimind_log_dropped_lines_total",
            "Lines of the log that were dropped: its buffer was full, or they could not be written.",
            Some(telemetry::dropped() as f64),
        ),
        gauge(
            "omnimind_requests_at_work",
            "Requests that limit_concurrency counts.",
            Some(app.active.now() as f64),
        ),
        gauge("omnimind_tasks_active", "Tasks that have a place.", Some(load.running as f64)),
        gauge("omnimind_tasks_pending", "Tasks that wait.", Some(load.pending as f64)),
        gauge("omnimind_tasks_places", "Tasks that may have a place.", Some(load.places as f64)),
        gauge("omnimind_tasks_pending_limit", "Tasks that may wait.", Some(load.max_pending as f64)),
    ]
}

fn caches(app: &App) -> Vec<Family> {
    let figures = app.cache_figures();
    let by = |kind, name, help, value: fn(&cache::Figures) -> Option<f64>| {
        let values = figures.iter().filter_map(|cache| Some((cache.name, value(cache)?)));
        Family::by(kind, name, help, "cache", values)
    };
    vec![
        by(Kind::Gauge, "omnimind_cache_entries", "What a cache keeps.", |cache| Some(cache.entries as f64)),
        by(Kind::Gauge, "omnimind_cache_bytes", "Bytes of that, where they are known.", |cache| {
            cache.bytes.map(|bytes| bytes as f64)
        }),
        by(Kind::Counter, "omnimind_cache_hits_total", "What was asked for and was there.", |cache| {
            Some(cache.hits as f64)
        }),
        by(Kind::Counter, "omnimind_cache_misses_total", "What was asked for and was not there.", |cache| {
            Some(cache.misses as f64)
        }),
    ]
}

fn limits(thresholds: &Thresholds) -> Vec<Family> {
    let Thresholds { cpu_percent, ram_percent, process_ram_bytes, disk_percent, .. } = thresholds;
    vec![
        gauge(
            "omnimind_cpu_limit_ratio",
            "What the mode leaves to guests of the processors while others want the rest.",
            Some(cpu_percent / 100.0),
        ),
        gauge(
            "omnimind_memory_limit_ratio",
            "What the mode lets be used of the memory.",
            Some(ram_percent / 100.0),
        ),
        gauge(
            "omnimind_process_memory_limit_bytes",
            "What the mode lets this process have of the memory.",
            Some(*process_ram_bytes as f64),
        ),
        gauge(
            "omnimind_disk_limit_ratio",
            "What the mode lets be used of the disk.",
            Some(disk_percent / 100.0),
        ),
    ]
}

fn of_sample(sample: &Sample) -> Vec<Family> {
    let Sample { cpu, ram, swap, process, handles, disk, io, stall, wake_delay_ms, .. } = sample;
    let mut families = Vec::new();
    if let Ok(cpu) = cpu {
        let shares = [
            ("machine", cpu.machine_percent),
            ("own", cpu.own_percent),
            ("outside", cpu.outside_percent),
            ("steal", cpu.steal_percent),
        ];
        families.push(Family::by(
            Kind::Gauge,
            "omnimind_cpu_used_ratio",
            "Load of all processors together: everybody's, that of this process and its children, other people's.",
            "of",
            shares.map(|(of, percent)| (of, percent / 100.0)),
        ));
    }
    let stalls = [("cpu", &stall.cpu), ("memory", &stall.memory), ("io", &stall.io)];
    let stalls =
        stalls.into_iter().filter_map(|(of, stall)| Some((of, stall.as_ref().ok()?.some_percent / 100.0)));
    families.push(Family::by(
        Kind::Gauge,
        "omnimind_stall_ratio",
        "Share of the time in which somebody on the machine waited for it.",
        "of",
        stalls,
    ));
    let moved = |bytes: u64| io.as_ref().ok().map(|io| (scope(io.scope), bytes as f64));
    let (read, written) = io.as_ref().map_or((0, 0), |io| (io.read_bytes, io.written_bytes));
    families.extend([
        gauge(
            "omnimind_memory_used_ratio",
            "Used memory, of the machine or the cgroup.",
            of(ram, |ram| ram.used_percent / 100.0),
        ),
        gauge(
            "omnimind_memory_available_bytes",
            "Memory that can be had.",
            of(ram, |ram| ram.available_bytes as f64),
        ),
        gauge("omnimind_memory_total_bytes", "All memory.", of(ram, |ram| ram.total_bytes as f64)),
        gauge("omnimind_swap_used_bytes", "Used swap space.", of(swap, |swap| swap.used_bytes as f64)),
        gauge("omnimind_swap_total_bytes", "All swap space.", of(swap, |swap| swap.total_bytes as f64)),
        gauge(
            "process_resident_memory_bytes",
            "Memory of this process.",
            of(process, |process| process.rss_bytes as f64),
        ),
        gauge(
            "omnimind_children_resident_memory_bytes",
            "Memory of its children: compile workers.",
            of(process, |process| process.children_rss_bytes as f64),
        ),
        gauge("process_threads", "Threads of this process.", of(handles, |handles| handles.threads as f64)),
        gauge(
            "process_open_fds",
            "Descriptors that are open.",
            of(handles, |handles| handles.open_descriptors as f64),
        ),
        gauge(
            "process_max_fds",
            "Descriptors that may be open.",
            handles.as_ref().ok().and_then(|handles| Some(handles.max_descriptors? as f64)),
        ),
        gauge(
            "omnimind_disk_used_ratio",
            "Used part of the data directory's file system.",
            of(disk, |disk| disk.used_percent / 100.0),
        ),
        gauge("omnimind_disk_free_bytes", "Free bytes of it.", of(disk, |disk| disk.free_bytes as f64)),
        gauge("omnimind_disk_total_bytes", "All bytes of it.", of(disk, |disk| disk.total_bytes as f64)),
        Family::by(
            Kind::Counter,
            "omnimind_disk_read_bytes_total",
            "Bytes read from the data directory's device, or from all disks, by anybody.",
            "scope",
            moved(read),
        ),
        Family::by(
            Kind::Counter,
            "omnimind_disk_written_bytes_total",
            "Bytes written to the data directory's device, or to all disks, by anybody.",
            "scope",
            moved(written),
        ),
        gauge(
            "omnimind_disk_busy_ratio",
            "Share of the time in which the device had something to do.",
            of(io, |io| io.busy_percent / 100.0),
        ),
        gauge(
            "omnimind_wake_delay_seconds",
            "How much later than it asked a thread of the server was woken.",
            of(wake_delay_ms, |ms| ms / 1000.0),
        ),
    ]);
    families
}

fn of<T>(reading: &Reading<T>, figure: impl FnOnce(&T) -> f64) -> Option<f64> {
    reading.as_ref().ok().map(figure)
}

fn scope(scope: IoScope) -> &'static str {
    match scope {
        IoScope::Device => "device",
        IoScope::Machine => "machine",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::events::Update;

    #[tokio::test]
    async fn figures_are_told_while_somebody_listens() {
        let (bus, asked) = (Bus::default(), AtomicU32::new(0));
        let telling = every(Duration::from_millis(5), &bus, || json!(asked.fetch_add(1, Ordering::Relaxed)));
        let hearing = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(asked.load(Ordering::Relaxed), 0, "nobody listens");
            let mut listener = bus.listen();
            for number in 0..3 {
                let event = listener.recv().await.unwrap();
                assert!(
                    matches!(&event.update, Update::Metrics(figures) if *figures == json!(number)),
                    "{event:?}"
                );
                assert_eq!(event.tenant, None, "they are the machine's");
            }
        };
        tokio::select! {
            () = telling => {}
            () = hearing => {}
        }
    }
}
