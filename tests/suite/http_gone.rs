//! Clients that go away, stall or send too much: nothing half-done, no leaked place, no memory kept.

use std::io::Write;
use std::time::Duration;

use omnimind_tests::server::{Reply, Server};
use omnimind_tests::wire::{
    answer, assert_healthy, assert_idle, exchange, head, memory_kib, read_all, statuses, timed,
};
use omnimind_tests::{bombs, guest};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

#[test]
fn a_client_that_goes_away_while_it_waits_changes_nothing() {
    let server = Server::start();
    let digest = server.push("hostile/sleep");
    let body = json!({"component": digest, "input": 300}).to_string();
    let request = format!(
        "{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        head(&server, "POST /api/tasks/?wait=60s"),
        body.len()
    );
    for _ in 0..80 {
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).expect("it is sent");
        drop(stream);
    }
    // A request that came whole may be dropped before it was looked at; what was accepted comes to its end.
    let list = omnimind_tests::server::eventually(|| {
        assert_idle(&server);
        let list = server.get("/api/tasks/?limit=1000").json();
        // The server may take up the last of them only now.
        let ended = |task: &Value| task["completed_at"].is_string();
        list["tasks"].as_array().is_some_and(|tasks| tasks.iter().all(ended)).then_some(list)
    });
    for task in list["tasks"].as_array().expect("tasks") {
        assert_eq!((&task["status"], &task["attempts"]), (&json!("completed"), &json!(1)), "{task}");
    }
    assert_eq!(server.run(&json!({"component": digest, "input": 1}))["status"], "completed");
}

#[test]
fn a_submission_that_is_cut_anywhere_is_whole_or_not_there() {
    let server = Server::start();
    let digest = server.push("hostile/echo");
    let body = json!({"component": digest, "input": "x".repeat(500)}).to_string();
    let request = format!(
        "{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        head(&server, "POST /api/tasks/"),
        body.len()
    );
    for cut in (0..request.len()).step_by(7) {
        let mut stream = server.connect();
        stream.write_all(&request.as_bytes()[..cut]).expect("it is sent");
    }
    let wasm = guest("hostile/echo");
    let upload = format!(
        "{}Content-Type: application/wasm\r\nContent-Length: {}\r\n\r\n",
        head(&server, "POST /api/components/?name=cut"),
        wasm.len()
    );
    for cut in (0..wasm.len()).step_by(50) {
        let mut stream = server.connect();
        stream
            .write_all(upload.as_bytes())
            .and_then(|()| stream.write_all(&wasm[..cut]))
            .expect("it is sent");
    }
    assert_idle(&server);
    assert_eq!(server.get("/api/tasks/").json()["tasks"], json!([]));
    server.get("/api/components/cut").problem(404, "not_found");
}

#[test]
fn uploads_that_are_given_up_leave_no_place_taken() {
    let server = Server::start();
    // Together many times the memory that bodies may have.
    for _ in 0..60 {
        let mut stream = server.connect();
        let size = 64 * MIB;
        let request = format!(
            "{}Content-Type: application/wasm\r\nContent-Length: {size}\r\n\r\n",
            head(&server, "POST /api/components/")
        );
        stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(&[0; 100])).expect("it is sent");
    }
    let wasm = bombs::medium_functions(200, 1000);
    assert!(wasm.len() > 128 << 10, "one that has to be counted: {}", wasm.len());
    let reply = omnimind_tests::server::eventually(|| {
        let reply = server.request("POST", "/api/components/").wasm(&wasm).send();
        Some(reply).filter(|reply| reply.status != 503)
    });
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_healthy(&server);
}

