//! Which name and password go to which server.
//!
//! The file in the data directory belongs to the server that has that directory. Its password goes nowhere
//! else by itself: not to another machine, and not to whatever happens to listen on the usual port.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use reqwest::Url;
use serde::Deserialize;

use super::super::Failed;

/// What a request shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A name and a password.
    Pair(String, String),
    /// A token.
    Token(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret, and where it is from.
#[derive(Debug)]
pub struct Found {
    /// Nothing is sent where there is none.
    pub secret: Option<Secret>,
    /// How the answer to a `401` goes on.
    pub explanation: String,
}

/// How the server was found, which decides whether it gets what is in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// By `--server` or `OMNIMIND_URL`.
    Given,
    /// It has the data directory, and lives.
    OfDataDir,
    /// Nothing was known; it is where one usually is.
    Default,
}

#[derive(Deserialize)]
struct Stored {
    user: String,
    password: String,
}

/// The credentials for `url`, which itself may have some.
pub fn find(
    file: Option<&Path>,
    environment: Option<Secret>,
    url: &Url,
    server: Server,
    data_dir: &Path,
) -> Result<Found, Failed> {
    let found = |secret, explanation: String| Ok(Found { secret: Some(secret), explanation });
    if let Some(file) = file {
        let pair = read(file).map_err(Failed::usage)?;
        return found(pair, format!("; they were those in {}", file.display()));
    }
    if !url.username().is_empty() {
        let pair = Secret::Pair(decoded(url.username()), decoded(url.password().unwrap_or_default()));
        return found(pair, "; they were those in the URL".to_owned());
    }
    if let Some(secret) = environment
        && server != Server::Default
    {
        let names = match secret {
            Secret::Pair(..) => "OMNIMIND_DASHBOARD_USER and OMNIMIND_DASHBOARD_PASS",
            Secret::Token(_) => "OMNIMIND_TOKEN",
        };
        return found(secret, format!("; they were those in {names}"));
    }
    let stored: PathBuf = data_dir.join("credentials.json");
    let shown = stored.display();
    if server == Server::Default {
        return Ok(Found {
            secret: None,
            explanation: format!(
                "; no server runs on {}, so this one was sent no credentials: give the server's --data-dir, or --server {url} if it is meant",
                data_dir.display()
            ),
        });
    }
    if server == Server::Given {
        return Ok(Found {
            secret: None,
            explanation: format!(
                "; those in {shown} are for the server that runs on that directory, and are not sent to another one by themselves: give --data-dir or --credentials FILE, or set OMNIMIND_TOKEN, or OMNIMIND_DASHBOARD_USER and OMNIMIND_DASHBOARD_PASS"
            ),
        });
    }
    match stored.exists() {
        true => found(
            read(&stored).map_err(Failed::usage)?,
            format!(
                "; they were those in {shown}: give --data-dir the directory of this server, or --credentials FILE"
            ),
        ),
        false => Ok(Found {
            secret: None,
            explanation: format!(
                "; none were sent, because there is no {shown}: give --data-dir the directory of this server, or --credentials FILE"
            ),
        }),
    }
}

fn read(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read(file).with_context(|| format!("credentials: {}", file.display()))?;
    let Stored { user, password } = serde_json::from_slice(&text)
        .map_err(|_| anyhow!("{} is not {{\"user\": …, \"password\": …}}", file.display()))?;
    Ok(Secret::Pair(user, password))
}

/// Undoes the percent signs of a URL's user or password.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hex = rest.strip_prefix('%').and_then(|rest| rest.get(..2));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                bytes.extend(first.to_string().bytes());
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(url: &str, server: Server, dir: &Path) -> Option<Secret> {
        find(None, None, &url.parse().unwrap(), server, dir).unwrap().secret
    }

    #[test]
    fn the_file_in_the_data_directory_is_for_the_server_that_has_it() {
        let dir = std::env::temp_dir().join(format!("omnimind-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("credentials.json"), r#"{"user": "me", "password": "secret"}"#).unwrap();
        assert!(pair("http://10.0.0.1", Server::OfDataDir, &dir).is_some());
        for url in ["http://127.0.0.1:9", "http://localhost:9", "http://10.0.0.1"] {
            assert_eq!(pair(url, Server::Given, &dir), None, "{url}");
        }
        let anybody: Url = "http://127.0.0.1:8000".parse().unwrap();
        let environment = Some(Secret::Pair("me".to_owned(), "secret".to_owned()));
        for environment in [None, environment.clone()] {
            let found = find(None, environment, &anybody, Server::Default, &dir).unwrap();
            assert_eq!(found.secret, None, "whoever listens on the usual port");
        }
        assert!(find(None, environment, &anybody, Server::Given, &dir).unwrap().secret.is_some());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_url_has_its_own() {
        let with = pair("http://a%40b:p%3Aw%C3%BC%25@10.0.0.1", Server::Given, Path::new("/nowhere"));
        assert_eq!(with, Some(Secret::Pair("a@b".to_owned(), "p:wü%".to_owned())));
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}
