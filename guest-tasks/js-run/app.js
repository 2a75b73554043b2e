// Runs a JavaScript program that arrives as the task's input; README.md says how.

import { Console } from './interpreter/console.js';
import { report } from './interpreter/errors.js';
import * as omnimind from './interpreter/omnimind.js';
import { seededRandom } from './interpreter/random.js';
import { parse } from './interpreter/request.js';
import { TextDecoder, TextEncoder } from './interpreter/text.js';

export function run(bytes) {
  const request = parse(bytes);
  const console = new Console();
  Math.random = seededRandom();
  Object.assign(globalThis, {
    console,
    input: request.input,
    omnimind: { ...omnimind, input: request.input },
    TextDecoder,
    TextEncoder,
  });
  try {
    return toBytes(execute(request, console));
  } catch (error) {
    console.toLog();
    // A thrown string, and nothing else, becomes the error of `run`.
    throw report(error, request);
  }
}

function execute({ source, input }, console) {
  // `eval` keeps what `const` and `class` define to itself, so it is asked for `run` from within.
  const run = (0, eval)(`${source}\n;typeof run === 'function' ? run : undefined;`);
  if (!run) {
    const printed = console.take();
    if (!printed) {
      console.error('the script defines no run(input) and printed nothing');
    }
    return printed;
  }
  console.toLog();
  const value = run(input);
  if (typeof value?.then === 'function') {
    throw new TypeError('run returned a promise, and nothing can be awaited here: return the value itself');
  }
  return value;
}

/** Text and bytes as they are, nothing for undefined, else JSON. */
function toBytes(value) {
  if (value instanceof Uint8Array) {
    return value;
  }
  if (value instanceof ArrayBuffer) {
    return new Uint8Array(value);
  }
  if (value === undefined) {
    return new Uint8Array();
  }
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  if (text === undefined) {
    throw new TypeError(`run returned a ${typeof value}: return text, a Uint8Array, or what can be written as JSON`);
  }
  return new TextEncoder().encode(text);
}
