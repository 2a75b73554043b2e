// Where `console` goes, and how values look there.

import { getStderr } from 'wasi:cli/stderr@0.2.0';
import { TextEncoder } from './text.js';

const MAX_DEPTH = 4;
const MAX_ITEMS = 100;

/** `log`, `info`, `debug` and `dir` are kept in memory until it is known whether they are the task's output or its log. */
export class Console {
  #printed = [];
  #isLog = false;

  log = (...values) => {
    const line = `${format(values)}\n`;
    if (this.#isLog) {
      toStderr(line);
    } else {
      this.#printed.push(line);
    }
  };
  info = this.log;
  debug = this.log;
  dir = (value) => this.log(inspect(value));

  error = (...values) => toStderr(`${format(values)}\n`);
  warn = this.error;
  trace = (...values) => this.error('Trace:', ...values);
  assert = (condition, ...values) => condition || this.error('Assertion failed', ...values);

  /** What was printed, once. */
  take() {
    return this.#printed.splice(0).join('');
  }

  /** Sends what was printed so far, and what is printed from now on, to standard error. */
  toLog() {
    this.#isLog = true;
    toStderr(this.take());
  }
}

function toStderr(text) {
  const bytes = new TextEncoder().encode(text);
  const stderr = getStderr();
  for (let i = 0; i < bytes.length; i += 4096) {
    stderr.blockingWriteAndFlush(bytes.slice(i, i + 4096));
  }
}

function format(values) {
  const [first, ...rest] = values;
  if (typeof first !== 'string') {
    return values.map(show).join(' ');
  }
  const directives = {
    s: show,
    d: Number,
    f: Number,
    i: (value) => Math.trunc(value),
    j: JSON.stringify,
    o: inspect,
    O: inspect,
  };
  const text = first.replace(/%([sdifjoO%])/g, (match, kind) => {
    if (kind === '%') {
      return rest.length || values.length > 1 ? '%' : match;
    }
    return rest.length ? directives[kind](rest.shift()) : match;
  });
  return [text, ...rest.map(show)].join(' ');
}

/** A string as it is, else as inspect writes it. */
function show(value) {
  return typeof value === 'string' ? value : inspect(value);
}

/** A value in one line, much like Node.js writes it. */
export function inspect(value, parents = []) {
  switch (typeof value) {
    case 'string':
      return `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
    case 'bigint':
      return `${value}n`;
    case 'function':
      return `[Function: ${value.name || '(anonymous)'}]`;
    case 'object':
      break;
    default:
      return Object.is(value, -0) ? '-0' : String(value);
  }
  if (value === null) {
    return 'null';
  }
  if (parents.includes(value)) {
    return '[Circular]';
  }
  const name = value.constructor?.name ?? '[Object: null prototype]';
  if (value instanceof Error) {
    return `${value}\n${value.stack}`.trimEnd();
  }
  if (value instanceof RegExp || value instanceof Date) {
    return value instanceof Date && !Number.isNaN(+value) ? value.toISOString() : String(value);
  }
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return `[${name}: ${inspect(value.valueOf())}]`;
  }
  if (parents.length > MAX_DEPTH) {
    return `[${Array.isArray(value) ? 'Array' : name}]`;
  }
  const within = (item) => inspect(item, [...parents, value]);
  if (Array.isArray(value)) {
    return wrap(value, within, '[]', '');
  }
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
    return wrap(value, within, '[]', `${name}(${value.length}) `);
  }
  if (value instanceof Set) {
    return wrap(value, within, '{}', `Set(${value.size}) `);
  }
  if (value instanceof Map) {
    return wrap(value, ([key, item]) => `${within(key)} => ${within(item)}`, '{}', `Map(${value.size}) `);
  }
  const key = (text) => (/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(text) ? text : inspect(text));
  const prefix = name === 'Object' ? '' : `${name} `;
  return wrap(Object.keys(value), (field) => `${key(field)}: ${within(value[field])}`, '{}', prefix);
}

function wrap(items, show, [open, close], prefix) {
  const shown = [];
  const count = items.length ?? items.size;
  for (const item of items) {
    if (shown.length === MAX_ITEMS) {
      shown.push(`... ${count - MAX_ITEMS} more items`);
      break;
    }
    shown.push(show(item));
  }
  return prefix + (shown.length ? `${open} ${shown.join(', ')} ${close}` : open + close);
}
