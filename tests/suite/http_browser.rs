//! A browser: signed in by the link that the server prints, and by nothing that another page can do.

use omnimind_tests::server::{Reply, Server};
use serde_json::json;

/// Path and query of the link in the server's log.
fn link(server: &Server) -> String {
    let log = server.log.lock().expect("no panic").clone();
    let at = log.find("/sign-in?ticket=").unwrap_or_else(|| panic!("no link: {log}"));
    log[at..].split_whitespace().next().expect("a link").to_owned()
}

/// Starts a server and signs in; the cookie.
fn signed_in() -> (Server, String) {
    let server = Server::start();
    // The lines after the address come a moment later.
    omnimind_tests::server::eventually(|| {
        server.log.lock().expect("no panic").contains("try it").then_some(())
    });
    let reply = server.request("GET", &link(&server)).anonymous().send();
    assert_eq!((reply.status, reply.headers.get("location").map(|to| &**to)), (303, Some("/")), "{reply:?}");
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
    server.request("GET", &link(&server)).anonymous().send().problem(403, "link_expired");
    server.request("GET", "/sign-in").anonymous().send().problem(403, "link_expired");
    get(&server, "/api/tasks/", "omnimind_session=guess").problem(401, "unauthorized");
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
