//! `omnimind serve`: the server, until it is told to end.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use super::settings::{self, Global, Overrides};
use super::terminal::note;
use super::{Exit, Failed, serving_file};
use crate::limits::Budget;
use crate::{app, telemetry};

const AFTER_HELP: &str = "\
Everything the server keeps is in the data directory; a second server on the same one is refused. On the
first start it makes DATA_DIR/credentials.json and, for curl, DATA_DIR/netrc. While it runs,
DATA_DIR/server.json tells `omnimind task` and `omnimind component` where it listens.

With server.tls.cert and server.tls.key in the configuration it speaks https: docs/operations.md.

SIGHUP, where it hangs on no terminal: it reads its configuration again, takes the certificate and the log's
level from it, and logs what is new, what stays as it was and why, and what waits for the next start. On a
terminal it ends.

SIGTERM or Ctrl-C: no new connections, running tasks and requests may finish for 10 s (--drain), what still
runs then is taken up again by the next start. A second signal does not wait.

Exit codes: 0 ended in order; 2 the configuration or the data directory cannot be used; 5 the runtime failed.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    overrides: Overrides,

    /// Seconds that requests and tasks may go on after a SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u32,

    /// End when standard input does: whoever started this is gone
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Ends this process in order once standard input does.
fn end_with_stdin() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
}

/// Starts and serves.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failed> {
    let loaded = settings::load(global, args.overrides.flags())?;
    settings::warn(&loaded);
    let read = {
        let (global, flags) = (global.clone(), args.overrides.flags());
        Arc::new(move || settings::load(&global, flags.clone()).map_err(|failed| failed.error))
    };
    let reload = app::Reload::new(loaded.settings, read);
    let mut config = loaded.config;
    config.server.drain = Duration::from_secs(args.drain.into());
    // Written to its end whatever ends this.
    let _log = telemetry::init(&config.logging).map_err(Failed::usage)?;
    let (mode, authentication) = (config.mode, config.authentication.enabled);
    let default = |budget: Budget| budget.display(config.limits.bounds(budget).default);
    let limits = [Budget::Fuel, Budget::WallMs, Budget::MemoryBytes]
        .map(|budget| format!("{} {}", budget.name(), default(budget)))
        .join(", ");
    let serving = app::start(config).map_err(|error| match app::may_pass(&error) {
        true => Failed::runtime(error),
        false => Failed::usage(error),
    })?;
    let _there = serving_file::announce(&serving.data_dir, &serving.url, serving.certificate.as_deref()).inspect_err(|error| {
        // On a full disk, say: everything else goes on, and so does this.
        tracing::warn!(%error, "DATA_DIR/server.json could not be written: clients have to be given --server");
    });
    let (address, dir) = (serving.address, serving.data_dir.display());
    let scheme = serving.scheme();
    note!("omnimind listens on {scheme}://{address}");
    note!("  data directory  {dir}");
    note!("  mode            {mode}: {} tasks at one time", serving.places);
    note!("  each task has   {limits}, if it does not say");
    match authentication {
        true => {
            note!("  credentials     {dir}/credentials.json (user {})", serving.user);
            // A log is kept, and read by others.
            match std::io::stderr().is_terminal() {
                true => {
                    let link = serving.sign_in_link().map_err(Failed::runtime)?;
                    note!("  in a browser    {link} (once, within 15 minutes)");
                }
                false => note!("  in a browser    `omnimind sign-in` makes a link"),
            }
        }
        false => note!("  credentials     none: whoever reaches {address} can do everything"),
    }
    let trust = serving.certificate.as_ref().map(|file| format!("--cacert '{}' ", file.display()));
    let curl = format!("curl {}", trust.unwrap_or_default());
    match serving.data_dir.join("netrc").exists() {
        true => note!("try it: {curl}--netrc-file '{dir}/netrc' {}/api/v1/health/", serving.url),
        // A password with blanks or quotes cannot stand in one.
        false => note!("try it: {curl}--user '{}' {}/api/v1/health/", serving.user, serving.url),
    }
    if args.while_stdin {
        std::thread::spawn(end_with_stdin);
    }
    serving.run(reload);
    Ok(Exit::Completed)
}
