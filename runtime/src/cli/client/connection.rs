//! The way to a server: which one, and requests to it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use reqwest::{Method, Response, Url};
use serde::de::DeserializeOwned;

use super::super::Failed;
use super::super::serving_file::{self, Running};
use super::super::settings::{self, Global};
use super::credentials::{self, Secret, Server};
use super::error::{Error, Problem};
use super::table::shown;
use super::trust;
use crate::config::Credentials;

/// Where a server is, where nobody says another place.
const DEFAULT_URL: &str = "http://127.0.0.1:8000";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest silence. A server compiles for up to a minute before it answers, and waits as long for a task.
const SILENCE: Duration = Duration::from_secs(120);

/// Which server, and who asks.
#[derive(Debug, Default, clap::Args)]
pub struct ServerArgs {
    /// The server's URL [default: the one that runs on the data directory, else http://127.0.0.1:8000]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,

    /// A file like DATA_DIR/credentials.json, to be sent to this server wherever it is
    #[arg(long, global = true, value_name = "FILE")]
    credentials: Option<PathBuf>,

    /// Certificates in PEM to know an https server by, its own or its issuer's [default: of the server that runs
    /// on the data directory its own, else the system's]
    #[arg(long, global = true, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// What is known without being said: of the data directory, and of the environment.
#[derive(Debug)]
pub struct Here {
    /// Where a server of this user keeps everything.
    pub data_dir: PathBuf,
    /// `OMNIMIND_URL`
    pub url: Option<String>,
    /// `OMNIMIND_TOKEN`, else `OMNIMIND_DASHBOARD_USER` and `OMNIMIND_DASHBOARD_PASS`
    pub secret: Option<Secret>,
}

impl Here {
    /// What this process was started with.
    ///
    /// # Errors
    /// The configuration has mistakes.
    pub fn find(global: &Global) -> Result<Here, Failed> {
        let config = settings::load_quietly(global, Vec::new())?.config;
        let given = config.authentication.credentials;
        let pair = given.map(|Credentials { user, password }| Secret::Pair(user, password));
        let secret = settings::token()?.map(Secret::Token).or(pair);
        Ok(Here { data_dir: config.data_dir, url: settings::url(), secret })
    }
}

/// A server that can be asked.
#[derive(Debug)]
pub struct Connection {
    client: reqwest::Client,
    /// Without credentials: it is shown.
    base: Url,
    credentials: credentials::Found,
    /// What a command that is advised needs too, to mean the same server.
    flags: String,
}

/// What a request carries.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: bytes::Bytes,
    /// Headers besides.
    pub headers: Vec<(&'static str, String)>,
}

impl Connection {
    /// Finds the server and the credentials for it. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL or the credentials cannot be used.
    pub fn find(args: &ServerArgs, here: &Here) -> Result<Connection, Failed> {
        let Here { data_dir, url, secret } = here;
        let running = serving_file::running(data_dir);
        let of_data_dir = |Running { url, cacert }| (url, Server::OfDataDir, cacert);
        let (url, server, own) = match (args.server.as_ref().or(url.as_ref()), running) {
            (Some(given), Some(running)) if is_same(given, &running.url) => of_data_dir(running),
            (Some(given), _) => (given.clone(), Server::Given, None),
            (None, Some(running)) => of_data_dir(running),
            (None, None) => (DEFAULT_URL.to_owned(), Server::Default, None),
        };
        let mut base = parse(&url).map_err(Failed::usage)?;
        let file = args.credentials.as_deref();
        let credentials = credentials::find(file, secret.clone(), &base, server, data_dir)?;
        // They go into a header, and never into a message.
        let _ = base.set_username("");
        let _ = base.set_password(None);
        let trusted = args.cacert.as_ref().or(own.as_ref()).map(PathBuf::as_path);
        let tls = trust::settings(trusted, base.scheme() == "https").map_err(Failed::usage)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("omnimind/", env!("CARGO_PKG_VERSION")))
            // A proxy or another place would get the password.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .build()
            .map_err(Failed::runtime)?;
        Ok(Connection { client, base, credentials, flags: String::new() })
    }

    /// The same for a command that was given these flags, which its advice repeats.
    ///
    /// # Errors
    /// As [`Connection::find`], or the configuration has mistakes.
    pub fn of_command(args: &ServerArgs, global: &Global) -> Result<Connection, Failed> {
        Connection::with_flags(args, global, &Here::find(global)?)
    }

    /// The same where there is a server: one that is named, or one that runs on the data directory.
    ///
    /// # Errors
    /// As [`Connection::of_command`].
    pub fn if_there(args: &ServerArgs, global: &Global) -> Result<Option<Connection>, Failed> {
        let here = Here::find(global)?;
        let named = args.server.is_some() || here.url.is_some();
        match named || serving_file::running(&here.data_dir).is_some() {
            true => Connection::with_flags(args, global, &here).map(Some),
            false => Ok(None),
        }
    }

