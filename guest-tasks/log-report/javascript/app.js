// What an access log says: the busiest clients, the kinds of answers, and how long they took. ../README.md has the rules.

import { encode, task } from './omnimind.js';

const LINE =
  /^([0-9A-Fa-f:.]{1,45}) - - \[[^\]"]+\] "[A-Z]{1,16} [^ "]+ HTTP\/[0-9.]{1,8}" ([1-5])[0-9]{2} ([0-9]{1,10}|-) ([0-9]{1,9})$/;

export const run = task((input) => {
  const clients = new Map();
  const status = { '1xx': 0, '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0 };
  const durations = [];
  let lines = 0;
  for (const line of linesOf(input)) {
    lines += 1;
    const match = LINE.exec(line);
    if (!match) {
      continue;
    }
    const [, client, statusClass, bytes, duration] = match;
    const entry = clients.get(client) ?? { client, requests: 0, bytes: 0 };
    entry.requests += 1;
    entry.bytes += bytes === '-' ? 0 : Number(bytes);
    clients.set(client, entry);
    status[`${statusClass}xx`] += 1;
    durations.push(Number(duration));
  }
  durations.sort((a, b) => a - b);
  const top = [...clients.values()].sort((a, b) => b.requests - a.requests || (a.client < b.client ? -1 : 1));
  const report = {
    lines,
    malformed: lines - durations.length,
    clients: top.slice(0, 10),
    status,
    p95_ms: durations[Math.ceil((95 * durations.length) / 100) - 1] ?? null,
  };
  return encode(`${JSON.stringify(report)}\n`);
});

/** Those that are not empty, one character per byte: what is not UTF-8 is no reason to fail. */
function* linesOf(bytes) {
  for (let start = 0, end; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(10, start);
    if (end < 0) {
      end = bytes.length;
    }
    const pieces = [];
    for (let i = start; i < end; i += 8192) {
      pieces.push(String.fromCharCode.apply(null, bytes.subarray(i, Math.min(i + 8192, end))));
    }
    const line = pieces.join('');
    const text = line.endsWith('\r') ? line.slice(0, -1) : line;
    if (text) {
      yield text;
    }
  }
}
