//! One file of a model: where it is, how far it is there, and whether it is what it ought to be.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

use super::super::client::progress::Progress;
use super::super::client::table::size;
use super::super::client::trust;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest silence.
const SILENCE: Duration = Duration::from_secs(60);

/// Places that one file is looked for at: Hugging Face answers where its store has it.
const MAX_REDIRECTS: usize = 5;

/// More than any file of a model that would run here.
const MAX_BYTES: u64 = 64 << 30;

/// What is tried again: a connection that broke in the middle.
const ATTEMPTS: usize = 5;

/// A model on a server.
#[derive(Debug)]
pub struct Source {
    client: Client,
    /// With a slash at its end.
    base: Url,
}

/// A file that is to be there.
pub struct Download<'a> {
    /// Where from.
    pub source: &'a Source,
    /// Its name.
    pub file: &'a str,
    /// Where it is to be.
    pub to: &'a Path,
    /// Its SHA-256, if somebody knows it better than the server.
    pub sum: Option<&'a String>,
}

impl Source {
    /// The model `name` on the server at `from`.
    ///
    /// # Errors
    /// That is no URL, or there is nothing to know an https server by.
    pub fn new(from: &str, name: &str, revision: &str, cacert: Option<&Path>) -> anyhow::Result<Source> {
        let mut base = Url::parse(from).with_context(|| format!("--from {from}"))?;
        if !matches!(base.scheme(), "http" | "https") {
            bail!("--from {from}: it is an http or https URL");
        }
        base.path_segments_mut()
            .map_err(|()| anyhow!("--from {from}: it is an http or https URL"))?
            .pop_if_empty()
            .extend(name.split('/'))
            .extend(["resolve", revision, ""]);
        // Where a redirect leads may be https even if this is not.
        let tls = trust::settings(cacert, base.scheme() == "https")?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("omnimind/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .build()?;
        Ok(Source { client, base })
    }

    /// Asks for a file from byte `from` on; the answer, and the sum that the first server told of.
    async fn get(&self, file: &str, from: u64) -> anyhow::Result<(Response, Option<String>)> {
        let mut url = self.base.join(file)?;
        let mut sum = None;
        for _ in 0..=MAX_REDIRECTS {
            // As it is: a sum is of that, and so is a range.
            let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await?;
            sum = sum.or_else(|| sum_of(response.headers()));
            if !response.status().is_redirection() {
                return Ok((response, sum));
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let next = url.join(to.ok_or_else(|| anyhow!("a redirect to nowhere"))?)?;
            if !matches!((url.scheme(), next.scheme()), (_, "https") | ("http", "http")) {
                bail!("a redirect from {} to {}: not followed", url.scheme(), next.scheme());
            }
            url = next;
        }
        bail!("more than {MAX_REDIRECTS} redirects")
    }
}

/// The SHA-256 that Hugging Face tells of a large file: its ETag there, which a server without a store has as its own.
fn sum_of(headers: &HeaderMap) -> Option<String> {
    let tags = headers.get("x-linked-etag").or_else(|| headers.get(ETAG))?;
    let tag = tags.to_str().ok()?.trim_start_matches("W/").trim_matches('"');
    (tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| tag.to_ascii_lowercase())
}

impl Download<'_> {
    /// Gets it; whether the server has it.
    pub async fn run(&self, progress: &mut Progress) -> anyhow::Result<bool> {
        let mut attempt = 1;
        loop {
            match self.attempt(progress).await {
                Err(error) if attempt < ATTEMPTS && error.is::<reqwest::Error>() => {
                    attempt += 1;
                    tracing::warn!(file = self.file, %error, "again");
                    tokio::time::sleep(Duration::from_millis(200) * (1 << attempt)).await;
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self, progress: &mut Progress) -> anyhow::Result<bool> {
        if self.to.is_file() {
            // An earlier try has got and checked it.
            return Ok(true);
        }
        let part = self.to.with_added_extension("part");
        let mut there = fs::metadata(&part).map_or(0, |part| part.len());
        let (mut response, mut told) = self.source.get(self.file, there).await?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // It is all there, or what is there is longer than the file.
            there = 0;
            (response, told) = self.source.get(self.file, 0).await?;
        }
        let expected = self.sum.cloned().or(told);
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
            && expected.is_some()
            && begins_at(response.headers()) == Some(there);
        if response.status() == StatusCode::PARTIAL_CONTENT && !goes_on {
            // Nobody could tell whether the two parts belong together.
            (response, _) = self.source.get(self.file, 0).await?;
        }
        match response.status() {
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if goes_on => {}
            StatusCode::NOT_FOUND => return Ok(false),
            status => bail!("the server answers {status}"),
        }
        if !goes_on {
            there = 0;
        }
        let length = response.content_length().map(|rest| there + rest);
        if length.is_some_and(|length| length > MAX_BYTES) {
            bail!("it is longer than {}", size(MAX_BYTES));
        }
        let mut sum = Sha256::new();
        let mut out = OpenOptions::new().create(true).append(true).open(&part)?;
        match goes_on {
            true => read_into(&mut sum, &part)?,
            false => out.set_len(0)?,
        }
        while let Some(piece) = response.chunk().await? {
            there += piece.len() as u64;
            if there > MAX_BYTES {
                bail!("it is longer than {}", size(MAX_BYTES));
            }
            out.write_all(&piece).with_context(|| part.display().to_string())?;
            sum.update(&piece);
            let percent = length.map_or(0.0, |length| 100.0 * there as f64 / length.max(1) as f64);
            progress.show("running", percent, &format!("{} {}", size(there), self.file));
        }
        if length.is_some_and(|length| length != there) {
            bail!("{there} bytes came of {}", length.unwrap_or_default());
        }
        let found: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            fs::remove_file(&part)?;
            bail!("its SHA-256 is {found}, and it ought to be {expected}: it was removed; pull again");
        }
        out.sync_all()?;
        fs::rename(&part, self.to)?;
        Ok(true)
    }
}

/// Where a part of a file begins: `bytes 100-199/200`.
fn begins_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn read_into(sum: &mut Sha256, path: &Path) -> anyhow::Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some(bytes) if !bytes.is_empty() => sum.update(bytes),
            _ => return Ok(()),
        }
    }
}