    fn with_flags(args: &ServerArgs, global: &Global, here: &Here) -> Result<Connection, Failed> {
        let mut connection = Connection::find(args, here)?;
        let mut flags: Vec<(&str, String)> =
            global.places().map(|(name, place)| (name, place.to_string_lossy().into_owned())).collect();
        // A password in it is for whoever typed it.
        flags.extend(args.server.as_ref().map(|_| ("--server", connection.url().to_owned())));
        flags.extend(args.cacert.iter().map(|file| ("--cacert", file.display().to_string())));
        flags.extend(args.credentials.iter().map(|file| ("--credentials", file.display().to_string())));
        connection.flags = flags.iter().map(|(name, value)| format!(" {name} {}", quoted(value))).collect();
        Ok(connection)
    }

    /// The flags that lead a command to the same server, each after a blank.
    pub fn flags(&self) -> &str {
        &self.flags
    }

    /// The server's URL, as it may be shown.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A good answer to a request; its body is still to come.
    ///
    /// # Errors
    /// There is none.
    pub async fn open(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        content: Option<Content>,
    ) -> Result<Response, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        request = match &self.credentials.secret {
            Some(Secret::Pair(user, password)) => request.basic_auth(user, Some(password)),
            Some(Secret::Token(token)) => request.bearer_auth(token),
            None => request,
        };
        if let Some(Content { media_type, bytes, headers }) = content {
            request = request.body(bytes);
            if !media_type.is_empty() {
                request = request.header("content-type", media_type);
            }
            for (name, value) in headers {
                request = request.header(name, value);
            }
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.problem(response).await),
        }
    }

    /// The same with the body of the answer.
    ///
    /// # Errors
    /// There is no good answer, or not all of it.
    pub async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        content: Option<Content>,
    ) -> Result<Vec<u8>, Error> {
        let response = self.open(method, path, query, content).await?;
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        Ok(body.into())
    }

    /// `GET`, with the body of the answer.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
        self.send(Method::GET, path, query, None).await
    }

    /// Reads the JSON of an answer.
    ///
    /// # Errors
    /// It is of another shape.
    pub fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| self.strange(error))
    }

    /// An answer that makes no sense here.
    pub fn strange(&self, what: impl ToString) -> Error {
        Error::Strange { url: self.url().to_owned(), what: what.to_string() }
    }

    /// A connection that failed.
    pub fn unreachable(&self, error: &reqwest::Error) -> Error {
        // The innermost cause is what the system said.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let url = self.url().to_owned();
        if let Some(why) = trust::distrust(cause) {
            return Error::Untrusted { url, why };
        }
        let why = if error.is_timeout() { "it takes too long".to_owned() } else { cause.to_string() };
        Error::Unreachable { url, why, connected: !error.is_connect() }
    }

    async fn problem(&self, response: Response) -> Error {
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(mut problem) => {
                problem.status = status;
                problem.credentials.clone_from(&self.credentials.explanation);
                Error::Problem(problem)
            }
            Err(_) => self.strange(format!("status {status} without a reason")),
        }
    }
}

/// Whether two URLs lead to the same server, as far as can be told from them alone.
fn is_same(one: &str, other: &str) -> bool {
    let key = |text: &str| {
        let url = parse(text).ok()?;
        // With credentials of its own it is not ours to complete.
        let plain = url.username().is_empty() && url.path() == "/";
        let host = url.host_str()?.replace("localhost", "127.0.0.1");
        plain.then(|| (host, url.port_or_known_default()))
    };
    key(one).is_some() && key(one) == key(other)
}

fn parse(text: &str) -> anyhow::Result<Url> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    // The text itself is not repeated: it may have a password in it.
    let wrong = |why: &str| anyhow!("--server: {why}; a server's URL is like http://127.0.0.1:8000");
    let mut url: Url = whole.parse().map_err(|error| wrong(&format!("{error}")))?;
    match url.scheme() {
        "http" | "https" => {}
        _ => return Err(wrong("it does not begin with http:// or https://")),
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:=@%+,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", shown(word).replace('\'', "'\\''")),
    }
}

/// One part of a path, as a person gave it.
///
/// # Errors
/// It would lead elsewhere.
pub fn segment<'a>(what: &str, given: &'a str) -> Result<&'a str, Failed> {
    match given.is_empty() || given.starts_with('.') || given.chars().any(char::is_control) {
        true => Err(Failed::usage(anyhow!("`{}` is no {what}", given.escape_debug()))),
        false => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_given() {
        for (word, quote) in
            [("/a/b-1", "/a/b-1"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("$A", "'$A'"), ("", "''")]
        {
            assert_eq!(quoted(word), quote);
        }
    }

    #[test]
    fn what_a_server_may_be_called() {
        for (given, url) in [
            ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("http://host/path/?q#f", "http://host/path/"),
            ("localhost", "http://localhost/"),
            ("https://host:8443", "https://host:8443/"),
        ] {
            assert_eq!(parse(given).unwrap().as_str(), url, "{given}");
        }
        for wrong in ["", "ftp://host", "http://", "http://me:secret@:80"] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains("http://127.0.0.1:8000") && !said.contains("secret"), "{wrong}: {said}");
        }
    }
}
