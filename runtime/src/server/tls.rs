//! TLS: the certificate, and the one that takes its place while the server runs.
//!
//! A certificate that cannot be used stops the start; one that takes the place of another is refused, and the
//! other stays. One that has expired is told of and no more: a server that comes up again at night is worth
//! more than one that does not, and its clients say what is wrong.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, anyhow, bail};
use parking_lot::{Mutex, RwLock};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{self, Config};
use crate::limits::Mode;

/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// How long before its end a certificate is warned of, and how often.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// The files, both there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(config: &config::Tls) -> Option<Files> {
        Some(Files { cert: config.cert.clone()?, key: config.key.clone()? })
    }
}

/// What tells that a file is another one: when it was written, which one it is, and its length.
type Stamp = [Option<(SystemTime, u64, u64)>; 2];

/// What the files had in them.
struct Identity {
    key: CertifiedKey,
    /// What is odd, and does not stop the start.
    warnings: Vec<String>,
    expired: bool,
}

/// TLS as it is spoken now.
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    source: Mutex<Source>,
    /// Mode prod: a key that others can read is refused.
    strict: bool,
}

/// Where the certificate came from.
struct Source {
    files: Files,
    /// When they were looked at last, whatever came of it.
    seen: Stamp,
    warned: Instant,
}

/// The certificate that handshakes show.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

/// What is odd about the certificate and key that `config` names, if it does.
///
/// # Errors
/// They cannot be used: which file, and what is wrong with it.
pub fn check(config: &Config) -> anyhow::Result<Vec<String>> {
    match Files::of(&config.server.tls) {
        Some(files) => Ok(read(&files, config.mode == Mode::Prod)?.warnings),
        None => Ok(Vec::new()),
    }
}

impl Tls {
    /// With the files that `config` names; none where it names none.
    ///
    /// # Errors
    /// As [`check`].
    pub fn open(config: &Config) -> anyhow::Result<Option<Arc<Tls>>> {
        let Some(files) = Files::of(&config.server.tls) else { return Ok(None) };
        let strict = config.mode == Mode::Prod;
        let seen = stamp(&files);
        let identity = read(&files, strict)?;
        warn(&identity.warnings);
        let current = Arc::new(Current(RwLock::new(Arc::new(identity.key))));
        let mut settings = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        settings.alpn_protocols = match config.server.http2 {
            true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            false => vec![b"http/1.1".to_vec()],
        };
        let acceptor = TlsAcceptor::from(Arc::new(settings));
        let source = Mutex::new(Source { files, seen, warned: Instant::now() });
        Ok(Some(Arc::new(Tls { acceptor, current, source, strict })))
    }

    /// The certificate's file, by its full path.
    pub fn certificate(&self) -> PathBuf {
        let source = self.source.lock();
        std::path::absolute(&source.files.cert).unwrap_or_else(|_| source.files.cert.clone())
    }

    /// Speaks TLS with who has connected.
    ///
    /// # Errors
    /// It is not TLS, or nothing that both sides know, or it takes too long.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
        accepted
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long")))
    }

    /// Takes the certificate that `config` names now, from the next handshake on, and logs that; whether it is
    /// another one.
    ///
    /// # Errors
    /// It cannot be used, or has expired; the one before stays.
    pub fn reload(&self, config: &config::Tls) -> anyhow::Result<bool> {
        let files = Files::of(config).ok_or_else(|| anyhow!("TLS begins and ends with the server"))?;
        self.take(&mut self.source.lock(), files)
    }

    fn take(&self, source: &mut Source, files: Files) -> anyhow::Result<bool> {
        // Before they are read: what is written meanwhile is seen at the next look.
        let seen = stamp(&files);
        if files == source.files {
            source.seen = seen;
        }
        let identity = read(&files, self.strict)?;
        if identity.expired {
            bail!("{}", identity.warnings.join("; "));
        }
        *source = Source { files, seen, warned: Instant::now() };
        warn(&identity.warnings);
        let new = Arc::new(identity.key);
        let mut current = self.current.0.write();
        let is_other = current.cert != new.cert;
        *current = new;
        if is_other {
            let file = source.files.cert.display();
            tracing::info!("the certificate has changed: the new one, of {file}, is in use from now on");
        }
        Ok(is_other)
    }

    /// Looks at the files again and again, and takes what has changed.
    pub async fn watch(self: Arc<Tls>, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let tls = self.clone();
            // Files may be on a disk that is away.
            let _ = tokio::task::spawn_blocking(move || tls.look()).await;
        }
    }

    fn look(&self) {
        let mut source = self.source.lock();
        if stamp(&source.files) != source.seen {
            let files = source.files.clone();
            if let Err(error) = self.take(&mut source, files) {
                refused(&error);
            }
        }
        if source.warned.elapsed() > AGAIN {
            source.warned = Instant::now();
            let current = self.current.0.read().clone();
            if let Some((about, _)) = current.cert.first().and_then(|cert| ends(cert, &source.files.cert)) {
                warn(&[about]);
            }
        }
    }
}

