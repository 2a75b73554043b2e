// What QuickJS lacks and a task needs: UTF-8, a console, errors that can be read, and random numbers.

import { getStderr } from 'wasi:cli/stderr@0.2.0';
import { getRandomU64 } from 'wasi:random/random@0.2.0';

/** Makes a function the task: what it throws becomes the text of the failed task, with the stack of an Error. */
export function task(run) {
  return (input) => {
    Math.random = seededRandom();
    try {
      const output = run(input);
      if (!(output instanceof Uint8Array)) {
        const what = output instanceof Promise ? 'a promise, and nothing can be awaited here' : typeof output;
        throw new TypeError(`the task returned ${what}; return a Uint8Array, e.g. encode(text)`);
      }
      return output;
    } catch (error) {
      // A thrown string, and nothing else, becomes the error of `run`.
      throw describe(error);
    }
  };
}

function describe(error) {
  if (error instanceof Error) {
    return `${error}\n${error.stack}`.trimEnd().toWellFormed();
  }
  // A refusal by the host: { payload: { tag: 'budget-exhausted', val: … } }.
  return typeof error === 'string' ? error : JSON.stringify(error?.payload ?? error) ?? String(error);
}

/** The UTF-8 of a text. */
export function encode(text) {
  // One character per byte.
  const binary = unescape(encodeURIComponent(text.toWellFormed()));
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) {
    bytes[i] = binary.charCodeAt(i);
  }
  return bytes;
}

/** The text of UTF-8; throws a TypeError if it is not. */
export function decode(bytes) {
  const pieces = [];
  for (let start = 0, end = 0; start < bytes.length; start = end) {
    end = Math.min(start + 8192, bytes.length);
    // Not between the bytes of a character, which are four at most.
    while (end < bytes.length && end > start + 8188 && (bytes[end] & 0xc0) === 0x80) {
      end--;
    }
    try {
      pieces.push(decodeURIComponent(escape(String.fromCharCode.apply(null, bytes.subarray(start, end)))));
    } catch {
      throw new TypeError(`the input is not UTF-8 text, somewhere between its bytes ${start} and ${end}`);
    }
  }
  return pieces.join('');
}

function toStderr(...values) {
  const show = (value) => (typeof value === 'string' ? value : value instanceof Error ? describe(value) : JSON.stringify(value));
  const bytes = encode(`${values.map(show).join(' ')}\n`);
  const stderr = getStderr();
  for (let i = 0; i < bytes.length; i += 4096) {
    stderr.blockingWriteAndFlush(bytes.slice(i, i + 4096));
  }
}

/** All of it goes to the task's log: the output is what the task returns. */
globalThis.console = { log: toStderr, info: toStderr, debug: toStderr, warn: toStderr, error: toStderr };

/** The engine's own generator is seeded when the component is built; this one by the host (SplitMix64). */
function seededRandom() {
  let state = BigInt.asUintN(64, BigInt(getRandomU64()));
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = BigInt.asUintN(64, (state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) >> 11n) / 2 ** 53;
  };
}
