//! The layers together, over files of the test's own and an environment that is given.

use std::path::{Path, PathBuf};

use super::*;
use crate::limits::{Bounds, Budget};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Dir {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("omnimind-config-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn sources(paths: &[&Path], variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Sources {
    Sources {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        environment: environment(variables),
        flags: flags.iter().map(|(key, value)| Flag { key, name: "--flag", value: value.into() }).collect(),
        data_dir: Some("/home/me/omnimind".into()),
    }
}

/// What `omnimind.yaml` makes of it.
fn with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
    let dir = Dir::new(&[("omnimind.yaml", text)]);
    let shown = format!("{}/", dir.0.display());
    load(&sources(&[&dir.0], variables, &[])).map_err(|mistakes| mistakes.to_string().replace(&shown, ""))
}

fn shown(loaded: &Loaded, path: &str) -> (String, String) {
    let setting = loaded.settings.iter().find(|setting| setting.key.path == path).unwrap();
    (setting.shown(), setting.origin.to_string())
}

#[test]
fn each_layer_is_over_the_one_before() {
    let dir = Dir::new(&[("omnimind.yaml", "mode: prod\nlogging: {level: error}\n")]);
    let file = format!("{}/omnimind.yaml", dir.0.display());
    let variable = [("OMNIMIND_LOGGING__LEVEL", "debug")];
    let level = |paths: &[&Path], variables, flags| {
        shown(&load(&sources(paths, variables, flags)).unwrap(), "logging.level")
    };
    let pair = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    assert_eq!(level(&[], &[], &[]), pair("INFO", "mode dev"));
    assert_eq!(level(&[], &[], &[("mode", "prod")]), pair("WARNING", "mode prod"));
    assert_eq!(level(&[&dir.0], &[], &[]), pair("ERROR", &format!("{file}:2")));
    assert_eq!(level(&[&dir.0], &variable, &[]), pair("DEBUG", "environment OMNIMIND_LOGGING__LEVEL"));
    assert_eq!(level(&[&dir.0], &variable, &[("logging.level", "trace")]), pair("TRACE", "flag --flag"));
    let both = [("LOG_LEVEL", "info"), ("OMNIMIND_LOGGING__LEVEL", "debug")];
    assert_eq!(level(&[], &both, &[]).0, "DEBUG", "a key's own name is over its other one");
    assert_eq!(level(&[], &[("LOG_LEVEL", "warn")], &[]), pair("WARNING", "environment LOG_LEVEL"));
}

#[test]
fn the_mode_may_come_from_any_layer() {
    let fuel = |mode| Budget::Fuel.bounds(mode);
    for (file, variables, mode) in [
        ("", &[][..], Mode::Dev),
        ("mode: prod", &[], Mode::Prod),
        ("mode: prod", &[("OMNIMIND_MODE", "test")], Mode::Test),
        ("", &[("OMNIMIND_MODE", "")], Mode::Dev),
    ] {
        let config = with(file, variables).unwrap().config;
        assert_eq!(config.mode, mode);
        assert_eq!(config.limits.bounds(Budget::Fuel), fuel(mode));
        assert_eq!(config.limits, mode.into(), "the table says what the budgets say");
    }
}

#[test]
fn defaults_are_values_of_their_keys() {
    for key in keys().iter().filter(|key| key.file.is_some()) {
        for mode in Mode::ALL {
            let text = key.default(mode);
            let value = key
                .kind
                .read(&value::Scalar::plain(text))
                .unwrap_or_else(|said| panic!("{}: {said}", key.path));
            assert_eq!(key.kind.write(&value), text, "{}", key.path);
        }
    }
    let mut paths: Vec<_> = keys().iter().map(|key| &key.path).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), keys().len(), "each key once");
}

fn acme() -> crate::tenants::New {
    crate::tenants::New { tenant: "acme".into(), ..Default::default() }
}

