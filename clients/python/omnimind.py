"""A client for OmniMind in one file, with nothing but the standard library of Python 3.9 or later.

    from omnimind import Client, TaskFailed

    client = Client()                            # finds the server and its credentials by itself
    client.push("guest-tasks/prebuilt/text-stats.wasm", name="text-stats")
    task = client.submit("text-stats", input={"n": 5}, limits={"fuel": 10**9})
    try:
        print(task.wait(timeout=60))             # the output: JSON, else text, else bytes
    except TaskFailed as failed:
        print(failed.failure["kind"], failed.failure.get("hint"))
    for text in task.logs():
        print(text, end="")

The server is `url`, else $OMNIMIND_URL, else the one that runs on the data directory, else 127.0.0.1:8000. The
credentials are `user` and `password` or `token`, else those in the URL, else $OMNIMIND_TOKEN, else
$OMNIMIND_DASHBOARD_USER and _PASS, else those in
the data directory, which are sent to this machine only. For https `cafile` has the certificates to trust, else the
server on the data directory is known by its own, else the system's decide. Proxies and redirects are not followed: they would get them.
The data directory is `data_dir`, else $OMNIMIND_DATA_DIR, else omnimind in $XDG_DATA_HOME or ~/.local/share. Empty
variables count as not set. Configuration files are not read: where one of them has the `data_dir`, give it here too.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import secrets
import ssl
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Sequence, Union
from urllib.parse import quote, unquote, urlencode, urlsplit

__all__ = ["Client", "Task", "Problem", "TaskFailed"]

_UNSET: Any = object()
_SILENCE = 120.0  # seconds; longer than the server compiles
_PATIENCE = 30.0  # seconds that a server may be away, as when it restarts
_FINAL = ("completed", "failed", "cancelled")


class Problem(Exception):
    """The server's refusal: `status` (HTTP), `code` (stable, for programs), `detail` (for people)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail = status, code, detail