#[test]
fn bodies_over_the_cap_are_refused_before_they_are_kept() {
    let server = Server::start();
    let before = memory_kib(&server, "VmHWM");
    for path in ["/api/components/", "/api/tasks/"] {
        for (media_type, size) in [
            ("application/wasm", 64 * MIB + 1),
            ("application/json", 200 * MIB),
            ("multipart/form-data; boundary=x", 1 << 40),
        ] {
            if path.contains("components") && media_type.contains("json") {
                continue;
            }
            let request = format!(
                "{}Content-Type: {media_type}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n",
                head(&server, &format!("POST {path}"))
            );
            let problem = answer(&server, request.as_bytes()).problem(413, "too_large");
            assert!(problem["limit_bytes"].is_u64(), "{problem}");
        }
    }
    // One that is written before the answer is read.
    let large = vec![0; 66 * MIB];
    server.request("POST", "/api/components/").wasm(&large).send().problem(413, "too_large");
    let grown = memory_kib(&server, "VmHWM") - before;
    assert!(grown < 16 << 10, "{grown} KiB for what was refused");
    // Without credentials nothing is read.
    let (reply, took) =
        timed(|| server.request("POST", "/api/components/").anonymous().wasm(&large).try_send());
    if let Ok(reply) = reply {
        reply.problem(401, "unauthorized");
    }
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(memory_kib(&server, "VmHWM") - before < 16 << 10);
}

#[test]
fn a_body_without_an_end_is_cut_off() {
    let server = Server::start();
    let before = memory_kib(&server, "VmRSS");
    let chunk = [b"100000\r\n".as_slice(), &vec![b'a'; MIB], b"\r\n"].concat();
    for _ in 0..3 {
        let mut stream = server.connect();
        let request = format!(
            "{}Content-Type: application/wasm\r\nTransfer-Encoding: chunked\r\n\r\n",
            head(&server, "POST /api/components/")
        );
        stream.write_all(request.as_bytes()).expect("it is sent");
        let sent = (0..1000).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        assert!((60..200).contains(&sent), "{sent} MiB were taken");
        assert_eq!(statuses(&read_all(&mut stream)), [413]);
    }
    let peak = memory_kib(&server, "VmHWM") - before;
    assert!(peak < 200 << 10, "{peak} KiB at most");
    let kept = memory_kib(&server, "VmRSS").saturating_sub(before);
    assert!(kept < 90 << 10, "{kept} KiB are kept");
}

#[test]
fn large_bodies_one_after_another_leave_nothing_behind() {
    let server = Server::start();
    let upload = |n: usize| {
        let mut bytes = vec![0; 60 * MIB];
        bytes[..8].copy_from_slice(b"\0asm\x0d\0\x01\0");
        bytes[8] = n as u8;
        server.request("POST", "/api/components/").wasm(&bytes).send().problem(400, "component_invalid");
    };
    upload(0);
    let before = memory_kib(&server, "VmRSS");
    (1..8).for_each(upload);
    let kept = memory_kib(&server, "VmRSS").saturating_sub(before);
    assert!(kept < 90 << 10, "{kept} KiB");
    assert!(memory_kib(&server, "VmHWM") < 400 << 10, "{} KiB", memory_kib(&server, "VmHWM"));
}

#[test]
fn large_inputs_and_outputs_are_whole_and_bounded() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    let text = "x".repeat(10 * MIB);
    let limits = json!({"input_bytes": 64 * MIB, "output_bytes": 64 * MIB});
    let record = server.run(&json!({"component": echo, "input_text": text, "limits": limits}));
    assert_eq!(record["result_text"].as_str().map(str::len), Some(10 * MIB), "{}", record["failure"]);
    let over = "x".repeat(17 * MIB);
    let reply = server.post("/api/tasks/", &json!({"component": echo, "input_text": over}));
    let problem = reply.problem(413, "too_large");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("input_bytes")), "{problem}");
    assert_eq!(server.get("/api/tasks/").json()["tasks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn many_small_bodies_of_unknown_length_come_in_beside_each_other() {
    let server = Server::start();
    let echo = server.push("hostile/echo");
    let body = json!({"component": echo, "input": 1}).to_string();
    let (first, second) = body.split_at(20);
    let request = format!(
        "{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{:x}\r\n{first}\r\n",
        head(&server, "POST /api/tasks/"),
        first.len()
    );
    let mut streams: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(request.as_bytes()).expect("it is sent");
            stream
        })
        .collect();
    assert_healthy(&server);
    for stream in &mut streams {
        // One that was refused may be closed already.
        let _ = stream.write_all(format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len()).as_bytes());
    }
    for mut stream in streams {
        let reply = Reply::read(&mut stream).expect("an answer");
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    assert_idle(&server);
}

