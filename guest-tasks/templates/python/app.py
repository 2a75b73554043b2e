"""Counts the words of a text: how many, how many different ones, and the five most frequent."""

import json
import re
from collections import Counter

import wit_world
from componentize_py_types import Err
from wit_world.imports import task_context


class WitWorld(wit_world.WitWorld):
    def run(self, input: bytes) -> bytes:
        """The task: bytes to bytes. `raise Err(text)` ends it as failed, and the text is what the client reads."""
        try:
            text = input.decode()
        except UnicodeDecodeError as error:
            raise Err(f"the input is not UTF-8 text: {error}")
        lines = text.splitlines()
        counts = Counter()
        for number, line in enumerate(lines):
            # Calls of the host have a price: once in a while will do.
            if number % 10_000 == 0:
                if task_context.cancelled():
                    raise Err("cancelled")
                task_context.report_progress(100 * number / len(lines), "counting")
            counts.update(re.findall(r"[^\W_]+", line.lower()))
        top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
        result = {
            "words": counts.total(),
            "unique": len(counts),
            "top": [{"word": word, "count": count} for word, count in top],
        }
        return json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()
