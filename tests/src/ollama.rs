//! A real Ollama of a test's own, with a small model: `cargo xtask test` builds the one and gets the other.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::languages::not_run;
use crate::server::{eventually, scratch};
use crate::target_dir;

/// The model's name. It has 135 million parameters, and knows little; it computes on one thread, so that it gets on beside
/// other tests.
pub const MODEL: &str = "smollm2:latest";

/// What xtask/src/ollama.rs makes in TARGET/ollama.
const PROGRAM: &str = "v0.13.5/ollama";
const MODELS: &str = "smollm2-0.1.2";

/// Starts it, and ends all of its processes when the test ends, however that ends: then nobody holds the pipe open that
/// `read` waits at. `kill 0` is the whole process group.
const GUARD: &str = r#""$0" serve & read -r _; kill -KILL 0"#;

/// One that answers one request at a time, until it is dropped.
pub struct Ollama {
    address: SocketAddr,
    /// Its home, with its log; models are shared.
    home: PathBuf,
    guard: Option<Child>,
}

impl Ollama {
    /// On any free port; none where `cargo xtask test` could not build it.
    pub fn start() -> Option<Ollama> {
        let place = target_dir().join("ollama");
        for needed in [PROGRAM, MODELS].map(|name| place.join(name)) {
            if !needed.exists() {
                not_run(&format!("{} is not there", needed.display()));
                return None;
            }
        }
        let home = scratch("ollama");
        fs::create_dir_all(&home).expect("a directory");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut ollama = Ollama { address, home, guard: None };
        ollama.restart();
        Some(ollama)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has logged since it was started, in all detail.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).expect("a log")
    }

    /// Starts it on the port that it had.
    pub fn restart(&mut self) {
        self.kill();
        let log = File::create(self.home.join("log")).expect("a log");
        let place = target_dir().join("ollama");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD]).arg(place.join(PROGRAM));
        // It asks nobody else, keeps nothing of another Ollama, and leaves the models as they are.
        guard.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        guard.env("HOME", &self.home).env("OLLAMA_MODELS", place.join(MODELS));
        guard.env("OLLAMA_HOST", self.address.to_string());
        guard.envs([("OLLAMA_NOPRUNE", "1"), ("OLLAMA_DEBUG", "1")]);
        guard.envs([("OLLAMA_NUM_PARALLEL", "1"), ("OLLAMA_KEEP_ALIVE", "1h")]);
        guard.process_group(0).stdin(Stdio::piped());
        guard.stdout(log.try_clone().expect("a log")).stderr(log);
        self.guard = Some(guard.spawn().expect("a shell"));
        self.address = eventually(|| {
            let log = self.log();
            assert!(!log.contains("Error: "), "{log}");
            log.split_once("Listening on ")?.1.split(' ').next()?.parse().ok()
        });
    }

    /// SIGKILL to it and what computes for it: no time for anything. Returns when it is gone.
    pub fn kill(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        drop(guard.stdin.take());
        guard.wait().expect("it ends");
        eventually(|| TcpStream::connect(self.address).is_err().then_some(()));
    }
}

impl Drop for Ollama {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.home);
    }
}
