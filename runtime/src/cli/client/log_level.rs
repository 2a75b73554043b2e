//! `omnimind log-level`: how much a server's own log says.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::settings::Global;
use super::super::terminal;
use super::connection::Content;
use super::table::shown;
use super::{Connection, Exit, Failed, ServerArgs, after_help, block_on};

const AFTER_HELP: &str = after_help!(
    "\
The levels; each says what those above it say, too:
  error     what does not work
  warning   what needs somebody's attention: all that mode prod says
  info      starts and ends, changes, and a line for each request: what modes dev and test say
  debug     connections that failed, and why
  trace     everything there is

It holds until the server ends, or reads its configuration again (SIGHUP); logging.level is for longer.
It is for the operator. The flag --log-level is another thing: the log of this command itself.

Examples:
  omnimind log-level
  omnimind log-level debug
"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// What it is to be from now on, until the server ends: error, warning, info, debug or trace
    level: Option<String>,
}

#[derive(Deserialize)]
struct Level {
    level: String,
}

/// Prints the level, after changing it if one is given.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failed> {
    let connection = Connection::of_command(&args.server, global)?;
    let path = ["api", "v1", "logging", "level"];
    block_on(async {
        let body = match &args.level {
            None => connection.get(&path, &[]).await?,
            Some(level) => {
                let bytes = json!({"level": level}).to_string().into();
                let content =
                    Content { media_type: "application/json".to_owned(), bytes, headers: Vec::new() };
                connection.send(Method::PUT, &path, &[], Some(content)).await?
            }
        };
        let Level { level } = connection.parse(&body)?;
        terminal::write_stdout(format!("{}\n", shown(&level)).as_bytes()).map_err(Failed::runtime)?;
        Ok(Exit::Completed)
    })
}