class TaskFailed(Exception):
    """A task that ended without an output. `failure` is as in docs/limits.md; a cancelled task's kind is `cancelled`."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.failure = record.get("failure") or {"kind": record["status"], "message": "the task was cancelled"}
        super().__init__(f"{self.failure['kind']}: {self.failure['message']}")


class Client:
    """A server. It keeps no connection, so that one client serves many threads."""

    def __init__(
        self,
        url: Optional[str] = None,
        user: Optional[str] = None,
        password: Optional[str] = None,
        data_dir: Union[str, os.PathLike, None] = None,
        cafile: Union[str, os.PathLike, None] = None,
        token: Optional[str] = None,
    ) -> None:
        directory = _data_dir(data_dir)
        given, (running, certificate) = url or os.environ.get("OMNIMIND_URL"), _running(directory)
        own = running and (not given or _same(given, running))
        url = running if own else given or "http://127.0.0.1:8000"
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a server's URL is like http://127.0.0.1:8000")  # it may have a password: not repeated
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = _tls(cafile, certificate if own else None) if parts.scheme == "https" else None
        self._base = parts.path.rstrip("/")
        if user is None and token is None and parts.username:
            user, password = unquote(parts.username), unquote(parts.password or "")
        if user is None and (given or running):
            token = token or os.environ.get("OMNIMIND_TOKEN", "").strip() or None
        chosen = os.environ.get("OMNIMIND_DASHBOARD_USER"), os.environ.get("OMNIMIND_DASHBOARD_PASS")
        if user is None and token is None and all(chosen) and (given or running):
            user, password = chosen
        # For the server that runs on the data directory; not for whatever listens on some port.
        if user is None and token is None and own:
            try:
                stored = json.loads((directory / "credentials.json").read_text("utf-8"))
                user, password = stored["user"], stored["password"]
            except FileNotFoundError:
                pass
        pair = f"{user}:{password or ''}".encode()
        self._headers = {} if user is None else {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        if user is None and token is not None:
            if not all("!" <= character <= "~" for character in token):
                # It is not repeated: most of it may be a secret.
                raise ValueError("token, or OMNIMIND_TOKEN: one word of visible ASCII characters, like om_ID_SECRET")
            self._headers = {"Authorization": f"Bearer {token}"}

    def push(self, component: Union[bytes, str, os.PathLike], name: Optional[str] = None) -> dict:
        """Uploads a component, bytes or a file's path; what the server says of it."""
        query = {"name": name} if name else {}
        return self._json("POST", "/api/components/", query, _bytes(component), {"Content-Type": "application/wasm"})

    def submit(
        self,
        component: Union[bytes, str, os.PathLike],
        input: Any = _UNSET,  # noqa: A002
        *,
        input_text: Optional[str] = None,
        idempotency_key: Optional[str] = None,
        **options: Any,
    ) -> "Task":
        """Submits a task. It is stored once this returns.

        `component` is a name or a digest; or bytes, or a path, where it has a `/` in it, ends in .wasm or is a Path.
        `input` is bytes, which arrive as they are, or anything that JSON can say. `options` are the other fields of a
        submission: limits, args, env, priority, grants, retry, deterministic, durable, description, metadata.
        """
        parts = []
        if isinstance(component, str) and "/" not in component and not component.endswith(".wasm"):
            options["component"] = component
        else:
            parts.append(("component", "application/wasm", _bytes(component)))
        if input is not _UNSET and input_text is not None:
            raise ValueError("give one of input and input_text")
        if input_text is not None:
            input = input_text.encode()  # noqa: A001
        if input is not _UNSET:
            raw = input if isinstance(input, (bytes, bytearray, memoryview)) else json.dumps(input).encode()
            parts.append(("input", "application/octet-stream", bytes(raw)))
        parts.append(("task", "application/json", json.dumps(options).encode()))
        media_type, body = _form(parts)
        headers = {"Content-Type": media_type}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        return Task(self, self._json("POST", "/api/tasks/", {}, body, headers))

    def task(self, task_id: str) -> "Task":
        """A task that was submitted before."""
        return Task(self, self._json("GET", f"/api/tasks/{quote(task_id, safe='')}"))

    def list(self, **filters: Any) -> Iterator["Task"]:
        """Tasks, the newest first; `filters` are status, priority, component. More are fetched as they are needed."""
        while True:
            page = self._json("GET", "/api/tasks/", filters)
            yield from (Task(self, record) for record in page["tasks"])
            if not page["next_cursor"]:
                return
            filters = {**filters, "cursor": page["next_cursor"]}

    def events(self, channels: Union[str, Sequence[str]] = "tasks") -> Iterator[dict]:
        """What happens, without end: `tasks`, or up to ten of `task:ID`. The first event, and the first after each new
        connection, is `connected`: what happened between two connections is not told. `lagged` says what was lost."""
        names = channels if isinstance(channels, str) else ",".join(channels)
        last = time.monotonic()
        while True:
            was_connected = False
            try:
                for _, data in self._events("/api/events", {"channels": names}):
                    was_connected = True
                    yield data
            except (OSError, http.client.HTTPException, Problem) as error:
                # A connection that was there until now may have been silent for long.
                _raise_if_lasting(error, time.monotonic() if was_connected else last)
            if was_connected:
                last = time.monotonic()
            time.sleep(0.3)

    def health(self) -> dict:
        """How the server is; also where it is not well."""
        try:
            return self._json("GET", "/api/v1/health/")
        except Problem as problem:
            if problem.status != 503 or not isinstance(problem.__cause__, _Body):
                raise
            return problem.__cause__.json

    def _open(
        self, method: str, path: str, query: Mapping[str, Any] = {}, body: Optional[bytes] = None,
        headers: Mapping[str, str] = {},
    ) -> http.client.HTTPResponse:
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=_SILENCE)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=_SILENCE, context=self._tls)
        target = self._base + path + ("?" + urlencode(query) if query else "")
        connection.request(method, target, body, {"Connection": "close", **self._headers, **headers})
        response = connection.getresponse()
        if 200 <= response.status < 300:
            return response
        try:
            said = json.loads(response.read())
        except ValueError:
            said = {}
        code, detail = said.get("code", "unknown"), said.get("detail", "the server gives no reason")
        raise Problem(response.status, code, detail) from _Body(said)

    def _json(self, *request: Any) -> Any:
        with self._open(*request) as response:
            return json.loads(response.read())

    def _events(self, path: str, query: Mapping[str, Any]) -> Iterator[tuple]:
        with self._open("GET", path, query) as response:
            name = ""
            for line in response:  # comments keep the connection alive, and are skipped
                field, _, value = line.decode("utf-8").rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)