/// Tells that the certificate before stays.
pub fn refused(error: &anyhow::Error) {
    tracing::error!(error = format!("{error:#}"), "the new certificate is not used, the one before stays");
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn stamp(files: &Files) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
    })
}

fn read(files: &Files, strict: bool) -> anyhow::Result<Identity> {
    let Files { cert, key } = files;
    let wrong = |what: &str, path: &Path| format!("server.tls.{what}: {}", path.display());
    let chain = certificates(cert).with_context(|| wrong("cert", cert))?;
    let mut warnings = Vec::new();
    let private = private_key(key, strict, &mut warnings).with_context(|| wrong("key", key))?;
    let identity = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            anyhow!("it is not the key of the certificate in {}", cert.display())
        }
        error => anyhow!("it cannot be used with {}: {error}", cert.display()),
    });
    let identity = identity.with_context(|| wrong("key", key))?;
    let ends = identity.cert.first().and_then(|leaf| ends(leaf, cert));
    let expired = ends.as_ref().is_some_and(|(_, expired)| *expired);
    warnings.extend(ends.map(|(about, _)| about));
    Ok(Identity { key: identity, warnings, expired })
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let (text, _) = file(path)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| anyhow!("it is not PEM: {error}"))?;
    let first = chain
        .first()
        .ok_or_else(|| anyhow!("there is no certificate in it (-----BEGIN CERTIFICATE-----)"))?;
    let parsed = rustls::server::ParsedCertificate::try_from(first);
    parsed.map_err(|error| anyhow!("its first certificate cannot be read: {error}"))?;
    Ok(chain)
}

fn private_key(
    path: &Path,
    strict: bool,
    warnings: &mut Vec<String>,
) -> anyhow::Result<PrivateKeyDer<'static>> {
    let (text, mode) = file(path)?;
    if mode & 0o007 != 0 {
        let about = format!("others on this machine can read it (mode {:03o}): chmod o= FILE", mode & 0o777);
        if strict {
            bail!("{about}");
        }
        warnings.push(format!("server.tls.key: {}: {about}; in mode prod that is refused", path.display()));
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            bail!(
                "there is no private key in it (-----BEGIN PRIVATE KEY-----; one with a passphrase cannot be used)"
            )
        }
        // Never the text itself.
        Err(_) => bail!("it is not PEM"),
    }
}

/// What is in a file, and its mode.
fn file(path: &Path) -> anyhow::Result<(Vec<u8>, u32)> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        bail!("it is not a file");
    }
    if metadata.len() > MAX_FILE {
        bail!("it has {} bytes: that is no PEM file", metadata.len());
    }
    Ok((fs::read(path)?, metadata.permissions().mode()))
}

/// What there is to say of a certificate's time, and whether it is over; nothing while it is good.
fn ends(cert: &CertificateDer<'_>, path: &Path) -> Option<(String, bool)> {
    let path = path.display();
    let day = |time: UnixTime| {
        let time = jiff::Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok()?;
        Some(time.strftime("%Y-%m-%d").to_string())
    };
    match outside(cert, Duration::ZERO) {
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            let about = format!("the certificate in {path} is good from {} on, not yet", day(not_before)?);
            Some((about, false))
        }
        Some(CertificateError::ExpiredContext { not_after, .. }) => Some((
            format!("the certificate in {path} has expired on {}: clients refuse it", day(not_after)?),
            true,
        )),
        _ => match outside(cert, SOON)? {
            CertificateError::ExpiredContext { not_after, .. } => {
                Some((format!("the certificate in {path} expires on {}", day(not_after)?), false))
            }
            _ => None,
        },
    }
}

/// Why a certificate is no good so long from now. rustls looks at its time first, and at whom it is from
/// after that, which does not matter here.
fn outside(cert: &CertificateDer<'_>, from_now: Duration) -> Option<CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone().into_owned()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let at = SystemTime::now().checked_add(from_now)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    match verifier.verify_server_cert(cert, &[], &name, &[], UnixTime::since_unix_epoch(at)) {
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}
