"""Run by python_client.rs with the directory of the hostile guests."""

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

from omnimind import Client, Problem, TaskFailed

guests = Path(sys.argv[1])
data_dir = os.environ["OMNIMIND_DATA_DIR"]
client = Client()
assert client.health()["overall_status"] == "healthy"


@contextlib.contextmanager
def problem(status, code):
    try:
        yield
    except Problem as refused:
        assert (refused.status, refused.code) == (status, code), refused
        assert refused.detail
    else:
        raise AssertionError(f"{status} {code} did not come")


# Components.
pushed = client.push(guests / "echo.wasm", name="echo")
assert pushed["name"] == "echo" and pushed["kind"] == "task"
with problem(400, "component_invalid"):
    client.push(b"\0asm, and no more")

# Inputs arrive as they are, and outputs come back.
for given, output in [
    ({"input": {"a": [1, None, "ü"]}}, {"a": [1, None, "ü"]}),
    ({"input": None}, None),
    ({"input_text": "plain"}, "plain"),
    ({"input": b"\xff\r\n--"}, b"\xff\r\n--"),
    ({}, ""),
]:
    task = client.submit("echo", **given)
    assert task.wait(timeout=60) == output, (given, output)
    assert task.status == "completed"
assert task.output() == b""
assert client.submit(guests / "echo.wasm", input=5).wait() == 5
assert client.submit((guests / "echo.wasm").read_bytes(), 6, durable=False).wait() == 6
with contextlib.suppress(ValueError):
    client.submit("echo", input=1, input_text="1")
    raise AssertionError("two inputs")

# Options are those of a submission.
task = client.submit("echo", 1, priority="high", limits={"fuel": 10**6}, metadata={"k": 1}, idempotency_key="k")
task.wait()
assert task.record["priority"] == "high" and task.record["receipt"]["budgets"]["fuel"]["asked"] == 10**6
assert client.submit("echo", 1, priority="high", limits={"fuel": 10**6}, metadata={"k": 1}, idempotency_key="k").id == task.id
with problem(409, "idempotency_conflict"):
    client.submit("echo", 2, idempotency_key="k")
with problem(422, "invalid_request"):
    client.submit("echo", speed=9)
with problem(404, "not_found"):
    client.submit("nobody")
with problem(404, "not_found"):
    client.task("../components")

# Failures.
try:
    client.submit(guests / "spin.wasm", limits={"fuel": 1000}).wait()
except TaskFailed as failed:
    assert failed.failure["kind"] == "fuel_exhausted" and failed.failure["hint"], failed
else:
    raise AssertionError("it did not fail")

# Logs.
task = client.submit(guests / "log.wasm", 100)
task.wait()
assert len("".join(task.logs())) == 100 and list(task.logs(follow=True)) == ["".join(task.logs())]

# Events, a timeout, a cancellation.
seen, connected = [], threading.Event()


def listen():
    for event in client.events("tasks"):
        connected.set()
        seen.append(event)
        if event["type"] == "task_update" and event["data"]["status"] == "cancelled":
            return


listener = threading.Thread(target=listen, daemon=True)
listener.start()
assert connected.wait(60)
task = client.submit(guests / "sleep.wasm", 60000)
with contextlib.suppress(TimeoutError):
    task.wait(timeout=0.2)
    raise AssertionError("it ended")
task.cancel(grace=0.01)
try:
    task.wait(timeout=60)
except TaskFailed as failed:
    assert failed.failure["kind"] == "cancelled"
listener.join(60)
assert not listener.is_alive()
assert {"running", "cancelled"} <= {event["data"]["status"] for event in seen if event.get("type") == "task_update"}, seen

# Lists, over more than one page.
all_tasks = list(client.list(limit=2))
assert len(all_tasks) >= 8 and len({task.id for task in all_tasks}) == len(all_tasks)
assert all(task.status == "failed" for task in client.list(status="failed"))
assert next(task for task in all_tasks if task.record["component"] == "echo").wait() is not ...

# Credentials: found for this machine and sent to no other.
url = json.loads((Path(data_dir) / "server.json").read_text())["url"]
port = url.rsplit(":", 1)[1]
assert next(Client(url).list()).id == all_tasks[0].id
for other in [Client(f"0.0.0.0:{port}"), Client(url, "me", "wrong"), Client(url, data_dir="/nowhere")]:
    with problem(401, "unauthorized"):
        next(other.list())
with contextlib.suppress(ValueError):
    Client("ftp://127.0.0.1")
    raise AssertionError("that is no way to a server")

# A token leads to its tenant, whoever else could come in.
with problem(401, "unauthorized"):
    next(Client(url, token="om_0123456789abcdef_x", data_dir=data_dir).list())
# The end of a line, as out of a file, is not a part of it; and what no header can carry is told as what it is.
for token in ["om_0123456789abcdef_x", "om_0123456789abcdef_x\n"]:
    os.environ["OMNIMIND_TOKEN"] = token
    with problem(401, "unauthorized"):
        next(Client(data_dir=data_dir).list())
os.environ["OMNIMIND_TOKEN"] = "om_0123456789abcdef_x\nsecret"
try:
    Client(data_dir=data_dir)
except ValueError as error:
    assert "OMNIMIND_TOKEN" in str(error) and "secret" not in str(error)
else:
    raise AssertionError("no header can carry that")
del os.environ["OMNIMIND_TOKEN"]

# Empty variables count as not set, as they do for the server.
os.environ.update(OMNIMIND_DASHBOARD_USER="", OMNIMIND_DASHBOARD_PASS="", OMNIMIND_URL="")
assert next(Client().list()).id == all_tasks[0].id
