//! `omnimind model`: models come whole or not at all, and what was interrupted is gone on with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnimind_tests::server::{eventually, scratch};
use omnimind_tests::web::{Reply, Request, Web};
use omnimind_tests::{binary, checkpoint};
use sha2::{Digest, Sha256};

const NAME: &str = "me/mine";

fn omnimind(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_") || name.ends_with("_proxy"))
    {
        command.env_remove(name);
    }
    command.arg("model").args(arguments).arg("--data-dir").arg(data_dir);
    command
}

fn pull(data_dir: &Path, web: &Web, more: &[&str]) -> Output {
    let url = web.url();
    let mut arguments = vec!["pull", NAME, "--from", &url];
    arguments.extend(more);
    omnimind(data_dir, &arguments).output().expect("it starts")
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A model that can be served, and the requests for it.
struct Model {
    dir: PathBuf,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Model {
    fn new() -> Model {
        let dir = scratch("model");
        checkpoint::write(&dir);
        Model { dir, asked: Arc::default() }
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.dir.join(file)).expect("a file")
    }

    /// As Hugging Face serves it: the large file from a store, with its sum on the way. `change` has the last word.
    fn serve(&self, change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Web {
        let (dir, asked) = (self.dir.clone(), self.asked.clone());
        Web::serve(move |request| {
            asked.lock().expect("no panic").push(request.clone());
            let stored = request.path.strip_prefix("/store/");
            let file = stored.or_else(|| request.path.strip_prefix("/me/mine/resolve/main/"));
            let Some(bytes) = file.and_then(|file| fs::read(dir.join(file)).ok()) else {
                return change(&request, Reply::new(404, "Entry not found"));
            };
            if file == Some("model.safetensors") && stored.is_none() {
                let moved = Reply::new(302, "").header("location", "/store/model.safetensors");
                return change(&request, moved.header("x-linked-etag", &format!("\"{}\"", sha256(&bytes))));
            }
            let from = request
                .headers
                .get("range")
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            let reply = match from {
                None => Reply::new(200, bytes),
                Some(from) if from >= bytes.len() => Reply::new(416, ""),
                Some(from) => {
                    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                    Reply::new(206, &bytes[from..]).header("content-range", &range)
                }
            };
            change(&request, reply)
        })
    }

    /// Where in the large file it was begun, each time.
    fn begun(&self) -> Vec<Option<String>> {
        let asked = self.asked.lock().expect("no panic");
        let of = asked.iter().filter(|request| request.path.starts_with("/store/"));
        of.map(|request| request.headers.get("range").cloned()).collect()
    }
}

fn is_large(request: &Request) -> bool {
    request.path == "/store/model.safetensors"
}

#[track_caller]
fn is_whole(model: &Model, data_dir: &Path) {
    let folder = data_dir.join("models").join(NAME);
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        assert!(fs::read(folder.join(file)).expect("a file") == model.bytes(file), "{file}");
    }
    let mut names: Vec<_> =
        fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    assert!(!data_dir.join("models/me/mine.partial").exists());
}

#[test]
fn a_model_is_pulled_listed_and_removed() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let web = model.serve(|_, reply| reply);
    let (code, stderr) = said(&pull(&data_dir, &web, &[]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("24 dimensions, 128 tokens"), "{stderr}");
    is_whole(&model, &data_dir);
    let asked = model.asked.lock().expect("no panic").len();
    assert_eq!(said(&pull(&data_dir, &web, &[])).0, Some(0));
    assert_eq!(model.asked.lock().expect("no panic").len(), asked, "it was there");

    let list = || {
        String::from_utf8(omnimind(&data_dir, &["list"]).output().expect("it starts").stdout).expect("text")
    };
    assert!(list().contains(NAME), "{}", list());
    assert_eq!(said(&omnimind(&data_dir, &["remove", NAME]).output().expect("it starts")).0, Some(0));
    assert!(!list().contains(NAME), "{}", list());
    assert_eq!(said(&omnimind(&data_dir, &["remove", NAME]).output().expect("it starts")).0, Some(8));
}

#[test]
fn a_killed_pull_is_gone_on_with() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let half = model.bytes("model.safetensors").len() / 2;
    // It says how long it is and stops in the middle, with the connection open.
    let slow = model.serve(move |request, reply| {
        if is_large(request) {
            std::thread::sleep(Duration::from_millis(100));
        }
        reply
    });
    let stuck = stuck(&slow, half);
    let url = format!("http://{stuck}");
    let mut killed = omnimind(&data_dir, &["pull", NAME, "--from", &url]).spawn().expect("it starts");
    let part = data_dir.join("models/me/mine.partial/model.safetensors.part");
    eventually(|| fs::metadata(&part).is_ok_and(|part| part.len() == half as u64).then_some(()));
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    assert!(!data_dir.join("models").join(NAME).exists(), "there is no half model");

    let web = model.serve(|_, reply| reply);
    model.asked.lock().expect("no panic").clear();
    let (code, stderr) = said(&pull(&data_dir, &web, &[]));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(model.begun(), [Some(format!("bytes={half}-"))]);
    assert!(
        !model.asked.lock().expect("no panic").iter().any(|request| request.path.ends_with("tokenizer.json"))
    );
    is_whole(&model, &data_dir);
}

