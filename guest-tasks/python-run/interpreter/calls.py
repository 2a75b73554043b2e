"""Calls of the host, with arguments that it takes and refusals as exceptions."""

from collections.abc import Iterable

from componentize_py_types import Err


class Error(Exception):
    """A host call was refused. `kind` is one of invalid-input, not-found, access-denied, budget-exhausted,
    unavailable, timed-out, cancelled, unsupported, internal; the text says why."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}" if text else kind)
        self.kind = kind


def text(value: str) -> str:
    """The bindings end the task at an argument of another type; an exception is better."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    value.encode()
    return value


def list_of(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        # It would be taken apart into letters.
        raise TypeError("expected a list of texts: [text]")
    return [text(each) for each in texts]


def whole(value: int, bits: int) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError(f"expected a whole number from 0 to 2**{bits} - 1, got {value!r}")
    return value


def call(function, *arguments):
    try:
        return function(*arguments)
    except Err as refusal:
        error = refusal.value
    kind = type(error).__name__.removeprefix("Error_")
    kind = "".join("-" + c.lower() if c.isupper() else c for c in kind).lstrip("-")
    why = getattr(error, "value", "")
    if kind == "budget-exhausted":
        why = f"{why.budget}: asked for {why.requested}, {why.remaining} left"
    raise Error(kind, why)