#[test]
fn every_key_reaches_the_configuration() {
    let before = format!("{:?}", load(&sources(&[], &[], &[])).unwrap().config);
    for key in keys().iter().filter(|key| key.file.is_some()) {
        let other = match &key.kind {
            Kind::Bool => if key.default(Mode::Dev) == "true" { "false" } else { "true" }.to_owned(),
            Kind::Address => "::1".to_owned(),
            Kind::Path => "/elsewhere".to_owned(),
            Kind::Choice(words) => words[words.len() - 1].to_owned(),
            // Below the maximum; or above the default, for a maximum.
            Kind::Number { min, max } | Kind::AutoOr { min, max } | Kind::Size { min, max } => {
                let now = key.default(Mode::Dev);
                let number = parse_size(now).unwrap_or(*max);
                let other = if key.path.starts_with("limits.max.") { *max } else { *min };
                if other == number { number.saturating_sub(1).max(*min) } else { other }.to_string()
            }
            Kind::Networks => "10.0.0.0/8, ::1".to_owned(),
            Kind::Tokens => format!("[{}]", crate::tenants::for_configuration(acme()).unwrap().0),
            Kind::Url => "https://elsewhere:1".to_owned(),
            Kind::ModelName | Kind::ModelNameOrNull => "another/one".to_owned(),
            Kind::MinusOneOr { .. } => "3".to_owned(),
            Kind::Decimal { .. } => "0.25".to_owned(),
            Kind::Word => unreachable!(),
        };
        let variable = key.variable().unwrap();
        let loaded = load(&sources(&[], &[(&variable, &other)], &[]));
        // Those that have no room at all above their default.
        if loaded.as_ref().is_err_and(|error| error.to_string().contains("is below the default")) {
            continue;
        }
        // Those that come in pairs: half a pair has been seen, at the least.
        if loaded.as_ref().is_err_and(|error| error.to_string().contains("set both or neither")) {
            continue;
        }
        let loaded = loaded.unwrap_or_else(|error| panic!("{variable}={other}: {error}"));
        assert_ne!(format!("{:?}", loaded.config), before, "{variable}={other} changes nothing");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, said) in [
        (
            "mode: dev\nserver:\n  prot: 1\n",
            "omnimind.yaml:3: server.prot: no such key in this release (did you mean port?); server has host, port, workers, timeout_keep_alive, http2, limit_concurrency, trusted_proxies, tls_proxy, tls",
        ),
        (
            "memory: {episodic_db: embedded}\n",
            "omnimind.yaml:1: memory: no such key in this release; omnimind.yaml has mode, server, data_dir, interpreters, authentication, rate_limiting, websocket, protection, limits, store, logging, cache, metrics",
        ),
        (
            "performance:\n  task_timeout: 1\n",
            "omnimind.yaml:1: performance: it belongs in agent_config.yaml",
        ),
        ("mode: production\n", "omnimind.yaml:1: mode: `production` is not allowed; it is dev, test or prod"),
        (
            "server:\n  port: 70000\n",
            "omnimind.yaml:2: server.port: `70000` is not allowed; it is a number from 0 to 65535",
        ),
        (
            "server: {port: \"80\"}\n",
            "omnimind.yaml:1: server.port: `\"80\"`, a text in quotes, is not allowed; it is a number from 0 to 65535",
        ),
        (
            "server: {port: }\n",
            "omnimind.yaml:1: server.port: nothing is not allowed; it is a number from 0 to 65535",
        ),
        (
            "server: {port: [1]}\n",
            "omnimind.yaml:1: server.port: a list is not allowed; it is a number from 0 to 65535",
        ),
        (
            "server: {port: {a: 1}}\n",
            "omnimind.yaml:1: server.port: a mapping is not allowed; it is a number from 0 to 65535",
        ),
        (
            "server: 8000\n",
            "omnimind.yaml:1: server: it is a mapping; server has host, port, workers, timeout_keep_alive, http2, limit_concurrency, trusted_proxies, tls_proxy, tls",
        ),
        (
            "server: {workers: 1}\n",
            "omnimind.yaml:1: server.workers: `1` is not allowed; it is auto or a number from 2 to 1024",
        ),
        (
            "store: {max_bytes: 20GB}\n",
            "omnimind.yaml:1: store.max_bytes: `20GB` is not allowed; it is a number of bytes like 1000 or 256MiB, from 0 to 1073741824GiB",
        ),
        ("mode: dev\nmode: dev\n", "omnimind.yaml:2: mode: it comes twice; the first is in line 1"),
        (
            "data_dir: ${DATA}\n",
            "omnimind.yaml:1: data_dir: the variable DATA is not set; set it, or write ${DATA:-default}",
        ),
        (
            "limits:\n  default: {fuel: 10}\n  max: {fuel: 9}\n",
            "omnimind.yaml:2: limits.default.fuel: the default, 10, is above the maximum, 9 (limits.max.fuel, omnimind.yaml:3)",
        ),
        (
            "limits:\n  max: {wall_ms: 9000}\n",
            "omnimind.yaml:2: limits.max.wall_ms: the maximum, 9000, is below the default, 300000 (limits.default.wall_ms, default): lower that too",
        ),
        (
            "mode: prod\nauthentication: {enabled: false}\n",
            "omnimind.yaml:2: authentication.enabled: false is not allowed in mode prod: anybody could run tasks here",
        ),
        (
            "server: {host: 0.0.0.0}\nauthentication: {enabled: false}\n",
            "omnimind.yaml:2: authentication.enabled: false is not allowed on an address that is not loopback: anybody could run tasks here",
        ),
        (
            "mode: prod\nserver: {host: 0.0.0.0}\n",
            "omnimind.yaml:2: server.host: mode prod listens on loopback only, unless it has TLS: set server.tls.cert and server.tls.key, or server.tls_proxy where a proxy before it speaks TLS",
        ),
        (
            "server: {tls: {cert: a.pem}}\n",
            "omnimind.yaml:1: server.tls.cert: it is set and server.tls.key is not; set both or neither",
        ),
        (
            "mode: prod\nserver: {host: 0.0.0.0, tls: {key: a.pem}}\n",
            "the configuration has 2 mistakes\n  omnimind.yaml:2: server.tls.key: it is set and server.tls.cert is not; set both or neither\n  omnimind.yaml:2: server.host: mode prod listens on loopback only, unless it has TLS: set server.tls.cert and server.tls.key, or server.tls_proxy where a proxy before it speaks TLS",
        ),
        (
            "mode: x\nserver:\n  prot: {a: b, c: d}\n",
            "the configuration has 2 mistakes\n  omnimind.yaml:3: server.prot: no such key in this release (did you mean port?); server has host, port, workers, timeout_keep_alive, http2, limit_concurrency, trusted_proxies, tls_proxy, tls\n  omnimind.yaml:1: mode: `x` is not allowed; it is dev, test or prod",
        ),
    ] {
        assert_eq!(with(text, &[]).unwrap_err(), said, "{text}");
    }
}

