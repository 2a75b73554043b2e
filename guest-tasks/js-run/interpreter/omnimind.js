// The running task, for programs: the global `omnimind`.

import * as host from 'omnimind:runtime/task-context@0.1.0';
import { call, text } from './calls.js';

export { HostError } from './calls.js';
export { Tensor, embed, embeddingModel, embedTensor } from './capabilities.js';
export { TokenStream, chat, chatStream, generate, models } from './inference.js';

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
