"""Where `print` goes, and how a result becomes bytes."""

import io
import json
import sys


class Output(io.TextIOWrapper):
    """Standard output: kept in memory until it is known whether it is the task's output or goes to its log."""

    def __init__(self) -> None:
        self.kept = io.BytesIO()
        super().__init__(self.kept, "utf-8", write_through=True)

    def close(self) -> None:
        """A script may close its standard output; what it wrote before still counts."""

    def take(self) -> bytes:
        """What was printed, once."""
        printed = self.kept.getvalue()
        self.kept.seek(0)
        self.kept.truncate()
        return printed

    def to_log(self) -> None:
        """Sends what was printed so far, and what is printed from now on, to standard error."""
        sys.__stderr__.buffer.write(self.take())
        sys.__stderr__.flush()
        if sys.stdout is self:
            sys.stdout = sys.__stderr__


def to_bytes(value: object) -> bytes:
    """Text and bytes as they are, nothing for None, else JSON."""
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        error.add_note("This is what `run` returned: return text, bytes, or what can be written as JSON.")
        raise
