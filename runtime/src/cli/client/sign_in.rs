//! `omnimind sign-in`: a link that signs one browser in.

use reqwest::Method;
use serde::Deserialize;

use super::super::settings::Global;
use super::super::terminal;
use super::table::shown;
use super::{Connection, Exit, Failed, ServerArgs, block_on};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Deserialize)]
struct Link {
    path: String,
}

/// Prints the link.
pub fn run(args: &Args, global: &Global) -> Result<Exit, Failed> {
    let connection = Connection::of_command(&args.server, global)?;
    block_on(async {
        let body = connection.send(Method::POST, &["api", "sign-in"], &[], None).await?;
        let Link { path } = connection.parse(&body)?;
        let link = format!("{}{}\n", connection.url(), shown(&path));
        terminal::write_stdout(link.as_bytes()).map_err(Failed::runtime)?;
        Ok(Exit::Completed)
    })
}