/// A proxy before `web` that passes on `most` bytes of the large file and then nothing, for ever.
fn stuck(web: &Web, most: usize) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").expect("a port"), web.address);
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut client = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let length = client.read(&mut request).expect("a request");
                let mut server = TcpStream::connect(to).expect("a server");
                server.write_all(&request[..length]).expect("sent");
                let mut answer = Vec::new();
                server.read_to_end(&mut answer).expect("an answer");
                let large = request.starts_with(b"GET /store/");
                let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
                let end = if large { head + most } else { answer.len() };
                client.write_all(&answer[..end]).expect("sent");
                if large {
                    std::thread::sleep(Duration::from_secs(120));
                }
            });
        }
    });
    address
}

#[test]
fn a_connection_that_breaks_is_gone_on_with() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let half = model.bytes("model.safetensors").len() / 2;
    let web = model.serve(move |request, reply| {
        match is_large(request) && !request.headers.contains_key("range") {
            true => reply.cut(half),
            false => reply,
        }
    });
    let (code, stderr) = said(&pull(&data_dir, &web, &[]));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(model.begun(), [None, Some(format!("bytes={half}-"))]);
    is_whole(&model, &data_dir);
}

#[test]
fn what_was_begun_of_another_version_is_begun_anew() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let part = data_dir.join("models/me/mine.partial/model.safetensors.part");
    fs::create_dir_all(part.parent().expect("a folder")).expect("a folder");
    let web = model.serve(|_, reply| reply);
    // Longer than the file is; the server says that there is no such range.
    fs::write(&part, vec![1; 1 << 20]).expect("a file");
    assert_eq!(said(&pull(&data_dir, &web, &[])).0, Some(0));
    is_whole(&model, &data_dir);

    let data_dir = scratch("pull");
    let part = data_dir.join("models/me/mine.partial/model.safetensors.part");
    fs::create_dir_all(part.parent().expect("a folder")).expect("a folder");
    fs::write(&part, vec![1; 100]).expect("a file");
    let (code, stderr) = said(&pull(&data_dir, &web, &[]));
    assert!(code == Some(6) && stderr.contains("SHA-256"), "{code:?}, {stderr}");
    assert!(!part.exists());
    assert_eq!(said(&pull(&data_dir, &web, &[])).0, Some(0));
    is_whole(&model, &data_dir);
}

