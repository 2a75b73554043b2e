//! `clients/python/omnimind.py` against a server. What it does is in python_client.py.

use std::process::Command;

use omnimind_tests::server::Server;
use omnimind_tests::{checkout, guest_path};

#[test]
fn the_python_client_does_what_it_says() {
    let server = Server::with(&["--allow-ephemeral"]);
    let guests = guest_path("hostile/echo");
    let mut python = Command::new("python3");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OMNIMIND_")) {
        python.env_remove(name);
    }
    let output = python
        .arg(checkout().join("tests/suite/python_client.py"))
        .arg(guests.parent().expect("a directory"))
        .env("OMNIMIND_DATA_DIR", &server.data_dir)
        .env("PYTHONPATH", checkout().join("clients/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // They would get the password.
        .env("http_proxy", "http://127.0.0.1:9")
        .output()
        .expect("python3, 3.9 or later, is needed for this test: apt-get install python3");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