#[test]
fn variables_that_are_wrong_are_named() {
    for (variable, value, said) in [
        (
            "OMNIMIND_SERVER__PROT",
            "1",
            "environment OMNIMIND_SERVER__PROT: no such key; did you mean OMNIMIND_SERVER__PORT?",
        ),
        (
            "OMNIMIND_SERVER__PORT",
            "x",
            "environment OMNIMIND_SERVER__PORT: server.port: `x` is not allowed; it is a number from 0 to 65535",
        ),
        (
            "OMNIMIND_DASHBOARD_USER",
            "ada",
            "environment OMNIMIND_DASHBOARD_USER: it is set and OMNIMIND_DASHBOARD_PASS is not; set both or neither",
        ),
    ] {
        assert_eq!(with("", &[(variable, value)]).unwrap_err(), said);
    }
    let seed =
        [("OMNIMIND_USE_GPU", "true"), ("OMNIMIND_MOD", "x"), ("OMNIMIND_CONFIG", ""), ("OTHER__X", "1")];
    let warnings = with("", &seed).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(
        warnings[0],
        "the variable OMNIMIND_MOD is set, and this release does not read it; did you mean OMNIMIND_MODE?"
    );
    assert!(warnings[1].starts_with("the variable OMNIMIND_USE_GPU is set"));
}

