"""What an access log says: the busiest clients, the kinds of answers, and how long they took. ../README.md has the rules."""

import json
import re
from collections import Counter

import wit_world

LINE = re.compile(
    rb'([0-9A-Fa-f:.]{1,45}) - - \[[^\]"]+\] "[A-Z]{1,16} [^ "]+ HTTP/[0-9.]{1,8}" ([1-5])[0-9]{2} ([0-9]{1,10}|-) ([0-9]{1,9})'
)


class WitWorld(wit_world.WitWorld):
    def run(self, input: bytes) -> bytes:
        lines = [line for line in (line.removesuffix(b"\r") for line in input.split(b"\n")) if line]
        requests, sizes, classes = Counter(), Counter(), Counter()
        durations = []
        for line in lines:
            if not (match := LINE.fullmatch(line)):
                continue
            client, status, size, duration = match.groups()
            requests[client] += 1
            sizes[client] += 0 if size == b"-" else int(size)
            classes[status] += 1
            durations.append(int(duration))
        durations.sort()
        top = sorted(requests, key=lambda client: (-requests[client], client))[:10]
        report = {
            "lines": len(lines),
            "malformed": len(lines) - len(durations),
            "clients": [{"client": c.decode(), "requests": requests[c], "bytes": sizes[c]} for c in top],
            "status": {f"{n}xx": classes[b"%d" % n] for n in range(1, 6)},
            "p95_ms": durations[(95 * len(durations) + 99) // 100 - 1] if durations else None,
        }
        return json.dumps(report, separators=(",", ":")).encode() + b"\n"
