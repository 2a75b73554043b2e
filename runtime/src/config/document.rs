//! docs/configuration.md.

use super::keys::{File, Key, keys};
use crate::limits::Mode;

const LAYERS: &str = "\
# Configuration

*Made from the table in `runtime/src/config/keys/`; `OMNIMIND_TEST_UPDATE=1 cargo test --release -p omnimind-tests
--test suite configuration` writes it and the sample files again.*

Nothing has to be configured. What is, comes in layers, each over the one before:

1. the defaults compiled in, some of which depend on the **mode** (`dev`, `test`, `prod`; it may come from any layer below);
2. the **files** `omnimind.yaml` and `agent_config.yaml`, in the directory that `--config DIR` names, else
   `$OMNIMIND_CONFIG`, else `./config` if it is there. One of them may be missing; of a directory that was named, not both,
   and it has no `omnimind.yml`, which nothing would read;
3. the **environment**: `OMNIMIND_` and the key's path in capitals, `__` between its levels (`OMNIMIND_SERVER__PORT`). An
   empty variable counts as not set;
4. **flags**.

All commands but `new`, `demo` and `completions` read it. [config/](../config) has a sample of each file, every key commented out.

```
omnimind config check [PATH]   # says ok and which files were read, or what is wrong; exit code 0 or 2
omnimind config show [--json]  # every value in force and where it came from; secrets hidden
```

`--config` may also name a single file, which may have the keys of both, and it may be given several times, later ones over
earlier ones. So a profile goes on top of a directory (once `--config` is given, `./config` is read only if it is named):

```
omnimind serve --config config --config config/profiles/small.yaml
```

## How files are read

* Whatever is wrong stops the start with exit code 2 before anything listens, and all of it is told: file, line, key, what is
  allowed. A key that is unknown, or there twice, is an error too. A key of a later release is unknown until that release.
* A time is in seconds, unless its name ends in `_ms`; a size is a number of bytes, or `64KiB`, `256MiB`, `20GiB`.
* `${VAR}` and `${VAR:-default}` in a value are replaced after the YAML is parsed, so a variable holds a value and no
  more. A variable that is not set and has no default is an error. `$${` stands for `${`. Within `{ }` and `[ ]` it is in
  quotes, because a brace means something to YAML there: `server: {port: \"${PORT}\"}`. What becomes nothing or `null` is null.
* It is plain YAML: one document in UTF-8 of at most 1 MiB, mappings and values; no anchors, aliases, tags. A number in quotes
  is a text. A key has at most 64 characters, a file 10000 of them, an expanded value 64 KiB. A relative path starts at the working directory.
* A variable `OMNIMIND_…__…` that is no key is an error. One without `__` is a warning of `serve` and `config`: names
  such as `OMNIMIND_USE_GPU` belong to releases to come, and others to programs around this one.

```
error: config/omnimind.yaml:7: server.prot: no such key in this release (did you mean port?); server has host, port, workers, timeout_keep_alive, http2, limit_concurrency, trusted_proxies, tls_proxy, tls
error: config/omnimind.yaml:3: server.port: `70000` is not allowed; it is a number from 0 to 65535
error: config/omnimind.yaml:5: data_dir: the variable DATA is not set; set it, or write ${DATA:-default}
error: environment OMNIMIND_SERVER__PROT: no such key; did you mean OMNIMIND_SERVER__PORT?
```
";

const LIMITS: &str = "
## limits

`limits.default.NAME` is what a task gets that does not ask, `limits.max.NAME` the most that it may ask for; both for
`omnimind run` too. A default above its maximum is an error; to lower a maximum below the default, lower both.
[limits.md](limits.md) says what each is. Defaults and maxima of the modes:

| `NAME` | from, to | dev | test | prod |
|---|---|---|---|---|
";

/// Variables that are no keys: of the loader, and of the clients.
const NO_KEYS: &str = "\
| `OMNIMIND_CONFIG` | The directory with the files, or one file, where no `--config` names one |
| `OMNIMIND_URL` | The server that a client asks, where no `--server` names one; `clients/python` reads it too |
| `OMNIMIND_TOKEN` | The token that a client comes with, before user and password; `--credentials` and those in the URL go before it |
";

/// The text of docs/configuration.md.
pub fn document() -> String {
    let mut text = LAYERS.to_owned();
    for file in File::ALL {
        text.push_str(&format!("\n## {}\n\n| key | default | what |\n|---|---|---|\n", file.name()));
        let rows = keys().iter().filter(|key| key.file == Some(file) && !key.path.starts_with("limits."));
        rows.for_each(|key| text.push_str(&row(key)));
    }
    text.push_str(LIMITS);
    for key in keys() {
        let Some(name) = key.path.strip_prefix("limits.default.") else { continue };
        let max = keys().iter().find(|other| other.path == format!("limits.max.{name}"));
        let cells = Mode::ALL.map(|mode| {
            let max = max.map_or("", |max| max.default(mode));
            format!("{}, {max}", key.default(mode))
        });
        let range = key.kind.to_string();
        let range = range.rsplit_once("from ").map_or("", |(_, range)| range);
        text.push_str(&format!("| `{name}` | {} | {} |\n", range.replace(" to ", ", "), cells.join(" | ")));
    }
    text.push_str("\n## Only in the environment\n\n| variable | what |\n|---|---|\n");
    for key in keys().iter().filter(|key| key.file.is_none()) {
        text.push_str(&format!("| `{}` | {} |\n", key.path, key.about));
    }
    text.push_str(NO_KEYS);
    text
}

fn row(key: &Key) -> String {
    let other = key.second_variable().map(|name| format!(" Also `{name}`.")).unwrap_or_default();
    format!("| `{}` | {} | {}{other} |\n", key.path, defaults(key), key.explained())
}

fn defaults(key: &Key) -> String {
    let dev = format!("`{}`", key.default(Mode::Dev));
    let others = Mode::ALL.into_iter().filter(|mode| key.default(*mode) != key.default(Mode::Dev));
    others.fold(dev, |text, mode| format!("{text}, {mode} `{}`", key.default(mode)))
}
