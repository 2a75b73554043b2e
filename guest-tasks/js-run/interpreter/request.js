// The task's input: which program to run, and on what.

import { TextDecoder } from './text.js';

const SHAPE = '{"source": "the program", "input": any JSON, "name": "script.js"}';

/** Throws a text that says what is wrong and what is wanted. */
export function parse(bytes) {
  let request;
  try {
    request = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    // QuickJS throws null when there is no memory for an error.
    throw `the input is not JSON (${error?.message ?? 'out of memory'}): it must be ${SHAPE}`.toWellFormed();
  }
  if (typeof request?.source !== 'string') {
    throw `the input has no text \`source\`: it must be ${SHAPE}`;
  }
  const { source, input = null, name, ...others } = request;
  for (const field in others) {
    throw `the input has an unknown field \`${field}\`: it must be ${SHAPE}`.toWellFormed();
  }
  if (typeof (name ?? '') !== 'string' || name?.length > 200 || /\p{C}/u.test(name ?? '')) {
    throw '`name` is not a file name: at most 200 printable characters';
  }
  return { source, input, name: name || 'script.js' };
}