#[test]
fn an_error_that_comes_late_is_not_taken_for_the_file() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let part = data_dir.join("models/me/mine.partial/config.json.part");
    fs::create_dir_all(part.parent().expect("a folder")).expect("a folder");
    fs::write(&part, &model.bytes("config.json")[..10]).expect("a file");
    // It goes on with a part that has no sum, and has an accident when it is asked for the whole.
    let web = model.serve(|request, reply| {
        match request.path.ends_with("/config.json") && !request.headers.contains_key("range") {
            true => Reply::new(500, "{}"),
            false => reply,
        }
    });
    let (code, stderr) = said(&pull(&data_dir, &web, &[]));
    assert!(code == Some(6) && stderr.contains("the server answers 500"), "{code:?}, {stderr}");
    assert!(!data_dir.join("models/me/mine.partial/config.json").exists());
}

#[test]
fn a_wrong_sum_leaves_no_model() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let web = model.serve(|request, reply| match reply.status {
        302 => Reply::new(302, "")
            .header("location", "/store/model.safetensors")
            .header("x-linked-etag", &"0".repeat(64)),
        _ if is_large(request) => reply,
        _ => reply,
    });
    let (code, stderr) = said(&pull(&data_dir, &web, &[]));
    assert!(
        code == Some(6) && stderr.contains("model.safetensors") && stderr.contains("SHA-256"),
        "{code:?}, {stderr}"
    );
    assert!(!data_dir.join("models").join(NAME).exists());
    assert!(!data_dir.join("models/me/mine.partial/model.safetensors.part").exists());

    // Who knows better than the server says so, of any file.
    let sums = scratch("sums");
    let right = |file: &str| format!("{}  ./{file}\n", sha256(&model.bytes(file)));
    fs::write(&sums, format!("{}{} *config.json\n", right("model.safetensors"), "1".repeat(64)))
        .expect("a file");
    let more = ["--sums", sums.to_str().expect("UTF-8")];
    let data_dir = scratch("pull");
    let (code, stderr) = said(&pull(&data_dir, &web, &more));
    assert!(code == Some(6) && stderr.contains("config.json"), "{code:?}, {stderr}");
    fs::write(&sums, right("model.safetensors") + &right("config.json")).expect("a file");
    let (code, stderr) = said(&pull(&data_dir, &web, &more));
    assert_eq!(code, Some(0), "{stderr}");
    is_whole(&model, &data_dir);
}

#[test]
fn what_is_no_model_is_not_kept() {
    let (model, data_dir) = (Model::new(), scratch("pull"));
    let missing = model.serve(|request, reply| match request.path.ends_with("tokenizer.json") {
        true => Reply::new(404, ""),
        false => reply,
    });
    let (code, stderr) = said(&pull(&data_dir, &missing, &[]));
    assert!(code == Some(6) && stderr.contains("tokenizer.json"), "{code:?}, {stderr}");

    let data_dir = scratch("pull");
    let gpt = model.serve(|request, reply| {
        match request.path.ends_with("/config.json") && !request.path.contains("Pooling") {
            true => Reply::new(200, r#"{"model_type": "gpt2"}"#),
            false => reply,
        }
    });
    let (code, stderr) = said(&pull(&data_dir, &gpt, &[]));
    assert!(code == Some(6) && stderr.contains("cannot be used here"), "{code:?}, {stderr}");
    assert!(!data_dir.join("models/me/mine.partial").exists() && !data_dir.join("models/me/mine").exists());

    for (status, to) in [
        (302, "file:///etc/passwd"),
        (302, "ftp://127.0.0.1/x"),
        (302, "/me/mine/resolve/main/config.json"),
        (500, ""),
    ] {
        let odd = Web::serve(move |_| Reply::new(status, "").header("location", to));
        let (code, stderr) = said(&pull(&data_dir, &odd, &[]));
        assert_eq!(code, Some(6), "{to}: {stderr}");
    }
    for name in ["../x", "a/../b", "/etc", "a b", ""] {
        let (code, stderr) = said(&omnimind(&data_dir, &["pull", name]).output().expect("it starts"));
        assert!(code == Some(2) && stderr.contains("no model's name"), "{name}: {stderr}");
    }
}
