// Math.random of QuickJS is seeded when the component is built and would be the same in every task.

import { getRandomU64 } from 'wasi:random/random@0.2.0';

/** A generator with a seed of the host's (SplitMix64, by Sebastiano Vigna): uniform in [0, 1). */
export function seededRandom() {
  let state = BigInt.asUintN(64, BigInt(getRandomU64()));
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let z = BigInt.asUintN(64, (state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) >> 11n) / 2 ** 53;
  };
}