#[test]
fn slow_the_same_bomb_a_thousand_times_is_compiled_once() {
    let server = Server::start();
    let bomb = bombs::phis(1003);
    let send = |path: &str| server.request("POST", path).wasm(&bomb).send();
    let before = memory_kib(&server, "VmRSS");
    let (_, took) = timed(|| {
        std::thread::scope(|scope| {
            for worker in 0..50 {
                scope.spawn(move || {
                    let path = if worker % 2 == 0 { "/api/components/" } else { "/api/tasks/" };
                    for _ in 0..20 {
                        send(path).problem(422, "compile_timeout");
                    }
                });
            }
        });
    });
    assert!(took < Duration::from_secs(60), "{took:?}");
    let kept = memory_kib(&server, "VmRSS").saturating_sub(before);
    assert!(kept < 60 << 10, "{kept} KiB");
    assert_idle(&server);
}

#[test]
fn slow_clients_are_given_up_and_others_do_not_notice() {
    let server = Server::start();
    let address = server.address;
    let authorized = head(&server, "POST /api/tasks/");
    let declared = format!("{authorized}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n");
    let patience = Duration::from_secs(40);
    let health = || timed(|| assert_healthy(&server)).1;
    std::thread::scope(|scope| {
        let exchange = |bytes: Vec<u8>| timed(|| exchange(&server, &bytes, patience));
        let nothing = scope.spawn(move || exchange(Vec::new()));
        let half_a_head =
            scope.spawn(move || exchange(format!("GET / HTTP/1.1\r\nHost: {address}\r\nX-").into_bytes()));
        let half_a_body = {
            let bytes = format!("{declared}{{").into_bytes();
            scope.spawn(move || exchange(bytes))
        };
        let idle =
            scope.spawn(move || exchange(format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes()));
        let drops = |name: &'static str, bytes: String, step: &'static str| {
            let server = &server;
            scope.spawn(move || {
                timed(|| {
                    let mut stream = server.connect();
                    stream.write_all(bytes.as_bytes()).expect("it is sent");
                    let _ = stream.set_nonblocking(true);
                    for _ in 0..70 {
                        let mut some = [0; 4096];
                        use std::io::Read;
                        match stream.read(&mut some) {
                            Ok(read) => return String::from_utf8_lossy(&some[..read]).into_owned(),
                            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(_) => return String::new(),
                        }
                        if stream.write_all(step.as_bytes()).is_err() {
                            return String::new();
                        }
                        omnimind_tests::pause(Duration::from_millis(500));
                    }
                    panic!("{name} goes on for ever");
                })
            })
        };
        let dripping_head = drops("a head", format!("GET / HTTP/1.1\r\nHost: {address}\r\n"), "X: y\r\n");
        let dripping_body = drops("a body", declared.clone(), " ");
        for _ in 0..20 {
            assert!(health() < Duration::from_secs(2));
            omnimind_tests::pause(Duration::from_millis(100));
        }
        // Nothing, or `408`; and not much later than the ten seconds.
        for (what, thread) in [("nothing", nothing), ("half a head", half_a_head)] {
            let (bytes, took) = thread.join().expect("no panic");
            assert!(matches!(*statuses(&bytes), [] | [408]), "{what}: {:?}", statuses(&bytes));
            assert!((5..20).contains(&took.as_secs()), "{what}: {took:?}");
        }
        let (bytes, took) = half_a_body.join().expect("no panic");
        assert_eq!(statuses(&bytes), [408]);
        assert!(String::from_utf8_lossy(&bytes).contains("request_timeout"));
        assert!((5..20).contains(&took.as_secs()), "half a body: {took:?}");
        let (bytes, took) = idle.join().expect("no panic");
        assert_eq!(statuses(&bytes), [200]);
        assert!(took < Duration::from_secs(35), "idle: {took:?}");
        let (_, took) = dripping_head.join().expect("no panic");
        assert!(took < Duration::from_secs(20), "a head that drips: {took:?}");
        let (text, took) = dripping_body.join().expect("no panic");
        assert!(text.is_empty() || text.contains("408"), "{text}");
        assert!(took < Duration::from_secs(30), "a body that drips: {took:?}");
    });
    assert_idle(&server);
    assert_eq!(server.get("/api/tasks/").json()["tasks"], Value::Array(Vec::new()));
}
