//! Guests in other languages, and the toolchains that make them: `cargo xtask guests` builds the ones and gets the
//! others. Where they are not there a test says that it was not run; `OMNIMIND_TOOLCHAINS=required` makes it fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::server::{Server, command, scratch};
use crate::{binary, guest_path, target_dir};

/// What to say where something is not there.
pub(crate) fn not_run(why: &str) {
    let required = std::env::var_os("OMNIMIND_TOOLCHAINS").is_some_and(|value| value == "required");
    assert!(!required, "{why}: `cargo xtask test` says why");
    eprintln!("not run: {why}");
}

/// Whether the guest `name`, which is not written in Rust, was built.
pub fn has_guest(name: &str) -> bool {
    let there = guest_path(name).is_file();
    if !there {
        not_run(&format!("{} is not built", guest_path(name).display()));
    }
    there
}

/// Whether `probe` succeeds in a shell that has the toolchains.
pub fn has_tool(probe: &str) -> bool {
    let mut shell = shell(probe);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let there = shell.status().is_ok_and(|status| status.success());
    if !there {
        not_run(&format!("`{probe}` fails"));
    }
    there
}

/// A shell command, with the toolchains that `cargo xtask guests` got: those of other languages on PATH, Rust's
/// private std for wasm where rustup's Rust has none.
pub fn shell(script: &str) -> Command {
    let place =
        |variable: &str, name: &str| match std::env::var_os(variable).filter(|value| !value.is_empty()) {
            Some(place) => PathBuf::from(place),
            None => {
                PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/omnimind").join(name)
            }
        };
    let tools = place("OMNIMIND_GUEST_TOOLS", "guest-tools");
    let own = ["python/bin", "node/node_modules/.bin"].map(|directory| tools.join(directory));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited))).expect("a path");
    let private = place("OMNIMIND_WASM_TOOLCHAIN", "wasm-toolchain").join("env.sh");
    let private = private.display();
    let mut command = Command::new("sh");
    command.arg("-ec").arg(format!(
        "ls \"$(rustc --print=target-libdir --target wasm32-unknown-unknown)\"/libstd-*.rlib >/dev/null 2>&1 || \
         [ ! -e '{private}' ] || . '{private}'\n{script}"
    ));
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_") || name == "CARGO_TARGET_DIR")
    {
        command.env_remove(name);
    }
    command.env("PATH", path);
    command
}

/// A data directory whose cache has what `cargo xtask guests` compiled: Python takes ten seconds otherwise.
pub fn data_dir_with_artefacts() -> PathBuf {
    static COMPILED: LazyLock<PathBuf> = LazyLock::new(|| {
        let data_dir = target_dir().join("guests-compiled");
        // What another build of omnimind compiled may not be for this one: then it is compiled now.
        for interpreter in ["python-run", "js-run"].into_iter().filter(|name| guest_path(name).is_file()) {
            let mut run = Command::new(binary());
            run.arg("run").arg(guest_path(interpreter)).arg("--data-dir").arg(&data_dir);
            let ran = run.args(["--input", r#"{"source": ""}"#]).output().expect("it starts");
            assert!(ran.status.success(), "{interpreter}: {}", String::from_utf8_lossy(&ran.stderr));
        }
        data_dir.join("artefacts")
    });
    let data_dir = scratch("languages");
    copy_private(&COMPILED, &data_dir.join("artefacts"));
    data_dir
}

/// A server whose cache has them.
pub fn server() -> Server {
    let data_dir = data_dir_with_artefacts();
    let mut server =
        Server::launch(command(&data_dir), &data_dir).unwrap_or_else(|log| panic!("no start: {log}"));
    server.owned = true;
    server
}

/// Copies directories that only this user may read, and links their files: artefacts are never written again.
fn copy_private(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(to).expect("a directory");
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_private(&path, &to),
            // One that goes meanwhile is compiled again.
            false => drop(std::fs::hard_link(&path, &to)),
        }
    }
}