class Task:
    """A task: `id`, and `record` as it was last heard of."""

    def __init__(self, client: Client, record: dict) -> None:
        self._client, self.record, self.id = client, record, record["task_id"]
        self._path = f"/api/tasks/{self.id}"

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.status}>"

    @property
    def status(self) -> str:
        """pending, running, paused, completed, failed or cancelled, when it was last heard of."""
        return self.record["status"]

    def refresh(self) -> "Task":
        """Asks the server for the record."""
        self.record = self._client._json("GET", self._path)
        return self

    def wait(self, timeout: Optional[float] = None) -> Any:
        """Waits for the end: the output as JSON, else text, else bytes. Goes on when the server restarts.

        Raises TaskFailed, or TimeoutError after `timeout` seconds: the task then goes on.
        """
        begun = last = time.monotonic()
        pause = 0.02
        while self.status not in _FINAL:
            try:
                if self._client._json("GET", self._path + "/progress")["status"] in _FINAL:
                    self.refresh()
                    continue
                last = time.monotonic()
            except (OSError, http.client.HTTPException, Problem) as error:
                _raise_if_lasting(error, last)
            left = float("inf") if timeout is None else timeout - (time.monotonic() - begun)
            if left <= 0:
                why = ": others want the processors; priority high is not paused" if self.refresh().status == "paused" else ""
                raise TimeoutError(f"task {self.id} is {self.status} after {timeout} s{why}")
            time.sleep(min(pause, left))
            pause = min(pause * 1.25, 0.5)
        if self.status != "completed":
            raise TaskFailed(self.record)
        if not {"result", "result_text", "result_base64"} & self.record.keys():
            self.refresh()  # lists leave the output out
        if self.record.get("output_removed"):
            self.output()  # says why there is none
        if "result_base64" in self.record:
            return base64.b64decode(self.record["result_base64"])
        return self.record["result"] if "result" in self.record else self.record["result_text"]

    def output(self) -> bytes:
        """The output of a completed task, byte for byte."""
        with self._client._open("GET", self._path + "/output") as response:
            return response.read()

    def logs(self, follow: bool = False) -> Iterator[str]:
        """What it wrote to its log; with `follow` as it comes, until the task ends or the connection does."""
        if not follow:
            with self._client._open("GET", self._path + "/logs") as response:
                yield response.read().decode("utf-8", "replace")
            return
        for name, data in self._client._events(self._path + "/logs", {"follow": "true"}):
            if name == "end":
                return
            if data["text"]:
                yield data["text"]

    def cancel(self, grace: float = 0) -> "Task":
        """Asks for its end, after so many seconds in which it may end by itself."""
        self.record = self._client._json("DELETE", self._path, {"grace": f"{grace}s"})
        return self


class _Body(Exception):
    def __init__(self, body: Any) -> None:
        super().__init__("the whole answer")
        self.json = body


def _raise_if_lasting(error: Exception, last: float) -> None:
    passing = not isinstance(error, Problem) or error.status in (429, 502, 503, 504, 507)
    if not passing or time.monotonic() - last > _PATIENCE:
        raise error


def _bytes(component: Union[bytes, str, os.PathLike]) -> bytes:
    return Path(component).read_bytes() if isinstance(component, (str, os.PathLike)) else bytes(component)


def _form(parts: Sequence[tuple]) -> tuple:
    edge = "omnimind-" + secrets.token_hex(16)
    body = b""
    for name, media_type, content in parts:
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {media_type}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    return f"multipart/form-data; boundary={edge}", body + f"--{edge}--\r\n".encode()


def _data_dir(given: Union[str, os.PathLike, None]) -> Path:
    chosen = given or os.environ.get("OMNIMIND_DATA_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "omnimind"


def _tls(cafile: Union[str, os.PathLike, None], own: Optional[str]) -> ssl.SSLContext:
    """Whom to trust: the certificates in `cafile`, else the server's `own` and no other, else the system's."""
    if cafile is not None or own is None:
        return ssl.create_default_context(cafile=None if cafile is None else str(cafile))
    first, end, _ = Path(own).read_text("ascii", "replace").partition("-----END CERTIFICATE-----")
    context = ssl.create_default_context(cadata=first + end)
    context.check_hostname = False  # it is this very certificate, whatever its name
    context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
    return context


def _running(directory: Path) -> tuple:
    """The URL in server.json and the certificate's file, if the process that wrote it still lives: ids of processes
    are used again."""
    try:
        serving = json.loads((directory / "server.json").read_text("utf-8"))
        process = Path(f"/proc/{int(serving['pid'])}")
        began = int((process / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
        mine = process.stat().st_uid == os.geteuid()
        return (serving["url"], serving.get("cacert")) if mine and began == serving["started"] else (None, None)
    except (OSError, ValueError, KeyError, IndexError):
        return None, None


def _same(one: str, other: str) -> bool:
    """Whether two URLs lead to the same server, as far as they tell."""
    parts = [urlsplit(url if "://" in url else f"http://{url}") for url in (one, other)]
    hosts = [(part.hostname or "").replace("localhost", "127.0.0.1") for part in parts]
    return hosts[0] == hosts[1] and (parts[0].port or 80) == (parts[1].port or 80)