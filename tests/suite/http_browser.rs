//! A browser: signed in by the link that the server prints, and by nothing that another page can do.

use std::time::Duration;

use omnimind_tests::server::{Reply, Server};
use omnimind_tests::wire::{exchange, statuses};
use serde_json::json;

/// A link, from the command line as a person would ask for it.
fn link(server: &Server) -> String {
    let mut command = std::process::Command::new(omnimind_tests::binary());
    command.arg("sign-in").arg("--data-dir").arg(&server.data_dir).env_remove("OMNIMIND_URL");
    let output = command.output().expect("omnimind starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let address = format!("http://{}", server.address);
    let path = text.trim().strip_prefix(&address).unwrap_or_else(|| panic!("{text}: {:?}", output.stderr));
    path.to_owned()
}

/// Starts a server and signs in; the cookie.
fn signed_in() -> (Server, String) {
    let server = Server::start();
    let link = link(&server);
    // What previews and checks links asks like this.
    let head = format!("HEAD {link} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address);
    assert_eq!(statuses(&exchange(&server, head.as_bytes(), Duration::from_secs(10))), [405]);
    let reply = server.request("GET", &link).anonymous().send();
    assert_eq!((reply.status, reply.headers.get("location").map(|to| &**to)), (303, Some("/")), "{reply:?}");
    server.request("GET", &link).anonymous().send().problem(403, "link_expired");
    let cookie = reply.headers.get("set-cookie").expect("a cookie").clone();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict;"), "{cookie}");
    (server, cookie.split(';').next().expect("a pair").to_owned())
}

fn get(server: &Server, path: &str, cookie: &str) -> Reply {
    server.request("GET", path).anonymous().header("Cookie", cookie).send()
}

#[test]
fn the_link_signs_one_browser_in_once() {
    let (server, cookie) = signed_in();
    assert_eq!(get(&server, "/api/tasks/", &cookie).status, 200);
    assert!(get(&server, "/", &cookie).text().contains("You are signed in"));
    assert!(!server.request("GET", "/").anonymous().send().text().contains("signed in."));
    server.request("GET", "/sign-in").anonymous().send().problem(403, "link_expired");
    let (name, _) = cookie.split_once('=').expect("a pair");
    get(&server, "/api/tasks/", &format!("{name}=guess")).problem(401, "unauthorized");
    server.request("POST", "/api/sign-in").anonymous().send().problem(401, "unauthorized");
}

#[test]
fn a_browser_signs_out() {
    let (server, cookie) = signed_in();
    let reply = server.request("POST", "/sign-out").anonymous().header("Cookie", &cookie).send();
    assert_eq!(reply.status, 303);
    assert!(reply.headers.get("set-cookie").is_some_and(|cookie| cookie.ends_with("Max-Age=0")));
    get(&server, "/api/tasks/", &cookie).problem(401, "unauthorized");
}

#[test]
fn the_link_is_not_in_a_log_that_others_may_read() {
    let server = Server::start();
    omnimind_tests::server::eventually(|| {
        server.log.lock().expect("no panic").contains("try it").then_some(())
    });
    let log = server.log.lock().expect("no panic").clone();
    assert!(log.contains("omnimind sign-in") && !log.contains("ticket"), "{log}");
}

#[test]
fn a_page_of_another_origin_cannot_use_the_browsers_cookie() {
    let (server, cookie) = signed_in();
    let digest = server.push("hostile/echo");
    let remove = |origin: &str| {
        let request = server.request("DELETE", &format!("/api/components/{digest}")).anonymous();
        request.header("Cookie", &cookie).header("Origin", origin).send()
    };
    remove("http://evil.example").problem(403, "origin_not_allowed");
    assert_eq!(remove(&format!("http://{}", server.address)).status, 204);
}

#[test]
fn a_cookie_is_worth_nothing_after_a_restart_and_what_was_submitted_with_it_is_there() {
    let (mut server, cookie) = signed_in();
    let digest = server.push("hostile/echo");
    let request = server.request("POST", "/api/tasks/?wait=10s").anonymous().header("Cookie", &cookie);
    let reply = request.json(&json!({"component": digest, "input": 7})).send();
    let id = reply.json()["task_id"].as_str().expect("an id").to_owned();
    server.kill();
    let again = Server::launch(omnimind_tests::server::command(&server.data_dir), &server.data_dir);
    let again = again.unwrap_or_else(|log| panic!("{log}"));
    get(&again, "/api/tasks/", &cookie).problem(401, "unauthorized");
    assert_eq!(again.task(&id)["result"], 7);
}
