"""The running task, for scripts: `import omnimind`."""

import json

from componentize_py_types import Err
from wit_world.imports import task_context

#: What the task was given as `input`, parsed.
input = None


class Error(Exception):
    """A host call was refused. `kind` is one of invalid-input, not-found, access-denied, budget-exhausted,
    unavailable, timed-out, cancelled, unsupported, internal; the text says why."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind


def describe() -> dict:
    """Who this task is: task_id, attempt, plan_id, step, and the metadata it was submitted with."""
    info = task_context.describe()
    return {**vars(info), "metadata": json.loads(info.metadata or "null")}


def report_progress(percent: float, message: str = "") -> None:
    """Tells clients how far the task is, 0 to 100."""
    task_context.report_progress(float(percent), _text(message))


def save_checkpoint(name: str, data: bytes) -> None:
    """Keeps data durably, so that the next attempt at this task can go on from it."""
    _call(task_context.save_checkpoint, _text(name), memoryview(data).tobytes())


def load_checkpoint(name: str) -> bytes | None:
    """What this attempt or an earlier one saved under the name."""
    return _call(task_context.load_checkpoint, _text(name))


def remaining(budget: str) -> int | None:
    """What is left of "fuel", "wall_ms", "memory_bytes", ...; None if it is unlimited or unknown."""
    return task_context.remaining(_text(budget))


def cancelled() -> bool:
    """True once a client asked for cancellation: clean up and return."""
    return task_context.cancelled()


def _text(value: str) -> str:
    """The bindings end the task at an argument of another type; an exception is better."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    value.encode()
    return value


def _call(function, *arguments):
    try:
        return function(*arguments)
    except Err as refusal:
        error = refusal.value
    kind = type(error).__name__.removeprefix("Error_")
    kind = "".join("-" + c.lower() if c.isupper() else c for c in kind).lstrip("-")
    text = getattr(error, "value", "")
    if kind == "budget-exhausted":
        text = f"{text.budget}: asked for {text.requested}, {text.remaining} left"
    raise Error(kind, text)
