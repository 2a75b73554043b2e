// What an uncaught error looks like to whoever wrote the program.

import { inspect } from './console.js';
import { TextDecoder, TextEncoder } from './text.js';

const MAX_ERROR_BYTES = 4096;

/** `TypeError: …` and the frames of the program; for a syntax error also the line. At most MAX_ERROR_BYTES. */
export function report(error, request) {
  try {
    return shorten(uncaught(error, request));
  } catch {
    return 'the program failed, and its error cannot be shown (out of memory, or its text throws)';
  }
}

function uncaught(error, { source, name }) {
  if (!(error instanceof Error)) {
    return `Uncaught ${inspect(error)}`;
  }
  const lines = source.split('\n');
  const stack = ownFrames(error.stack ?? '');
  let text = `${error}`;
  // A program that cannot be compiled has this one frame.
  const where = /^ +at <input>:(\d+):(\d+)$/.exec(stack);
  if (error instanceof SyntaxError && where) {
    const line = lines[where[1] - 1];
    if (line === undefined) {
      // What app.js puts behind the program is not its author's.
      return 'SyntaxError: unexpected end of the program';
    }
    const module = /keyword: (export|import)/.test(text) ? '\nA script is no module: leave `export` and `import` out.' : '';
    text = `${name}:${where[1]}\n${line}\n${' '.repeat(Math.max(where[2] - 1, 0))}^\n${text}${module}`;
  }
  text += stack && `\n${stack}`.replaceAll('<input>:', `${name}:`);
  if (error.cause !== undefined) {
    text += `\n[cause]: ${uncaught(error.cause, { source, name })}`;
  }
  return text;
}

/** The frames without those of this interpreter, which alone lie in files. */
function ownFrames(stack) {
  const lines = stack.split('\n');
  const ours = (line) => /\(\/.*\.js:\d+:\d+\)$/.test(line);
  const noise = (line, next) =>
    ours(line) ||
    (line.endsWith('at eval (native)') && ours(next)) ||
    // JSON.parse gives the place in the JSON as if it were one in the program.
    (/at <input>:\d+:\d+$/.test(line) && next.endsWith('at parse (native)'));
  return lines.filter((line, i) => line && !noise(line, lines[i + 1] ?? '')).join('\n');
}

/** Of a longer text the beginning and, more of it, the end. */
function shorten(text) {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= MAX_ERROR_BYTES) {
    return text.toWellFormed();
  }
  const head = bytes.subarray(0, 1000);
  const tail = bytes.subarray(1100 - MAX_ERROR_BYTES);
  const cut = bytes.length - head.length - tail.length;
  const part = (bytes) => new TextDecoder().decode(bytes).replace(/^\ufffd+|\ufffd+$/g, '');
  return `${part(head)}\n... ${cut} bytes left out ...\n${part(tail)}`;
}
