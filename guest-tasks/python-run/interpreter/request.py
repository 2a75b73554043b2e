"""The task's input: which script to run, and on what."""

import io
import json
from dataclasses import dataclass

SHAPE = '{"source": "the script", "input": any JSON, "name": "script.py"}'


@dataclass
class Request:
    source: str
    input: object
    name: str

    @staticmethod
    def parse(data: bytes) -> "Request":
        """A ValueError says what is wrong and what is wanted."""
        try:
            request = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the input is not JSON ({error}): it must be {SHAPE}") from None
        if not isinstance(request, dict) or not isinstance(request.get("source"), str):
            raise ValueError(f"the input has no text `source`: it must be {SHAPE}")
        if unknown := request.keys() - {"source", "input", "name"}:
            raise ValueError(f"the input has an unknown field `{min(unknown)}`: it must be {SHAPE}")
        name = request.get("name") or "script.py"
        if not isinstance(name, str) or len(name) > 200 or not name.isprintable():
            raise ValueError("`name` is not a file name: at most 200 printable characters")
        return Request(request["source"], request.get("input"), name)

    def stdin(self) -> io.TextIOWrapper:
        """The input as text: a string as it is, nothing for null, else its JSON."""
        if self.input is None:
            text = ""
        elif isinstance(self.input, str):
            text = self.input
        else:
            text = json.dumps(self.input, ensure_ascii=False)
        return io.TextIOWrapper(io.BytesIO(text.encode(errors="surrogatepass")), "utf-8")
