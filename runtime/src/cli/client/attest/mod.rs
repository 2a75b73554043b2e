//! `omnimind attest`: the hostile guests against a live server, each limit from both sides.

mod pairs;
mod report;
mod runner;
mod verdict;

use std::io::IsTerminal;
use std::time::Instant;

use anyhow::anyhow;

use super::super::settings::Global;
use super::super::terminal::{self, note};
use super::own_server::OwnServer;
use super::{Connection, Exit, Failed, ServerArgs, block_on, table};
use crate::app::Stop;
use crate::limits::Mode;
use crate::server::Verdict;
use report::Report;
use runner::{Known, Runner};

const AFTER_HELP: &str = "\
Each limit is attacked by guests that are inside of this binary, and each attack has a twin: the same guest
under the same limit, told to take as much as it may. A limit holds where every attack on it was stopped by
it, every twin completed, and no receipt shows more than the limit and what docs/limits.md allows above it
(250 ms of wall_ms by the receipt, 1 s by this command's clock; 64 KiB of output). `cancel` is how fast a
task ends that a client cancels: 100 ms, and 250 ms for the answer.

The server is --server or $OMNIMIND_URL, else the one that runs on the data directory. Where none does, attest
starts one of its own in --mode (dev), with the limits that are shipped, and ends it. The server keeps the
report: GET /api/v1/limits, and in mode prod its health is degraded until there is one. What is left behind
are some fifty finished tasks, called attest. It takes seconds, and a quiet machine.

Examples:
  omnimind attest
  omnimind attest --mode prod
  omnimind attest --server http://127.0.0.1:8000 --json

Exit codes:
    0  every limit holds
    1  one does not, or is not proven
    2  the command line is wrong, or the server is in another mode than --mode
    5  the runtime failed, or a server of its own does not start
    6  the server cannot be reached, or was lost
    7  the server does not accept the credentials
   10  the server takes nothing now (429, 503, 507): try again later
  130  Ctrl-C";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// The mode that the server has to be in, or that one of attest's own is started in: dev, test or prod
    #[arg(long)]
    mode: Option<Mode>,

    /// Print the whole report as one JSON document
    #[arg(long)]
    json: bool,
}

/// Attacks, prints what came of it, and has the server keep it.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failed> {
    let there = Connection::if_there(&args.server, global)?;
    block_on(async {
        let mut stop = Stop::new().map_err(Failed::runtime)?;
        let attested = async {
            if let Some(connection) = there {
                return attest(&connection, args).await;
            }
            let mode = args.mode.unwrap_or_default();
            note!("no server runs here: attest starts one of its own, in mode {mode}");
            let own = OwnServer::start("attest", mode).await?;
            attest(&own.connection()?, args).await
        };
        tokio::select! {
            exit = attested => exit,
            () = stop.asked() => Ok(Exit::Cancelled),
        }
    })
}

async fn attest(connection: &Connection, args: &Args) -> Result<Exit, Failed> {
    let known: Known = connection.parse(&connection.get(&["api", "v1", "limits"], &[]).await?)?;
    if let Some(mode) = args.mode.filter(|mode| mode.name() != known.mode) {
        return Err(Failed::usage(anyhow!(
            "the server at {} is in mode {}, not {mode}: leave --mode out to attest it as it is, or start one with `omnimind serve --mode {mode}`",
            connection.url(),
            table::shown(&known.mode),
        )));
    }
    if std::io::stderr().is_terminal() {
        note!("attacking {} (mode {}) …", connection.url(), table::shown(&known.mode));
    }
    let begun = Instant::now();
    let judged = Runner::new(connection, &known).run().await?;
    let mut report = Report::new(connection.url(), known, judged, begun.elapsed());
    // Kept whatever it says: a limit that fails is for the server's health to tell.
    report.machine = report.send(connection).await?;
    match args.json {
        true => terminal::print_json(&report).map_err(Failed::runtime)?,
        false => report.print().map_err(Failed::runtime)?,
    }
    Ok(match report.verdict {
        Verdict::Holds => Exit::Completed,
        Verdict::Unproven | Verdict::Fails => Exit::TaskFailed,
    })
}
