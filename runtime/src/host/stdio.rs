//! Standard input, output and error of a guest: bounded, never blocking.
//!
//! wasmtime's `MemoryOutputPipe` ends a chatty guest (a full pipe is a closed one, and a Rust guest
//! panics when it prints). Here the log keeps its head and its tail, counts what it drops, and never
//! refuses; output above its limit ends the task, because half an output is none.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::Stop;
use crate::limits::{Budget, Ledger};
use crate::task::{Journal, Log};

/// Most bytes one call on a stream carries: what a guest may write without asking again.
const CHUNK: usize = 1 << 20;

/// Everything a program gets from, and gives to, its surroundings.
pub struct Stdio {
    /// Standard input.
    pub input: Arc<[u8]>,
    /// Where standard output goes: the output of a command, the log of a task.
    pub output: Option<OutputSink>,
    /// Where standard error goes.
    pub log: LogSink,
    /// Arguments, without the program's name.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// What the streams spend from.
    pub ledger: Arc<Ledger>,
}

impl Stdio {
    pub(super) fn install(&self, builder: &mut WasiCtxBuilder) {
        let ledger = &self.ledger;
        let position = Arc::new(Mutex::new(0));
        builder.stdin(Input { bytes: self.input.clone(), position, ledger: ledger.clone() });
        match &self.output {
            Some(output) => builder.stdout(Output { sink: output.clone(), ledger: ledger.clone() }),
            None => builder.stdout(Output { sink: self.log.clone(), ledger: ledger.clone() }),
        };
        builder.stderr(Output { sink: self.log.clone(), ledger: ledger.clone() });
    }
}

/// Standard input: the task's input, read once whatever the number of handles on it.
#[derive(Clone)]
struct Input {
    bytes: Arc<[u8]>,
    position: Arc<Mutex<usize>>,
    ledger: Arc<Ledger>,
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    // Only WASI 0.3 asks for this one, and it is not linked.
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut position = self.position.lock();
        let rest = self.bytes.get(*position..).unwrap_or_default();
        if rest.is_empty() {
            return Err(StreamError::Closed);
        }
        let chunk = rest.get(..size.min(CHUNK)).unwrap_or(rest);
        spend(&self.ledger, Budget::HostCallBytes, chunk.len())?;
        *position += chunk.len();
        Ok(Bytes::copy_from_slice(chunk))
    }
}

/// Takes what a guest writes.
trait Sink: Clone + Send + Sync + 'static {
    fn accept(&self, bytes: &[u8]) -> StreamResult<()>;
}

/// A command's standard output: kept whole, up to `output_bytes`.
#[derive(Clone)]
pub struct OutputSink {
    bytes: Arc<Mutex<Vec<u8>>>,
    ledger: Arc<Ledger>,
}

impl OutputSink {
    /// An empty one that spends from `ledger`.
    pub fn new(ledger: Arc<Ledger>) -> OutputSink {
        OutputSink { bytes: Arc::default(), ledger }
    }

    /// What was written.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.lock())
    }
}

impl Sink for OutputSink {
    fn accept(&self, bytes: &[u8]) -> StreamResult<()> {
        spend(&self.ledger, Budget::OutputBytes, bytes.len())?;
        self.bytes.lock().extend_from_slice(bytes);
        Ok(())
    }
}

/// The log: its head and its tail, up to `log_bytes` together.
#[derive(Clone)]
pub struct LogSink(Arc<LogState>);

struct LogState {
    ledger: Arc<Ledger>,
    journal: Arc<dyn Journal>,
    /// Half of the limit for each end.
    half: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl LogSink {
    /// An empty log that tells `journal` of its head as it is written.
    pub fn new(ledger: Arc<Ledger>, journal: Arc<dyn Journal>) -> LogSink {
        let half = usize::try_from(ledger.limits().get(Budget::LogBytes) / 2).unwrap_or(usize::MAX);
        LogSink(Arc::new(LogState { ledger, journal, half, kept: Mutex::default() }))
    }

    /// What was kept.
    pub fn take(&self) -> Log {
        let Kept { head, tail, dropped } = std::mem::take(&mut *self.0.kept.lock());
        Log { head, tail: tail.into(), dropped }
    }
}

impl Sink for LogSink {
    fn accept(&self, bytes: &[u8]) -> StreamResult<()> {
        let LogState { ledger, journal, half, kept } = &*self.0;
        let mut kept = kept.lock();
        let room = half.saturating_sub(kept.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        kept.head.extend_from_slice(head);
        // Only the last half of a long piece can stay: no need to push the rest through the ring.
        let skipped = rest.len().saturating_sub(*half);
        kept.tail.extend(rest.iter().skip(skipped));
        let excess = kept.tail.len().saturating_sub(*half);
        kept.tail.drain(..excess);
        kept.dropped += (skipped + excess) as u64;
        ledger.record(Budget::LogBytes, (kept.head.len() + kept.tail.len()) as u64);
        drop(kept);
        if !head.is_empty() {
            journal.log(head);
        }
        Ok(())
    }
}

/// A guest's end of a sink.
#[derive(Clone)]
struct Output<S> {
    sink: S,
    ledger: Arc<Ledger>,
}

impl<S> IsTerminal for Output<S> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<S: Sink> StdoutStream for Output<S> {
    // Only WASI 0.3 asks for this one, and it is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl<S: Sink> Pollable for Output<S> {
    async fn ready(&mut self) {}
}

impl<S: Sink> OutputStream for Output<S> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        spend(&self.ledger, Budget::HostCallBytes, bytes.len())?;
        self.sink.accept(&bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }

    fn write_zeroes(&mut self, count: usize) -> StreamResult<()> {
        if count > CHUNK {
            let (asked, limit) = (count as u64, CHUNK as u64);
            return Err(StreamError::Trap(Stop::TooMuchAtOnce { what: "zeroes", asked, limit }.into()));
        }
        self.write(Bytes::from(vec![0; count]))
    }
}

fn spend(ledger: &Ledger, budget: Budget, bytes: usize) -> StreamResult<()> {
    ledger.spend(budget, bytes as u64).map_err(|exhausted| StreamError::Trap(Stop::from(exhausted).into()))
}
