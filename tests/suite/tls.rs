//! TLS: what is spoken, what of a certificate stops the start, and what takes its place later.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnimind_tests::server::{Reply, Server, command, eventually, scratch};
use omnimind_tests::wire::read_all;
use omnimind_tests::{binary, checkout, guest_path};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_tungstenite::tungstenite::http;

/// A certificate that nobody signed and its key, as `cert.pem` and `key.pem` in `dir`.
fn certificate(dir: &Path, more: impl FnOnce(&mut CertificateParams)) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    more(&mut params);
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    write(dir, "cert.pem", &cert.pem());
    write(dir, "key.pem", &key.serialize_pem());
}

/// In one step, as whoever renews certificates does it; only its owner reads it.
fn write(dir: &Path, name: &str, text: &str) {
    let scratch = dir.join("scratch");
    fs::write(&scratch, text).expect("a file");
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600)).expect("ours");
    fs::rename(scratch, dir.join(name)).expect("a file");
}

/// A directory with a certificate, and a configuration that names it and says `more` of the server.
fn set_up(more: &str) -> PathBuf {
    let dir = scratch("tls");
    fs::create_dir_all(&dir).expect("a directory");
    certificate(&dir, |_| {});
    configure(&dir, "", more);
    dir
}

fn configure(dir: &Path, before: &str, more: &str) {
    let path = dir.display();
    let tls = format!("tls: {{cert: {path}/cert.pem, key: {path}/key.pem}}");
    fs::write(dir.join("omnimind.yaml"), format!("{before}server: {{{tls}{more}}}\n")).expect("a file");
}

fn launch(dir: &Path) -> Server {
    let mut serve = command(&dir.join("data"));
    serve.arg("--config").arg(dir).env_remove("LOG_LEVEL").stdin(Stdio::null());
    Server::launch(serve, &dir.join("data")).unwrap_or_else(|log| panic!("no start: {log}"))
}

/// The certificate that is in a directory now.
fn in_file(dir: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.join("cert.pem")).expect("a certificate")
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(
    server: &Server,
    cert: CertificateDer<'static>,
    alpn: &[&str],
    version: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(cert).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(version).expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = server.connect();
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(client, stream))
}

fn modern(server: &Server, cert: CertificateDer<'static>) -> std::io::Result<Tls> {
    connect(server, cert, &["http/1.1"], rustls::ALL_VERSIONS)
}

/// One request by HTTP/1.1, with these lines in its head.
fn ask(tls: &mut Tls, server: &Server, line: &str, more: &str) -> Reply {
    let head = format!("{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n", server.address);
    tls.write_all(head.as_bytes()).expect("it is sent");
    Reply::read(tls).expect("an answer")
}

