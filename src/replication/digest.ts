/**
 * An order-free digest of all rows: the sum of the rows' hashes, so a commit updates it by what it changes. Two replicas
 * at one position must have the same one. It finds bugs and rot, not forgery, hence 64 bits of murmur instead of sha-256.
 */
import { hashText, murmur3 } from '../partitioning/hash.ts';

export class Digest {
  #high: number;
  #low: number;

  constructor(text: string) {
    this.#high = Number.parseInt(text.slice(0, 8), 16);
    this.#low = Number.parseInt(text.slice(8), 16);
  }

  add(table: string, key: string, value: Uint8Array): void {
    this.#high = (this.#high + rowHash(table, key, value, 1)) >>> 0;
    this.#low = (this.#low + rowHash(table, key, value, 2)) >>> 0;
  }

  remove(table: string, key: string, value: Uint8Array): void {
    this.#high = (this.#high - rowHash(table, key, value, 1)) >>> 0;
    this.#low = (this.#low - rowHash(table, key, value, 2)) >>> 0;
  }

  toString(): string {
    return this.#high.toString(16).padStart(8, '0') + this.#low.toString(16).padStart(8, '0');
  }
}

function rowHash(table: string, key: string, value: Uint8Array, seed: number): number {
  return murmur3(value, value.length, hashText(`${table}\0${key}`, seed));
}
