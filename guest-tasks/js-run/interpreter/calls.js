// Calls of the host. The bindings end the task at an argument of another type than they want, so types are looked at
// here, and refusals become errors.

/** A host call was refused. `kind` is one of invalid-input, not-found, access-denied, budget-exhausted, unavailable,
 * timed-out, cancelled, unsupported, internal; the message says why. */
export class HostError extends Error {
  name = 'HostError';

  constructor({ tag, val }) {
    const { budget, requested, remaining } = val ?? {};
    const why = tag === 'budget-exhausted' ? `${budget}: asked for ${requested}, ${remaining} left` : val;
    super(why ? `${tag}: ${why}` : tag);
    this.kind = tag;
  }
}

export function text(value) {
  if (typeof value !== 'string') {
    throw new TypeError(`expected a string, got ${value === null ? 'null' : typeof value}`);
  }
  return value.toWellFormed();
}

export function listOf(texts) {
  if (typeof texts === 'string') {
    // It would be taken apart into letters.
    throw new TypeError('expected an array of texts: [text]');
  }
  return Array.from(texts, text);
}

export function whole(value, below = 2 ** 53) {
  if (!Number.isSafeInteger(value) || value < 0 || value >= below) {
    throw new RangeError(`expected a whole number from 0 to ${below - 1}, got ${value}`);
  }
  return value;
}

export function call(f) {
  try {
    return f();
  } catch (error) {
    throw error?.payload?.tag ? new HostError(error.payload) : error;
  }
}