/// `omnimind` with no environment of ours.
fn omnimind(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_") || name == "LOG_LEVEL")
    {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn both_versions_of_tls_and_of_http_are_spoken() {
    for http2 in [true, false] {
        let dir = set_up(&format!(", http2: {http2}"));
        let server = launch(&dir);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for (offers, wanted) in [
                (&["http/1.1"][..], Some("http/1.1")),
                (&["h2", "http/1.1"], Some(if http2 { "h2" } else { "http/1.1" })),
                (&[], None),
            ] {
                let mut tls = connect(&server, in_file(&dir), offers, &[version]).expect("a handshake");
                let spoken = tls.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                assert_eq!(spoken.as_deref(), wanted, "{offers:?}, http2: {http2}");
                if wanted != Some("h2") {
                    let reply = ask(&mut tls, &server, "GET /api/v1/health/", "");
                    assert_eq!(reply.json()["overall_status"], "healthy");
                }
            }
        }
        // Nothing that both know.
        assert!(connect(&server, in_file(&dir), &["h3"], rustls::ALL_VERSIONS).is_err());
        drop(server);
        fs::remove_dir_all(dir).expect("a directory");
    }
}

#[test]
fn http_2_is_served_over_tls() {
    let dir = set_up("");
    let server = launch(&dir);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut roots = RootCertStore::empty();
        roots.add(in_file(&dir)).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
        let name = "localhost".try_into().expect("a name");
        let tls =
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
        let (mut client, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
        tokio::spawn(connection);
        for _ in 0..3 {
            let uri = format!("https://{}/api/v1/health/", server.address);
            let request = http::Request::get(uri).body(()).expect("a request");
            let (answer, _) = client.send_request(request, true).expect("it is sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 200);
            let mut body = answer.into_body();
            let mut bytes = Vec::new();
            while let Some(data) = body.data().await {
                bytes.extend_from_slice(&data.expect("data"));
            }
            let health: Value = serde_json::from_slice(&bytes).expect("JSON");
            assert_eq!(health["overall_status"], "healthy");
        }
    });
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn what_is_wrong_with_the_files_stops_the_start_and_is_told() {
    let dir = set_up("");
    let key = fs::read_to_string(dir.join("key.pem")).expect("a key");
    let cert = fs::read_to_string(dir.join("cert.pem")).expect("a certificate");
    let other = KeyPair::generate().expect("a key").serialize_pem();
    let (shown_cert, shown_key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let (shown_cert, shown_key) = (shown_cert.display(), shown_key.display());
    for (name, text, expected) in [
        ("cert.pem", "", format!("server.tls.cert: {shown_cert}: there is no certificate in it")),
        ("cert.pem", &key, format!("server.tls.cert: {shown_cert}: there is no certificate in it")),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\n%%%\n",
            format!("server.tls.cert: {shown_cert}: it is not PEM"),
        ),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            format!("server.tls.cert: {shown_cert}: its first certificate cannot be read"),
        ),
        ("cert.pem", &cert.repeat((2 << 20) / cert.len()), format!("server.tls.cert: {shown_cert}: it has ")),
        ("key.pem", "", format!("server.tls.key: {shown_key}: there is no private key in it")),
        ("key.pem", &cert, format!("server.tls.key: {shown_key}: there is no private key in it")),
        (
            "key.pem",
            &key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            format!("server.tls.key: {shown_key}: there is no private key in it"),
        ),
        (
            "key.pem",
            &other,
            format!("server.tls.key: {shown_key}: it is not the key of the certificate in {shown_cert}"),
        ),
        (
            "key.pem",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            format!("server.tls.key: {shown_key}: it cannot be used with {shown_cert}"),
        ),
    ] {
        write(&dir, name, text);
        let config = dir.to_str().expect("UTF-8");
        let data = dir.join("data");
        let data = data.to_str().expect("UTF-8");
        for arguments in [
            &["serve", "--port", "0", "--config", config, "--data-dir", data][..],
            &["config", "check", config],
        ] {
            let (code, out, error) = said(&omnimind(arguments).output().expect("omnimind starts"));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {error}");
            assert!(error.contains(&expected), "{expected}: {error}");
            // Whatever it is, it may be a key.
            assert!(!error.contains(key.lines().nth(1).expect("a line")), "{error}");
        }
        write(&dir, "cert.pem", &cert);
        write(&dir, "key.pem", &key);
    }
    for name in ["cert.pem", "key.pem"] {
        fs::rename(dir.join(name), dir.join("away")).expect("a file");
        let check = |what: &str| {
            let (code, _, error) =
                said(&omnimind(&["config", "check"]).arg(&dir).output().expect("omnimind starts"));
            assert_eq!(code, Some(2), "{error}");
            assert!(error.contains(&format!("{name}: {what}")), "{error}");
        };
        check("No such file");
        fs::create_dir(dir.join(name)).expect("a directory");
        check("it is not a file");
        fs::remove_dir(dir.join(name)).expect("a directory");
        fs::rename(dir.join("away"), dir.join(name)).expect("a file");
    }
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn a_key_that_others_can_read_is_warned_of_and_refused_in_prod() {
    let dir = set_up("");
    let key = dir.join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    let server = launch(&dir);
    let log = server.log.lock().expect("no panic").clone();
    assert!(log.contains("others on this machine can read it (mode 644)"), "{log}");
    drop(server);
    configure(&dir, "mode: prod\n", "");
    let check = || said(&omnimind(&["config", "check"]).arg(&dir).output().expect("omnimind starts"));
    let (code, _, error) = check();
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("others on this machine can read it (mode 644): chmod o= FILE"), "{error}");
    // A group may, as that of a proxy beside it.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("ours");
    let (code, _, error) = check();
    assert_eq!((code, error.as_str()), (Some(0), ""));
    // In prod an address that is not loopback is one for TLS.
    configure(&dir, "mode: prod\n", ", host: 0.0.0.0");
    assert_eq!(check().0, Some(0));
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn a_certificate_that_is_not_good_today_is_warned_of() {
    let dir = set_up("");
    let log = || launch(&dir).log.lock().expect("no panic").clone();
    certificate(&dir, |params| params.not_after = rcgen::date_time_ymd(2020, 3, 4));
    let said = log();
    assert!(said.contains("cert.pem has expired on 2020-03-0"), "{said}");
    certificate(&dir, |params| params.not_before = rcgen::date_time_ymd(2900, 3, 4));
    let said = log();
    assert!(said.contains("cert.pem is good from 2900-03-0"), "{said}");
    certificate(&dir, |_| {});
    let said = log();
    assert!(!said.contains("cert.pem is") && !said.contains("expire"), "{said}");
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn a_new_certificate_is_taken_at_a_signal_and_a_bad_one_is_not() {
    let dir = set_up("");
    let server = launch(&dir);
    let first = in_file(&dir);
    let mut before = modern(&server, first.clone()).expect("a handshake");
    let bad = |times: usize| {
        server.signal("HUP");
        eventually(|| {
            let log = server.log.lock().expect("no panic").clone();
            let is_told = log.matches("the one before stays").count() == times
                && log.matches("SIGHUP: stays as it was: the certificate (").count() == times;
            is_told.then_some(())
        });
        let log = server.log.lock().expect("no panic").clone();
        assert!(!log.contains("was read again") && log.contains("new: nothing"), "{log}");
        modern(&server, first.clone()).expect("the certificate before");
    };
    // A key of another certificate; one that has expired; none.
    write(&dir, "key.pem", &KeyPair::generate().expect("a key").serialize_pem());
    bad(1);
    certificate(&dir, |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    bad(2);
    fs::remove_file(dir.join("cert.pem")).expect("a file");
    bad(3);
    certificate(&dir, |_| {});
    server.signal("HUP");
    eventually(|| modern(&server, in_file(&dir)).ok());
    assert!(modern(&server, first.clone()).is_err(), "the first one is gone");
    let told = |wanted: &str| {
        eventually(|| server.log.lock().expect("no panic").contains(wanted).then_some(()));
    };
    told(&format!("the new one, of {}/cert.pem, is in use from now on", dir.display()));
    told("the configuration was read again; new: the certificate");
    server.signal("HUP");
    told("the configuration was read again; new: nothing");
    // Who was there goes on. It has had little time for a first request.
    let reply = ask(&mut before, &server, "GET /api/v1/health/", "");
    assert_eq!(reply.status, 200);
    // Other files, by the configuration.
    let second = in_file(&dir);
    let elsewhere = dir.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    certificate(&elsewhere, |_| {});
    let path = elsewhere.display();
    let text = format!("server: {{tls: {{cert: {path}/cert.pem, key: {path}/key.pem}}}}\n");
    fs::write(dir.join("omnimind.yaml"), text).expect("a file");
    server.signal("HUP");
    eventually(|| modern(&server, in_file(&elsewhere)).ok());
    assert!(modern(&server, second).is_err());
    let log = server.log.lock().expect("no panic").clone();
    assert!(!log.contains("takes effect at the next start"), "{log}");
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn slow_a_certificate_that_is_replaced_is_taken_without_a_signal() {
    // One that is refused is told of once, not at each look.
    let other = set_up("");
    let refusing = launch(&other);
    let launched = Instant::now();
    let refused = || refusing.log.lock().expect("no panic").matches("the one before stays").count();
    write(&other, "key.pem", &KeyPair::generate().expect("a key").serialize_pem());
    refusing.signal("HUP");
    eventually(|| (refused() > 0).then_some(()));

    let dir = set_up("");
    let server = launch(&dir);
    certificate(&dir, |_| {});
    let begun = Instant::now();
    while modern(&server, in_file(&dir)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(150), "nobody looks");
        std::thread::sleep(Duration::from_millis(500));
    }
    // A minute, and some time for the look.
    std::thread::sleep(Duration::from_secs(63).saturating_sub(launched.elapsed()));
    assert_eq!(refused(), 1);
    drop((server, refusing));
    for dir in [dir, other] {
        fs::remove_dir_all(dir).expect("a directory");
    }
}

#[test]
fn what_is_no_tls_is_closed_and_hurts_nobody() {
    let dir = set_up("");
    configure(&dir, "logging: {level: DEBUG}\n", "");
    let server = launch(&dir);
    for bytes in [
        b"GET /api/v1/health/ HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        &[0; 5000],
        &[0x16, 3, 1, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff],
        &[0xff; 100_000],
        // An alert, and a record of nothing.
        &[0x15, 3, 3, 0, 2, 2, 40],
        &[0x16, 3, 1, 0, 0],
    ] {
        let mut stream = server.connect();
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answer = read_all(&mut stream);
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
        assert!(answer.len() < 100, "{} bytes", answer.len());
    }
    eventually(|| {
        let log = server.log.lock().expect("no panic").clone();
        log.contains("no TLS with this client; the server is https://").then_some(())
    });
    let reply =
        ask(&mut modern(&server, in_file(&dir)).expect("a handshake"), &server, "GET /api/v1/health/", "");
    assert_eq!(reply.status, 200);
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn slow_handshakes_have_an_end_and_so_has_silence_after_them() {
    let dir = set_up("");
    let server = launch(&dir);
    let silent: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let mut half = server.connect();
    half.write_all(&[0x16, 3, 1, 0x02, 0]).expect("it is sent");
    let spoken: Vec<Tls> = [&["http/1.1"][..], &["h2"]]
        .map(|alpn| connect(&server, in_file(&dir), alpn, rustls::ALL_VERSIONS).expect("a handshake"))
        .into();
    // They keep nobody out.
    let reply =
        ask(&mut modern(&server, in_file(&dir)).expect("a handshake"), &server, "GET /api/v1/health/", "");
    assert_eq!(reply.status, 200);
    let begun = Instant::now();
    for mut stream in silent.into_iter().chain([half]) {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let closed = stream.read(&mut [0; 100]);
        let is_closed = closed.as_ref().is_ok_and(|read| *read == 0)
            || closed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(is_closed, "{closed:?}");
    }
    for mut tls in spoken {
        tls.sock.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut rest = Vec::new();
        let ended = tls.read_to_end(&mut rest);
        let waits = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waits, "it is still open");
    }
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn a_handshake_that_nobody_goes_on_with_does_not_hold_the_end_up() {
    let dir = set_up("");
    let mut server = launch(&dir);
    let mut silent = server.connect();
    // Who came after it is served, so it has been accepted.
    modern(&server, in_file(&dir)).expect("a handshake");
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(silent.read(&mut [0; 1]).expect("its end"), 0);
    assert_eq!(server.wait(), Some(0));
    // It would have had ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn the_document_s_certificate_works_for_curl_and_for_every_client_here() {
    let dir = set_up("");
    let text = fs::read_to_string(checkout().join("docs/operations.md")).expect("a document");
    let line = text.lines().find(|line| line.starts_with("openssl req ")).expect("the line");
    let made = Command::new("sh").args(["-c", line]).current_dir(&dir).output().expect("openssl is needed");
    assert!(made.status.success(), "{:?}", said(&made));
    let server = launch(&dir);
    let data = dir.join("data");
    let data = data.to_str().expect("UTF-8");

    // The line that it prints.
    let log = eventually(|| {
        let log = server.log.lock().expect("no panic").clone();
        log.contains("try it: ").then_some(log)
    });
    let curl = log.lines().find_map(|line| line.strip_prefix("try it: ")).expect("the line");
    assert!(curl.contains("--cacert") && curl.contains(" https://"), "{curl}");
    let output = Command::new("sh").args(["-c", &format!("{curl} -sS")]).output().expect("curl is needed");
    let (code, out, error) = said(&output);
    assert_eq!(code, Some(0), "{curl}: {error}");
    assert!(out.contains("\"details\""), "with credentials: {out}");

    // The command line, which finds it by itself, and one that is told where it is.
    let echo = guest_path("hostile/echo");
    let push = ["component", "push", echo.to_str().expect("UTF-8"), "--name", "echo", "--data-dir", data];
    let (code, _, error) = said(&omnimind(&push).output().expect("omnimind starts"));
    assert_eq!(code, Some(0), "{error}");
    let submit = ["task", "submit", "echo", "--input", "7", "--wait", "--data-dir", data];
    let (code, out, error) = said(&omnimind(&submit).output().expect("omnimind starts"));
    assert_eq!((code, out.trim()), (Some(0), "7"), "{error}");
    let url = format!("https://localhost:{}", server.address.port());
    let credentials = format!("{data}/credentials.json");
    let cert = dir.join("cert.pem");
    let nowhere = dir.join("nowhere");
    let mut list = vec!["task", "list", "--server", &url, "--credentials", &credentials];
    list.extend(["--data-dir", nowhere.to_str().expect("UTF-8")]);
    let (code, _, error) = said(&omnimind(&list).output().expect("omnimind starts"));
    assert_eq!(code, Some(6), "{error}");
    assert!(error.contains("is not trusted") && error.contains("--cacert FILE"), "{error}");
    assert!(!error.contains("no server answers"), "{error}");
    list.extend(["--cacert", cert.to_str().expect("UTF-8")]);
    let (code, out, error) = said(&omnimind(&list).output().expect("omnimind starts"));
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("echo"), "{out}");
    // A certificate of somebody else.
    let other = dir.join("other");
    fs::create_dir(&other).expect("a directory");
    certificate(&other, |_| {});
    let wrong = other.join("cert.pem");
    list.pop();
    list.push(wrong.to_str().expect("UTF-8"));
    let (code, _, error) = said(&omnimind(&list).output().expect("omnimind starts"));
    assert_eq!(code, Some(6), "{error}");
    assert!(error.contains("is not trusted") && !error.contains("no server answers"), "{error}");

    let program = "\
import sys
from omnimind import Client
own, url, cert, user, password = Client(), *sys.argv[1:]
assert own.submit('echo', input=[1]).wait(60) == [1]
told = Client(url, user, password, data_dir='/nowhere', cafile=cert)
assert told.submit('echo', input=[2]).wait(60) == [2]
try:
    Client(url, user, password, data_dir='/nowhere').health()
except OSError:
    pass
else:
    raise AssertionError('nobody signed that certificate')
";
    let stored = fs::read(&credentials).expect("credentials");
    let stored: Value = serde_json::from_slice(&stored).expect("JSON");
    let mut python = Command::new("python3");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        python.env_remove(name);
    }
    python.args(["-c", program, &url]).arg(&cert);
    python.args(["user", "password"].map(|name| stored[name].as_str().expect("text")));
    python.env("OMNIMIND_DATA_DIR", data).env("PYTHONPATH", checkout().join("clients/python"));
    let output = python.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python3");
    assert!(output.status.success(), "{:?}", said(&output));
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}

#[test]
fn a_browser_s_cookie_is_for_tls_and_its_pages_come_by_tls() {
    let dir = set_up("");
    let server = launch(&dir);
    let ask = |line: &str, more: &str| {
        ask(&mut modern(&server, in_file(&dir)).expect("a handshake"), &server, line, more)
    };
    let data = dir.join("data");
    let link = omnimind(&["sign-in", "--data-dir"]).arg(&data).output().expect("omnimind starts");
    let (code, link, error) = said(&link);
    assert_eq!(code, Some(0), "{error}");
    let path = link.trim().strip_prefix(&format!("https://{}", server.address)).expect("an https link");
    let reply = ask(&format!("GET {path}"), "");
    let cookie = &reply.headers["set-cookie"];
    assert!(cookie.contains("; Secure;") && cookie.contains("; HttpOnly;"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    let from = |scheme: &str| {
        let lines = format!("Cookie: {pair}\r\nOrigin: {scheme}://{}\r\n", server.address);
        ask("GET /api/tasks/", &lines)
    };
    assert_eq!(from("https").status, 200);
    from("http").problem(403, "origin_not_allowed");
    let serving = fs::read(data.join("server.json")).expect("a file");
    let serving: Value = serde_json::from_slice(&serving).expect("JSON");
    assert_eq!(serving["cacert"], json!(dir.join("cert.pem")));
    drop(server);
    fs::remove_dir_all(dir).expect("a directory");
}
