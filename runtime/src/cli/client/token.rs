//! `omnimind token`: what people other than the operator come in with.

use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::settings::{self, Global};
use super::super::terminal::{self, note};
use super::connection::{Content, segment};
use super::table::{self, age, shown};
use super::{Connection, Exit, Failed, ServerArgs, after_help, block_on};
use crate::task::{Grants, Misfit, Object};
use crate::task_store::DataDir;
use crate::tenants::{self, New, Tokens};

const AFTER_HELP: &str = after_help!(
    "\
A token leads to a tenant, who sees and runs what is theirs alone. It is told once: on standard output.
Where no server runs, it is written into the data directory for the next one.

Examples:
  omnimind token create --tenant acme --expires 30d --share 50 --rate 600 > acme.token
  omnimind token create --tenant acme --grants '{\"embedding\": true, \"inference\": [\"phi:latest\"]}'
  omnimind token create --tenant acme --print      (a line for authentication.tokens: docs/api.md has one)
  omnimind token list
  omnimind token revoke 0123456789abcdef
  OMNIMIND_TOKEN=$(cat acme.token) omnimind task list --server http://127.0.0.1:8000
"
);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token, and print it
    #[command(after_help = AFTER_HELP)]
    Create(Create),
    /// List tokens; not the secrets, which nobody has
    #[command(after_help = AFTER_HELP)]
    List {
        /// Print the JSON of `GET /api/tokens/`
        #[arg(long)]
        json: bool,
    },
    /// Take tokens back: nobody comes in with them any more
    #[command(after_help = AFTER_HELP)]
    Revoke {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Whose things it leads to; `default` operates the machine
    #[arg(long)]
    tenant: String,

    /// For people: who has it, and what for
    #[arg(long)]
    description: Option<String>,

    /// How long it is good, e.g. 30d, 12h or 90m [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires: Option<Duration>,

    /// Requests in a minute that may come with it [default: as rate_limiting says]
    #[arg(long, value_name = "PER_MINUTE")]
    rate: Option<u32>,

    /// Percent of the places and compute slots that the tenant may hold [default: 100]
    #[arg(long, value_name = "PERCENT")]
    share: Option<u8>,

    /// What its tasks may use, as JSON [default: what the mode allows]
    #[arg(long, value_name = "JSON", value_parser = grants)]
    grants: Option<Grants>,

    /// Print the line for `authentication.tokens` too, and keep nothing
    #[arg(long)]
    print: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "a time like 30d, 12h or 90m".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "d" => 24 * 3600,
        "h" => 3600,
        "m" => 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

fn grants(text: &str) -> Result<Grants, String> {
    let Object(grants): Object<Grants> = Misfit::read(text.as_bytes()).map_err(|error| error.to_string())?;
    grants.check().map_err(|error| error.to_string())?;
    Ok(grants)
}

/// The answer of `GET /api/tokens/`, and what it says where there is no server.
#[derive(Debug, Deserialize)]
struct List {
    tokens: Vec<Shown>,
}

#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    tenant: String,
    description: Option<String>,
    created_at: Option<String>,
    expires_at: Option<String>,
    requests_per_minute: Option<u32>,
    share: Option<u8>,
    expired: bool,
    configured: bool,
    token: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failed> {
    let connection = Connection::if_there(&args.server, global)?;
    match (args.command, connection) {
        (Command::Create(create), _) if create.print => print(create),
        (Command::Create(create), None) => {
            let (token, secret) = kept(global)?.create(wish(create)?).map_err(failed)?;
            tell(&token.id, &token.tenant, &secret)
        }
        (Command::Create(create), Some(connection)) => {
            let bytes = serde_json::to_vec(&wish(create)?).map_err(Failed::runtime)?;
            let content = Content {
                media_type: "application/json".to_owned(),
                bytes: bytes.into(),
                headers: Vec::new(),
            };
            let body = block_on_send(&connection, Method::POST, &["api", "tokens", ""], Some(content))?;
            let made: Shown = connection.parse(&body).map_err(Failed::from)?;
            let secret = made.token.ok_or_else(|| Failed::from(connection.strange("no token in it")))?;
            tell(&made.id, &made.tenant, &secret)
        }
        (Command::List { json }, connection) => {
            let body = match &connection {
                Some(connection) => block_on_send(connection, Method::GET, &["api", "tokens", ""], None)?,
                None => {
                    let tokens: Vec<_> = kept(global)?.list().iter().map(|token| token.shown()).collect();
                    json!({"tokens": tokens}).to_string().into_bytes()
                }
            };
            match (json, connection) {
                (true, _) => table::print_json(&body).map_err(Failed::runtime).map(|()| Exit::Completed),
                (false, Some(connection)) => rows(&connection.parse::<List>(&body)?.tokens),
                (false, None) => {
                    rows(&serde_json::from_slice::<List>(&body).map_err(Failed::runtime)?.tokens)
                }
            }
        }
        (Command::Revoke { ids }, None) => {
            let tokens = kept(global)?;
            for id in ids {
                tokens.revoke(&id).map_err(failed)?;
                note!("revoked {}", tenants::id_of(&id));
            }
            Ok(Exit::Completed)
        }
        (Command::Revoke { ids }, Some(connection)) => {
            for id in ids {
                let id = segment("token's id", tenants::id_of(&id))?;
                block_on_send(&connection, Method::DELETE, &["api", "tokens", id], None)?;
                note!("revoked {}", shown(id));
            }
            Ok(Exit::Completed)
        }
    }
}

/// What is kept where no server runs; the lock keeps one from starting meanwhile.
fn kept(global: &Global) -> Result<Kept, Failed> {
    let config = settings::load(global, Vec::new())?.config;
    let dir = DataDir::open(&config.data_dir).map_err(Failed::usage)?;
    let tokens = Tokens::open(dir.path(), &config.authentication.tokens).map_err(Failed::usage)?;
    Ok(Kept { tokens, _dir: dir })
}

struct Kept {
    tokens: Tokens,
    _dir: DataDir,
}

impl std::ops::Deref for Kept {
    type Target = Tokens;

    fn deref(&self) -> &Tokens {
        &self.tokens
    }
}

fn failed(error: tenants::Error) -> Failed {
    match error {
        tenants::Error::Unknown(_) => Failed { exit: Exit::NotFound, error: error.into() },
        tenants::Error::Configured(_) | tenants::Error::TooMany => {
            Failed { exit: Exit::Conflict, error: error.into() }
        }
        tenants::Error::Invalid(_) => Failed::usage(error),
        tenants::Error::Unwritten(_) | tenants::Error::Impossible(_) => Failed::runtime(error),
    }
}

fn wish(create: Create) -> Result<New, Failed> {
    let Create { tenant, description, expires, rate, share, grants, print: _ } = create;
    let expires_at = expires.map(|time| Timestamp::now().checked_add(time)).transpose();
    let expires_at = expires_at.map_err(|_| Failed::usage(anyhow!("--expires: too far away")))?;
    Ok(New { tenant, description, expires_at, requests_per_minute: rate, share, grants })
}

/// A token that stands in the configuration, and is kept nowhere else.
fn print(create: Create) -> Result<Exit, Failed> {
    let (line, secret) = tenants::for_configuration(wish(create)?).map_err(failed)?;
    note!("for omnimind.yaml, below authentication.tokens:");
    note!("  - {line}");
    terminal::write_stdout(format!("{secret}\n").as_bytes()).map_err(Failed::runtime)?;
    Ok(Exit::Completed)
}

fn tell(id: &str, tenant: &str, secret: &str) -> Result<Exit, Failed> {
    terminal::write_stdout(format!("{}\n", shown(secret)).as_bytes()).map_err(Failed::runtime)?;
    note!("token {} of tenant {}: it is not shown again", shown(id), shown(tenant));
    note!("use it: curl -H \"Authorization: Bearer TOKEN\" …, or OMNIMIND_TOKEN with `omnimind task`");
    Ok(Exit::Completed)
}

fn rows(tokens: &[Shown]) -> Result<Exit, Failed> {
    let row = |token: &Shown| {
        let until = match (&token.expires_at, token.expired) {
            (_, true) => "expired".to_owned(),
            (Some(until), false) => shown(until),
            (None, false) => "never".to_owned(),
        };
        let from = if token.configured { "configured".to_owned() } else { String::new() };
        vec![
            shown(&token.id),
            shown(&token.tenant),
            token.share.map_or("-".to_owned(), |share| format!("{share} %")),
            token.requests_per_minute.map_or("-".to_owned(), |rate| rate.to_string()),
            until,
            token.created_at.as_deref().map_or(from, age),
            shown(token.description.as_deref().unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    let head = ["ID", "TENANT", "SHARE", "PER MINUTE", "EXPIRES", "AGE", "DESCRIPTION"];
    table::print(&head, &rows, 6).map_err(Failed::runtime)?;
    if rows.is_empty() {
        note!("there is none: omnimind token create --tenant NAME");
    }
    Ok(Exit::Completed)
}

fn block_on_send(
    connection: &Connection,
    method: Method,
    path: &[&str],
    content: Option<Content>,
) -> Result<Vec<u8>, Failed> {
    let mut sent = Vec::new();
    block_on(async {
        sent = connection.send(method, path, &[], content).await?;
        Ok(Exit::Completed)
    })?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("30d"), Ok(Duration::from_secs(30 * 24 * 3600)));
        for wrong in ["", "30", "d", "0d", "-1d", "1.5h", "99999999999999999999d", "ä"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