#[test]
fn a_tasks_default_time_has_two_names_and_one_value() {
    let wall = |loaded: &Loaded| loaded.config.limits.bounds(Budget::WallMs).default;
    let timeout = ("OMNIMIND_PERFORMANCE__TASK_TIMEOUT", "180");
    let loaded = with("", &[timeout]).unwrap();
    assert_eq!(wall(&loaded), 180_000);
    assert_eq!(shown(&loaded, "limits.default.wall_ms").1, "environment OMNIMIND_PERFORMANCE__TASK_TIMEOUT");
    let loaded = with("limits: {default: {wall_ms: 1500}}", &[]).unwrap();
    assert_eq!((wall(&loaded), shown(&loaded, "performance.task_timeout").0), (1500, "1.500".into()));
    assert!(with("limits: {default: {wall_ms: 180000}}", &[timeout]).is_ok());
    assert_eq!(
        with("limits: {default: {wall_ms: 1500}}", &[timeout]).unwrap_err(),
        "environment OMNIMIND_PERFORMANCE__TASK_TIMEOUT: performance.task_timeout: 180 s is not the 1500 ms of \
         limits.default.wall_ms (omnimind.yaml:1), and both are a task's default time; set one"
    );
}

#[test]
fn a_variable_is_a_value_and_nothing_more() {
    let trick = ("TRICK", "8001\nmode: prod");
    let said = with("server:\n  port: ${TRICK}\n", &[trick]).unwrap_err();
    assert_eq!(
        said,
        "omnimind.yaml:2: server.port: `${TRICK}`, expanded, is not allowed; it is a number from 0 to 65535"
    );
    let loaded = with("server: {port: \"${PORT}\"}\ndata_dir: /a/${NAME:-b}\n", &[("PORT", "81")]).unwrap();
    assert_eq!((loaded.config.server.port, loaded.config.data_dir), (81, "/a/b".into()));
}

#[test]
fn one_file_may_have_the_keys_of_both_and_goes_on_top() {
    let dir = Dir::new(&[
        ("omnimind.yaml", "server:\n"),
        ("agent_config.yaml", "performance: {task_timeout: 7, retry_attempts: 5}\n"),
        ("top.yaml", "mode: test\nperformance: {task_timeout: 180}\n"),
    ]);
    let loaded = load(&sources(&[&dir.0, &dir.0.join("top.yaml")], &[], &[])).unwrap();
    assert_eq!(loaded.config.limits.bounds(Budget::WallMs), Bounds { default: 180_000, max: 600_000 });
    assert_eq!((loaded.config.performance.retry_attempts, loaded.files.len()), (5, 3));
    let variable = dir.0.join("top.yaml").display().to_string();
    let loaded = load(&sources(&[], &[("OMNIMIND_CONFIG", &variable)], &[])).unwrap();
    assert_eq!(loaded.config.mode, Mode::Test);
}

#[test]
fn what_was_named_has_to_be_there() {
    let dir = Dir::new(&[]);
    let said = load(&sources(&[&dir.0], &[], &[])).unwrap_err().to_string();
    assert_eq!(said, format!("{}: neither omnimind.yaml nor agent_config.yaml is in it", dir.0.display()));
    assert!(load(&sources(&[], &[("OMNIMIND_CONFIG", dir.0.to_str().unwrap())], &[])).is_err());
    let missing = dir.0.join("missing");
    let said = load(&sources(&[&missing], &[], &[])).unwrap_err().to_string();
    assert!(said.contains("No such file") && said.contains("omnimind.yaml"), "{said}");
    assert!(load(&sources(&[], &[("OMNIMIND_CONFIG", missing.to_str().unwrap())], &[])).is_err());
    std::fs::create_dir(dir.0.join("omnimind.yaml")).unwrap();
    let said = load(&sources(&[&dir.0], &[], &[])).unwrap_err().to_string();
    assert!(said.ends_with("omnimind.yaml: it cannot be read: it is not a file"), "{said}");
    assert!(load(&sources(&[Path::new("/dev/null")], &[], &[])).is_err());
}

#[test]
fn a_file_with_nearly_the_right_name_is_not_passed_over() {
    for (wrong, right) in [
        ("omnimind.yml", "omnimind.yaml"),
        ("agent_config.yml", "agent_config.yaml"),
        ("Omnimind.YAML", "omnimind.yaml"),
        ("agent_config.json", "agent_config.yaml"),
    ] {
        for other in [&[][..], &[("omnimind.yaml", "mode: test")]] {
            let dir = Dir::new(&[other, &[(wrong, "mode: prod")]].concat());
            let said = load(&sources(&[&dir.0], &[], &[])).unwrap_err().to_string();
            assert_eq!(
                said,
                format!("{}/{wrong}: nothing reads a file of this name; call it {right}", dir.0.display())
            );
        }
    }
    let others =
        ["omnimind.env", "omnimind.service", "omnimind.yaml.bak", "other.yml"].map(|name| (name, ""));
    let dir = Dir::new(&[&others[..], &[("omnimind.yaml", "mode: test")]].concat());
    assert_eq!(load(&sources(&[&dir.0], &[], &[])).unwrap().config.mode, Mode::Test);
}

