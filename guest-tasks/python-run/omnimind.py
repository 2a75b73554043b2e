"""The running task, for scripts: `import omnimind`."""

import json

from wit_world.imports import task_context

from interpreter.calls import Error, call, text
from interpreter.capabilities import Tensor, embed, embed_tensor, embedding_model
from interpreter.inference import TokenStream, chat, chat_stream, generate, models

__all__ = [
    "Error",
    "Tensor",
    "TokenStream",
    "cancelled",
    "chat",
    "chat_stream",
    "describe",
    "embed",
    "embed_tensor",
    "embedding_model",
    "generate",
    "input",
    "load_checkpoint",
    "models",
    "remaining",
    "report_progress",
    "save_checkpoint",
]

#: What the task was given as `input`, parsed.
input = None


def describe() -> dict:
    """Who this task is: task_id, attempt, plan_id, step, and the metadata it was submitted with."""
    info = task_context.describe()
    return {**vars(info), "metadata": json.loads(info.metadata or "null")}


def report_progress(percent: float, message: str = "") -> None:
    """Tells clients how far the task is, 0 to 100."""
    task_context.report_progress(float(percent), text(message))


def save_checkpoint(name: str, data: bytes) -> None:
    """Keeps data durably, so that the next attempt at this task can go on from it."""
    call(task_context.save_checkpoint, text(name), memoryview(data).tobytes())


def load_checkpoint(name: str) -> bytes | None:
    """What this attempt or an earlier one saved under the name."""
    return call(task_context.load_checkpoint, text(name))


def remaining(budget: str) -> int | None:
    """What is left of "fuel", "wall_ms", "memory_bytes", ...; None if it is unlimited or unknown."""
    return task_context.remaining(text(budget))


def cancelled() -> bool:
    """True once a client asked for cancellation: clean up and return."""
    return task_context.cancelled()
