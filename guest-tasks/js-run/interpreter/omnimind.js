// The running task, for programs: the global `omnimind`. The bindings end the task at an argument of another type
// than they want, so types are looked at here.

import * as host from 'omnimind:runtime/task-context@0.1.0';

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

/** Who this task is: { taskId, attempt, planId, step, metadata }. */
export function describe() {
  const info = host.describe();
  return { ...info, metadata: JSON.parse(info.metadata || 'null') };
}

/** Tells clients how far the task is, 0 to 100. */
export function reportProgress(percent, message = '') {
  host.reportProgress(Number(percent), text(message));
}

/** Keeps a Uint8Array durably, so that the next attempt at this task can go on from it. */
export function saveCheckpoint(name, data) {
  if (!(data instanceof Uint8Array)) {
    throw new TypeError('a checkpoint is a Uint8Array');
  }
  call(() => host.saveCheckpoint(text(name), data));
}

/** What this attempt or an earlier one saved under the name, or null. */
export function loadCheckpoint(name) {
  return call(() => host.loadCheckpoint(text(name))) ?? null;
}

/** What is left of 'fuel', 'wall_ms', 'memory_bytes', …; null if it is unlimited or unknown. */
export function remaining(budget) {
  const left = host.remaining(text(budget));
  return left === undefined || left === null ? null : Number(left);
}

/** True once a client asked for cancellation: clean up and return. */
export function cancelled() {
  return host.cancelled();
}

function text(value) {
  if (typeof value !== 'string') {
    throw new TypeError(`expected a string, got ${value === null ? 'null' : typeof value}`);
  }
  return value.toWellFormed();
}

function call(f) {
  try {
    return f();
  } catch (error) {
    throw error?.payload?.tag ? new HostError(error.payload) : error;
  }
}
