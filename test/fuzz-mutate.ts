/**
 * Mutations of bytes, as fuzzers have them since AFL: flipped bits, values at the edges, blocks cut out, doubled, moved
 * or taken from another sample, and cut ends. All from one seeded Random, so that a case can be repeated by its number.
 */
import type { Random } from '../src/core/random.ts';

const edges = [0, 1, 0x7f, 0x80, 0xff, 0xc0, 0x0a, 0x0d, 0x20];
const edges32 = [0, 1, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];
/** What a case may grow to by doubling. */
const bytesMax = 65_536;

/** One to six mutations of `bytes`, which stay as they are; `other` is a sample to take pieces of. */
export function mutate(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let mutant: Uint8Array = Uint8Array.from(bytes);
  for (let times = 1 + random.below(6); times > 0; times--) mutant = once(mutant, other, random);
  return mutant;
}

function once(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  if (bytes.length === 0) return piece(other, random);
  const at = random.below(bytes.length);
  const length = 1 + random.below(Math.min(64, bytes.length - at));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (random.below(11)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8);
      return bytes;
    case 1:
      bytes[at] = random.below(256);
      return bytes;
    case 2:
      bytes[at] = edges[random.below(edges.length)]!;
      return bytes;
    case 3:
      if (at + 2 <= bytes.length) view.setUint16(at, edges32[random.below(edges32.length)]!, random.below(2) === 0);
      return bytes;
    case 4:
      if (at + 4 <= bytes.length) view.setUint32(at, edges32[random.below(edges32.length)]!, random.below(2) === 0);
      return bytes;
    case 5:
      return joined(bytes.subarray(0, at), bytes.subarray(at + length));
    case 6:
      return joined(bytes.subarray(0, at + length), bytes.subarray(at));
    case 7:
      return bytes.subarray(0, at);
    case 8:
      return joined(bytes.subarray(0, at), piece(other, random), bytes.subarray(at));
    case 9:
      return joined(
        bytes.subarray(0, at),
        Uint8Array.from({ length }, () => random.below(256)),
        bytes.subarray(at),
      );
    default: {
      bytes.copyWithin(random.below(bytes.length), at, at + length);
      return bytes;
    }
  }
}

function piece(other: Uint8Array, random: Random): Uint8Array {
  const at = random.below(Math.max(1, other.length));
  return other.subarray(at, at + 1 + random.below(Math.max(1, other.length - at)));
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts).subarray(0, bytesMax));
}
