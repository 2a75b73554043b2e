// Counts the words of a text: how many, how many different ones, and the five most frequent.

import { decode, encode, task } from './omnimind.js';
import { cancelled, reportProgress } from 'omnimind:runtime/task-context@0.1.0';

/** The task: a Uint8Array to a Uint8Array. What it throws ends it as failed, and is what the client reads. */
export const run = task((input) => {
  const lines = decode(input).split('\n');
  const counts = new Map();
  lines.forEach((line, number) => {
    // Calls of the host have a price: once in a while will do.
    if (number % 10_000 === 0) {
      if (cancelled()) {
        throw 'cancelled';
      }
      reportProgress((100 * number) / lines.length, 'counting');
    }
    for (const [word] of line.toLowerCase().matchAll(/[\p{L}\p{N}]+/gu)) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  });
  const top = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1)).slice(0, 5);
  return encode(
    JSON.stringify({
      words: [...counts.values()].reduce((a, b) => a + b, 0),
      unique: counts.size,
      top: top.map(([word, count]) => ({ word, count })),
    }),
  );
});