#[test]
fn names_are_reserved_as_a_whole() {
    let warnings =
        with("", &[("OMNIMIND_CONFIG_DIR", "x"), ("OMNIMIND_TEST_UPDATE", "1"), ("OMNIMIND_URL", "x")]);
    let warnings = warnings.unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("OMNIMIND_CONFIG_DIR"), "{warnings:?}");
    let said = with("", &[("OMNIMIND_CONFIG__X", "x")]).unwrap_err();
    assert!(said.starts_with("environment OMNIMIND_CONFIG__X: no such key"), "{said}");
}

#[test]
fn an_expansion_to_nothing_is_null_where_null_is_allowed() {
    for text in ["${X:-null}", "${X:-}", "${EMPTY}", "\"${X:-null}\"", "${X:-~}"] {
        let loaded = with(&format!("data_dir: {text}\n"), &[("EMPTY", "")]).unwrap();
        assert_eq!(loaded.config.data_dir, Path::new("/home/me/omnimind"), "{text}");
    }
    assert_eq!(
        with("data_dir: \"null\"\n", &[]).unwrap().config.data_dir,
        Path::new("null"),
        "in quotes, a text"
    );
    assert_eq!(
        with("mode: ${X:-}\n", &[]).unwrap_err(),
        "omnimind.yaml:1: mode: `${X:-}`, expanded, is not allowed; it is dev, test or prod"
    );
}

#[test]
fn credentials_that_nobody_could_use_are_a_mistake() {
    for (user, password, said) in [
        ("a:b", "secret", "environment OMNIMIND_DASHBOARD_USER: a user's name has no `:`, and is not empty"),
        (
            "",
            "secret",
            "environment OMNIMIND_DASHBOARD_PASS: it is set and OMNIMIND_DASHBOARD_USER is not; set both or neither",
        ),
    ] {
        let variables = [("OMNIMIND_DASHBOARD_USER", user), ("OMNIMIND_DASHBOARD_PASS", password)];
        assert_eq!(with("", &variables).unwrap_err(), said);
    }
}

#[test]
fn mistakes_are_told_in_bounds_and_escaped_once() {
    let text: String = (0..60).map(|n| format!("k{n}: 1\n")).collect();
    let said = with(&text, &[]).unwrap_err();
    assert!(said.starts_with("the configuration has 60 mistakes\n"), "{said}");
    assert_eq!(said.lines().count(), 52);
    assert!(said.ends_with("\n  and 10 more"), "{said}");

    let said = with("mode: \"it's C:\\\\x \\e[2J\"\n", &[]).unwrap_err();
    assert!(said.starts_with("omnimind.yaml:1: mode: `\"it's C:\\x \\u{1b}[2J\"`, a text"), "{said}");
    let said = with("\"it's\\e\": 1\n", &[]).unwrap_err();
    assert!(said.starts_with("omnimind.yaml:1: it's\\u{1b}: no such key"), "{said}");
    let said = with("", &[("OMNIMIND_A__\u{1b}", "1")]).unwrap_err();
    assert!(said.starts_with("environment OMNIMIND_A__\\u{1b}: no such key"), "{said}");
    let warnings = with("", &[("OMNIMIND_\u{1b}", "1")]).unwrap().warnings;
    assert!(warnings[0].starts_with("the variable OMNIMIND_\\u{1b} is set"), "{warnings:?}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let secret = [("OMNIMIND_DASHBOARD_USER", "ada"), ("OMNIMIND_DASHBOARD_PASS", "quite secret")];
    let loaded = with("", &secret).unwrap();
    assert_eq!(shown(&loaded, "OMNIMIND_DASHBOARD_PASS").0, "set, hidden");
    assert!(!format!("{loaded:?}").contains("quite secret"));
    assert_eq!(loaded.config.authentication.credentials.unwrap().password, "quite secret");
}
