// Language models, for programs: parts of the global `omnimind`. Without the grant a call throws `access-denied`.

import * as host from 'omnimind:runtime/inference@0.1.0';
import { call, listOf, text, whole } from './calls.js';

const ROLES = ['system', 'user', 'assistant'];

/** A text that is being written: take its pieces with `for … of`. Where that is left early, the model stops. */
export class TokenStream {
  #host;
  #completion = () => completion(call(() => this.#host.completion()));

  constructor(made) {
    this.#host = made;
  }

  [Symbol.iterator]() {
    return this;
  }

  next() {
    if (!this.#host) {
      return { done: true, value: undefined };
    }
    let value;
    try {
      value = call(() => this.#host.next()) ?? undefined;
    } finally {
      if (value === undefined) {
        this.#end();
      }
    }
    return { done: value === undefined, value };
  }

  return() {
    this.cancel();
    return { done: true, value: undefined };
  }

  /** The model stops; what it has written is paid for. */
  cancel() {
    if (this.#host) {
      this.#host.cancel();
      this.#end();
    }
  }

  /** All of it, as `chat` returns it: after the end, or after `cancel`. */
  completion() {
    return this.#completion();
  }

  /** The host lends few of them, and nothing is collected while a program runs: so it is given back here. */
  #end() {
    try {
      const made = this.#completion();
      this.#completion = () => made;
    } catch (error) {
      this.#completion = () => {
        throw error;
      };
    }
    this.#host[Symbol.dispose]();
    this.#host = undefined;
  }
}

/** How a model goes on after the prompt: { text, finish ('stop', 'length', 'budget', 'cancelled'), model, promptTokens,
 * completionTokens, durationMs, cached }. The options are those of `optionsOf`. */
export function generate(prompt, options) {
  const [said, how] = [text(prompt), optionsOf(options)];
  return completion(call(() => host.generate(said, how)));
}

/** What a model answers to [{ role: 'user', content: '…' }], in the same form. */
export function chat(messages, options) {
  const [said, how] = [conversation(messages), optionsOf(options)];
  return completion(call(() => host.chat(said, how)));
}

/** The same piece by piece; it is there before the first of them, so several can be written at one time. */
export function chatStream(messages, options) {
  const [said, how] = [conversation(messages), optionsOf(options)];
  return new TokenStream(call(() => host.chatStream(said, how)));
}

/** Names that this task may use, of the models that are there. */
export function models() {
  return call(() => host.models());
}

/** `schema` is a JSON schema that the answer's text satisfies; what is left out is as the runtime is configured. */
function optionsOf({ model, temperature, topP, seed, maxTokens, stop = [], schema, extra, ...others } = {}) {
  for (const name in others) {
    throw new TypeError(`there is no option ${name}`);
  }
  const given = (convert, value) => (value === undefined || value === null ? undefined : convert(value));
  return {
    model: given(text, model),
    temperature: given(Number, temperature),
    topP: given(Number, topP),
    seed: given(whole, seed),
    maxTokens: given((tokens) => whole(tokens, 2 ** 32), maxTokens),
    stop: listOf(stop),
    schema: given(JSON.stringify, schema),
    extra: given(JSON.stringify, extra),
  };
}

function conversation(messages) {
  if (!Array.isArray(messages)) {
    throw new TypeError("expected an array of messages: [{ role: 'user', content: text }]");
  }
  // The others are `thinking`, `tool_calls` and their like.
  return messages.map(({ role, content, ...others }) => {
    if (!ROLES.includes(role)) {
      throw new RangeError(`the role of a message is system, user or assistant, not ${role}`);
    }
    return { role, content: text(content), extra: Object.keys(others).length ? JSON.stringify(others) : undefined };
  });
}

function completion(made) {
  return { ...made };
}
