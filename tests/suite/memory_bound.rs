//! A task makes the server larger by no more than its `memory_bytes`, its input, its output and 32 MiB.

use omnimind_tests::server::Server;
use omnimind_tests::{checkout, usage};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const MEMORY: u64 = 64 * MIB;

/// What the server may take for a task beside its memory, input and output.
const MORE: u64 = 32 * MIB;

/// Uploads this component; its digest.
fn push(server: &Server, component: &[u8]) -> String {
    let reply = server.request("POST", "/api/components/").wasm(component).send();
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["digest"].as_str().expect("a digest").to_owned()
}

/// Runs `task`; its record, and by how much the server grew meanwhile.
fn run(server: &Server, task: &Value) -> (Value, u64) {
    let before = usage::resident(server.pid());
    usage::forget_peak(server.pid());
    let record = server.run(task);
    (record, usage::peak(server.pid()).saturating_sub(before))
}

/// `carry`, with this encoding of its text.
fn carry(encoding: &str, fill: u8, bytes_per_unit: u8, tag: u32) -> Vec<u8> {
    let read = |file: &str| {
        std::fs::read_to_string(checkout().join("guest-tasks/hostile").join(file)).expect("text")
    };
    let mut text = read("carry.wat").replace(";; include skeleton", &read("skeleton.inc"));
    let global = |name: &str, value: &str| (format!("(global ${name} i32 (i32.const "), value.to_owned());
    let (fill, bytes, tag) = (fill.to_string(), bytes_per_unit.to_string(), tag.to_string());
    for (before, value) in [global("fill", &fill), global("bytes-per-unit", &bytes), global("tag", &tag)] {
        let (head, tail) = text.split_once(&before).expect("it is there");
        let (_, tail) = tail.split_once(')').expect("its end");
        text = format!("{head}{before}{value}){tail}");
    }
    let encoding = format!("string-encoding={encoding}");
    wat::parse_str(text.replace("string-encoding=utf8", &encoding)).expect("text")
}

#[test]
fn a_call_takes_no_more_than_memory_leaves_room_for() {
    let server = Server::start();
    // What becomes longest in UTF-8: of Latin-1 two bytes of one, of UTF-16 three of two.
    let encodings = [
        ("utf8", carry("utf8", b'x', 1, 0)),
        ("utf16", carry("utf16", 0x30, 2, 0)),
        ("latin1+utf16", carry("latin1+utf16", 0xe9, 1, 0)),
        ("latin1+utf16", carry("latin1+utf16", 0x30, 2, 1 << 31)),
    ];
    for (encoding, component) in encodings {
        let component = push(&server, &component);
        let task = |bytes: u64| json!({"component": component, "input_text": bytes.to_string(), "limits": {"memory_bytes": MEMORY}});
        run(&server, &task(0));
        let mut grown = [0; 3];
        for (grown, bytes) in grown.iter_mut().zip([10 * MIB, 10 * MIB + 2, 60 * MIB]) {
            let (record, by) = run(&server, &task(bytes));
            match bytes > 10 * MIB {
                false => assert_eq!(record["status"], "completed", "{encoding}: {record}"),
                true => assert_eq!(record["failure"]["kind"], "hostcall_limit", "{encoding}: {record}"),
            }
            assert!(by <= MEMORY + MORE, "{encoding}: {bytes} in one call made it grow by {} MiB", by / MIB);
            *grown = by / MIB;
        }
        println!("{encoding}: {grown:?} MiB");
    }
}

#[test]
fn a_task_takes_no_more_than_its_limits() {
    let server = Server::start();
    let large = 16 * MIB;
    let limits = json!({"memory_bytes": MEMORY});
    let pages = (2 * MEMORY / (64 << 10)).to_string();
    // With all the memory there is: `output` and `checkpoint` take what they pass on.
    let cases = [
        ("grow-touch", pages, "failed", 0, 0),
        ("output", large.to_string(), "completed", 0, large),
        ("error-text", large.to_string(), "failed", 0, large),
        ("echo", "x".repeat(large as usize), "completed", large, large),
        // Of memory 8 MiB and 23 MiB: a third of the rest and 10 MiB.
        ("checkpoint", (23 * MIB).to_string(), "completed", 0, 0),
        ("checkpoint", (25 * MIB).to_string(), "failed", 0, 0),
        ("log-unchecked", (23 * MIB).to_string(), "completed", 0, 0),
    ];
    for (guest, input, status, input_bytes, output_bytes) in cases {
        let component = server.push(&format!("hostile/{guest}"));
        let task = |input: &str| json!({"component": component, "input_text": input, "limits": limits});
        run(&server, &task("1"));
        let (record, by) = run(&server, &task(&input));
        assert_eq!(record["status"], status, "{guest}: {}", record["failure"]);
        let most = MEMORY + input_bytes + output_bytes + MORE;
        println!("{guest}: {} of {} MiB", by / MIB, most / MIB);
        assert!(by <= most, "{guest} made it grow by {} MiB, of {} MiB", by / MIB, most / MIB);
    }
}
