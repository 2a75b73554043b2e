//! What `omnimind serve` is told on its command line and in its environment reaches what it is about.

use std::process::Command;

use omnimind_tests::binary;
use omnimind_tests::server::{Server, command, eventually, scratch};
use serde_json::json;

/// A data directory in which three tasks have ended.
fn with_three_tasks() -> std::path::PathBuf {
    let data_dir = scratch("flags");
    let mut server = Server::launch(command(&data_dir), &data_dir).expect("a server");
    let echo = server.push("hostile/echo");
    for input in 0..3 {
        server.run(&json!({"component": echo, "input": input}));
    }
    assert_eq!(server.terminate(), Some(0));
    data_dir
}

fn tasks(server: &Server) -> usize {
    server.get("/api/tasks/").json()["tasks"].as_array().expect("tasks").len()
}

#[test]
fn retention_is_what_the_flags_say() {
    for (flag, value, kept) in [
        ("--max-tasks", "1", 1),
        ("--max-bytes", "1KiB", 0),
        ("--retention-days", "0", 0),
        ("--max-tasks", "3", 3),
    ] {
        let data_dir = with_three_tasks();
        let mut serve = command(&data_dir);
        serve.args([flag, value]);
        let server = Server::launch(serve, &data_dir).expect("a server");
        eventually(|| (tasks(&server) == kept).then_some(()));
        drop(server);
        std::fs::remove_dir_all(data_dir).expect("a directory");
    }
}

#[test]
fn the_environment_sets_the_credentials() {
    let data_dir = scratch("flags");
    let mut serve = command(&data_dir);
    serve.env("OMNIMIND_DASHBOARD_USER", "ada").env("OMNIMIND_DASHBOARD_PASS", "a password");
    let server = Server::launch(serve, &data_dir).expect("a server");
    let basic = "Basic YWRhOmEgcGFzc3dvcmQ=";
    assert_eq!(server.request("GET", "/api/tasks/").header("Authorization", basic).send().status, 200);
    let other = "Basic YWRhOmFub3RoZXI=";
    server.request("GET", "/api/tasks/").header("Authorization", other).send().problem(401, "unauthorized");
    drop(server);
    std::fs::remove_dir_all(data_dir).expect("a directory");
}

#[test]
fn an_address_that_is_taken_may_be_free_later() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut serve = Command::new(binary());
    serve.args(["serve", "--port", &port, "--data-dir"]).arg(scratch("flags"));
    let output = serve.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(5) && said.contains("cannot listen on"), "{said}");
}

#[test]
fn prod_listens_on_loopback_only() {
    let data_dir = scratch("flags");
    let mut serve = command(&data_dir);
    serve.args(["--mode", "prod", "--host", "0.0.0.0"]);
    let output = serve.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("loopback") && said.contains("proxy"), "{said}");
}
