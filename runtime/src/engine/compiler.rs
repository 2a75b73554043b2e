//! Compiles a component in a child process that can be killed.
//!
//! A compilation cannot be cancelled and Cranelift has no budget, so the only sound bound is a
//! process: its CPU time, address space and wall time grow with the bytes submitted, and when they
//! are used up it is gone, with everything it had allocated.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};

use super::refusal::{Code, Refusal};
use super::worker::{Compiled, Report};

/// The exit code of a Rust process that panicked.
const PANICKED: i32 = 101;

/// Most bytes of a worker's report that are read.
const MAX_REPORT_BYTES: u64 = 64 << 10;

/// What one compilation may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// Wall time: more than the CPU time, because a busy machine is nobody's fault.
    pub wall: Duration,
    /// Address space.
    pub memory_bytes: u64,
    /// Bytes of artefact.
    pub artefact_bytes: u64,
}

impl Allowance {
    /// 5 s of CPU and 3 s more for each MB, 90 s at most; 1 GiB and 96 bytes more for each byte; an
    /// artefact of 32 MiB and 16 times the bytes (docs/performance.md has what real components need).
    pub fn for_size(bytes: usize) -> Allowance {
        let bytes = bytes as u64;
        let cpu = Duration::from_millis((5_000 + bytes.saturating_mul(3) / 1_000).min(90_000));
        Allowance {
            cpu,
            wall: cpu * 10,
            memory_bytes: ((1 << 30) + bytes.saturating_mul(96)).min(6 << 30),
            artefact_bytes: (32 << 20) + bytes.saturating_mul(16),
        }
    }
}

/// How a compilation ended.
#[derive(Debug)]
pub enum Verdict {
    /// The artefact is in the file.
    Compiled(Compiled),
    /// Refused for what the bytes are: the same bytes will be refused again.
    Refused(Refusal),
    /// Refused for what happened: the same bytes may pass another time.
    Failed(Refusal),
}

/// Starts compile workers.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The `omnimind` binary.
    worker: PathBuf,
}

impl Compiler {
    /// A compiler that runs `worker compile-worker`.
    pub fn new(worker: PathBuf) -> Compiler {
        Compiler { worker }
    }

    /// Compiles `component` into `artefact`, which is empty. Blocks: not for an async thread.
    ///
    /// # Errors
    /// The machine's faults; what is wrong with the component is a [`Verdict`].
    pub fn compile(&self, component: &[u8], artefact: &File) -> std::io::Result<Verdict> {
        let allowance = Allowance::for_size(component.len());
        // A thread of its own, to its end: the worker's parent-death signal fires when the *thread*
        // that started it ends, and the threads of a blocking pool come and go.
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("compile".into())
                .spawn_scoped(scope, || self.attend(component, artefact, allowance))?
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("the compile thread panicked")))
        })
    }

    fn attend(&self, component: &[u8], artefact: &File, allowance: Allowance) -> std::io::Result<Verdict> {
        let mut input = memory_file("component")?;
        input.write_all(component)?;
        input.rewind()?;
        // Not a pipe: the worker must never wait for somebody to read.
        let mut report_file = memory_file("report")?;
        let mut child = Command::new(&self.worker)
            .arg("compile-worker")
            .args(["--cpu-seconds", &allowance.cpu.as_secs().max(1).to_string()])
            .args(["--memory-bytes", &allowance.memory_bytes.to_string()])
            .args(["--artefact-bytes", &allowance.artefact_bytes.to_string()])
            .env_clear()
            // One heap for all threads: glibc reserves 64 MiB of address space for each otherwise.
            .env("MALLOC_ARENA_MAX", "1")
            // Threads cost address space: what a component may need must not depend on the machine.
            .env("RAYON_NUM_THREADS", threads().to_string())
            .stdin(input)
            .stdout(artefact.try_clone()?)
            .stderr(report_file.try_clone()?)
            .spawn()?;
        let in_time = wait(&child, allowance.wall);
        if !matches!(in_time, Ok(true)) {
            child.kill()?;
        }
        let status = child.wait()?;
        let in_time = in_time?;
        let mut report = Vec::new();
        report_file.rewind()?;
        report_file.take(MAX_REPORT_BYTES).read_to_end(&mut report)?;
        Ok(verdict(status, &report, in_time, allowance))
    }
}

fn memory_file(name: &str) -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Waits for the child's end; false when `limit` is over before it.
fn wait(child: &Child, limit: Duration) -> std::io::Result<bool> {
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let limit = rustix::time::Timespec::try_from(limit).map_err(std::io::Error::other)?;
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            // A signal handler ran. Waiting anew is long, but never for ever: CPU time is bounded too.
            Err(Errno::INTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// Threads of one compilation.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8))
}

fn verdict(status: ExitStatus, report: &[u8], in_time: bool, allowance: Allowance) -> Verdict {
    if status.success() {
        return match serde_json::from_slice(report) {
            Ok(Report::Compiled(compiled)) => Verdict::Compiled(compiled),
            Ok(Report::Refused(refusal))
                if matches!(refusal.code, Code::Internal | Code::StorageUnavailable) =>
            {
                Verdict::Failed(refusal)
            }
            Ok(Report::Refused(refusal)) => Verdict::Refused(refusal),
            Err(error) => Verdict::Failed(Refusal::internal("reading the compile worker's report", error)),
        };
    }
    if !in_time {
        let seconds = allowance.wall.as_secs();
        let message = format!("compiling took longer than {seconds} s; the machine may be busy: try again");
        return Verdict::Failed(Refusal::new(Code::CompileTimeout, message));
    }
    let killed_by = |signal: Signal| status.signal() == Some(signal.as_raw());
    let refused = |code, message: String| Verdict::Refused(Refusal::new(code, message));
    if killed_by(Signal::XCPU) {
        let seconds = allowance.cpu.as_secs();
        refused(
            Code::CompileTimeout,
            format!(
                "compiling needs more than {seconds} s of CPU time, which is what a component of this size gets; split its largest functions"
            ),
        )
    } else if killed_by(Signal::ABORT) || killed_by(Signal::SEGV) {
        // Rust aborts when there is no memory, and a stack that is too small is a fault.
        let mib = allowance.memory_bytes >> 20;
        refused(
            Code::ComponentTooComplex,
            format!("compiling needs more memory ({mib} MiB) or stack than a component of this size gets"),
        )
    } else if killed_by(Signal::XFSZ) {
        let mib = allowance.artefact_bytes >> 20;
        refused(
            Code::ComponentTooComplex,
            format!(
                "the compiled code is larger than {mib} MiB, which is what a component of this size gets"
            ),
        )
    } else if status.code() == Some(PANICKED) {
        // The toolchain's crates assert what a hostile component can make false.
        let text = String::from_utf8_lossy(report);
        refused(
            Code::ComponentInvalid,
            format!("the compiler could not make sense of the component: {}", text.trim()),
        )
    } else {
        // Killed by somebody else, or not started: nothing that the bytes are to blame for.
        let text = String::from_utf8_lossy(report);
        Verdict::Failed(Refusal::internal("the compile worker", format!("{status} {}", text.trim())))
    }
}
