// What the host lends, for programs: parts of the global `omnimind`. Without the grant a call throws `access-denied`.

import * as embedding from 'omnimind:runtime/embedding@0.1.0';
import { Tensor as HostTensor } from 'omnimind:runtime/tensor@0.1.0';
import { call, listOf, whole } from './calls.js';

/** Numbers of one read: 4 MiB. */
const PIECE = 1 << 20;

/** Numbers (float32) that are on the host, and computed with there: `new Tensor([[1, 2], [3, 4]])`. What computes makes
 * new tensors. */
export class Tensor {
  #host;

  constructor(numbers) {
    if (numbers instanceof HostTensor) {
      this.#host = numbers;
      return;
    }
    const shape = [];
    let flat = [numbers];
    while (flat.length > 0 && isRow(flat[0])) {
      const { length } = flat[0];
      if (!flat.every((row) => isRow(row) && row.length === length)) {
        throw new RangeError('all rows of a tensor are of one length');
      }
      shape.push(length);
      flat = flat.flatMap((row) => Array.from(row));
    }
    const data = new Uint8Array(Float32Array.from(flat).buffer);
    this.#host = call(() => HostTensor.fromBytes(Uint32Array.from(shape), 'float32', data));
  }

  /** Uniform in [0, 1), the same for the same seed. */
  static random(shape, seed) {
    const sizes = Uint32Array.from(shape, (size) => whole(size));
    return new Tensor(call(() => HostTensor.random(sizes, 'float32', whole(seed))));
  }

  get shape() {
    return [...this.#host.shape()];
  }

  matmul(right) {
    return this.#make((host) => host.matmul(tensor(right).#host, 'highest'));
  }

  add(right) {
    return this.#make((host) => host.add(tensor(right).#host));
  }

  scale(factor) {
    return this.#make((host) => host.scale(Number(factor)));
  }

  /** Rows and columns exchanged. */
  transpose() {
    return this.#make((host) => host.transpose());
  }

  /** Of each row. */
  softmax() {
    return this.#make((host) => host.softmax());
  }

  /** Each row brought to length 1. */
  normalize() {
    return this.#make((host) => host.normalize());
  }

  /** The k largest of each row and where they are, the largest first: rows of { index, value }. */
  topK(k) {
    const [places, values] = call(() => this.#host.topK(whole(k)));
    const pairs = Array.from(places, (index, at) => ({ index, value: values[at] }));
    return rows(pairs, k);
  }

  /** All numbers, nested as the shape is. */
  toArray() {
    const { shape } = this;
    const count = shape.reduce((product, size) => product * size, 1);
    const numbers = new Float32Array(count);
    for (let offset = 0; offset < count; offset += PIECE) {
      const bytes = call(() => this.#host.read(offset, Math.min(PIECE, count - offset)));
      numbers.set(new Float32Array(bytes.slice().buffer), offset);
    }
    return shape.slice(1).reduceRight((nested, size) => rows(nested, size), Array.from(numbers));
  }

  #make(compute) {
    return new Tensor(call(() => compute(this.#host)));
  }
}

/** The vector of each text, a Float32Array of length 1: near each other where the texts are alike. */
export function embed(texts) {
  const { dimensions, data } = call(() => embedding.embed(listOf(texts)));
  return rows(Float32Array.from(data), dimensions);
}

/** The same as a tensor of as many rows. */
export function embedTensor(texts) {
  return new Tensor(call(() => embedding.embedTensor(listOf(texts))));
}

/** What makes the vectors: { name, dimensions, maxTokens (of one text), device }. */
export function embeddingModel() {
  return { ...call(() => embedding.describe()) };
}

function isRow(value) {
  return Array.isArray(value) || ArrayBuffer.isView(value);
}

function rows(list, size) {
  return Array.from({ length: list.length / size }, (_, row) => list.slice(row * size, (row + 1) * size));
}

function tensor(value) {
  if (!(value instanceof Tensor)) {
    throw new TypeError('expected a Tensor');
  }
  return value;
}
