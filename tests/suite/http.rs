//! The HTTP contract, as a client meets it.

use omnimind_tests::server::Server;
use serde_json::json;

#[test]
fn a_task_is_submitted_and_gives_its_output() {
    let server = Server::start();
    let digest = server.push("hostile/echo");
    let record = server.run(&json!({"component": digest, "input": {"a": [1, null]}}));
    assert_eq!(record["status"], "completed", "{record}");
    assert_eq!(record["result"], json!({"a": [1, null]}));
}
