/**
 * From a key to its partition. MurmurHash3 x86 32-bit (Appleby, public domain) over UTF-8: fast in plain JS, spreads
 * short keys well, and easy to repeat in any language that wants to place a key itself.
 */
import assert from 'node:assert';
import { placingPart } from '../contract/key.ts';

const encoder = new TextEncoder();
let scratch = new Uint8Array(256);

/** Partition of a row's or call's key: rows that share the text before the first `/` live together. */
export function partitionOf(key: string, partitions: number): number {
  assert(partitions >= 1);
  return hashText(placingPart(key), 0) % partitions;
}

/** 32-bit hash of a text, with a seed for independent families. */
export function hashText(text: string, seed: number): number {
  if (text.length * 3 > scratch.length) scratch = new Uint8Array(text.length * 6);
  const { written } = encoder.encodeInto(text, scratch);
  return murmur3(scratch, written, seed);
}

export function murmur3(bytes: Uint8Array, length: number, seed: number): number {
  let hash = seed | 0;
  const whole = length & ~3;
  for (let i = 0; i < whole; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    hash ^= scramble(word);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let i = length - 1; i >= whole; i--) tail = (tail << 8) | bytes[i]!;
  if (whole < length) hash ^= scramble(tail);
  hash ^= length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function scramble(word: number): number {
  const mixed = Math.imul(word, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}
