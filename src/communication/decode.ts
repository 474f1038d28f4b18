/**
 * Reads MessagePack that a stranger wrote: any bytes give a value or an INVALID, in time and memory linear in their
 * number. Only the plain part is taken (no extension but "undefined"), nesting is bounded, counts are checked against the
 * bytes that are left before anything is allocated, and a key `__proto__` is refused, so no body can reach a prototype.
 */
import { TandemError } from '../core/errors.ts';
import { depthMax } from './encode.ts';

/** Property names seen, by a hash of their bytes: names repeat, and a cached one is an interned string. */
const names: { text: string; bytes: Uint8Array }[] = new Array(1024);
const nameBytesMax = 31;
/** Of one frame. A byte may be an empty map, which takes 56 of them: without a bound a frame could fill the heap. */
const containersMax = 1_048_576;
/** What an array or a map takes beside its content, about. */
export const containerBytes = 64;

export class Reader {
  bytes: Buffer;
  at: number;
  end: number;
  /** Arrays and maps read since `reset`: each takes more memory than its bytes. */
  containers = 0;
  #depth = 0;

  constructor(bytes: Buffer, start: number, end: number) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  /** Reads other bytes from now on. */
  reset(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.containers = 0;
    this.#depth = 0;
  }

  /** One value. @throws INVALID when the bytes are not one. */
  value(): unknown {
    const marker = this.byte();
    if (marker < 0x80) return marker;
    if (marker < 0x90) return this.#map(marker & 0x0f);
    if (marker < 0xa0) return this.#array(marker & 0x0f);
    if (marker < 0xc0) return this.text(marker & 0x1f);
    if (marker >= 0xe0) return marker - 0x100;
    switch (marker) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#binary(this.byte());
      case 0xc5:
        return this.#binary(this.uint16());
      case 0xc6:
        return this.#binary(this.uint32());
      case 0xca:
        return this.bytes.readFloatBE(this.#advance(4));
      case 0xcb:
        return this.bytes.readDoubleBE(this.#advance(8));
      case 0xcc:
        return this.byte();
      case 0xcd:
        return this.uint16();
      case 0xce:
        return this.uint32();
      case 0xcf:
        return narrow(this.bytes.readBigUInt64BE(this.#advance(8)));
      case 0xd0:
        return this.bytes.readInt8(this.#advance(1));
      case 0xd1:
        return this.bytes.readInt16BE(this.#advance(2));
      case 0xd2:
        return this.bytes.readInt32BE(this.#advance(4));
      case 0xd3:
        return narrow(this.bytes.readBigInt64BE(this.#advance(8)));
      case 0xd4:
        if (this.uint16() === 0) return undefined;
        break;
      case 0xd9:
        return this.text(this.byte());
      case 0xda:
        return this.text(this.uint16());
      case 0xdb:
        return this.text(this.uint32());
      case 0xdc:
        return this.#array(this.uint16());
      case 0xdd:
        return this.#array(this.uint32());
      case 0xde:
        return this.#map(this.uint16());
      case 0xdf:
        return this.#map(this.uint32());
    }
    throw malformed(`marker 0x${marker.toString(16)} is not taken`);
  }

  byte(): number {
    if (this.at >= this.end) throw malformed('it ends too early');
    return this.bytes[this.at++]!;
  }

  uint16(): number {
    const at = this.#advance(2);
    return (this.bytes[at]! << 8) | this.bytes[at + 1]!;
  }

  uint32(): number {
    const at = this.#advance(4);
    const { bytes } = this;
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
  }

  /** UTF-8 of `length` bytes. */
  text(length: number): string {
    const start = this.#advance(length);
    if (length > 24) return this.bytes.toString('utf8', start, this.at);
    const { bytes } = this;
    let text = '';
    for (let i = start; i < this.at; i++) {
      const code = bytes[i]!;
      if (code >= 0x80) return bytes.toString('utf8', start, this.at);
      text += String.fromCharCode(code);
    }
    return text;
  }

  #advance(count: number): number {
    const start = this.at;
    if (count > this.end - start) throw malformed('it ends too early');
    this.at = start + count;
    return start;
  }

  /** A copy, as the bytes read may be used again; small ones from Node's pool, which takes a sixth of the time of an allocation. */
  #binary(length: number): Uint8Array {
    const start = this.#advance(length);
    const copy = Buffer.allocUnsafe(length);
    this.bytes.copy(copy, 0, start, this.at);
    return copy;
  }

  #enter(count: number): void {
    // Each item takes a byte at least.
    if (count > this.end - this.at) throw malformed('it counts more items than it has bytes');
    if (++this.#depth > depthMax) throw malformed(`it is nested deeper than ${depthMax}`);
    if (++this.containers > containersMax) throw malformed(`it has more than ${containersMax} arrays and maps`);
  }

  #array(count: number): unknown[] {
    this.#enter(count);
    const array = [];
    for (let i = 0; i < count; i++) array.push(this.value());
    this.#depth--;
    return array;
  }

  #map(count: number): Record<string, unknown> {
    this.#enter(count);
    const map: Record<string, unknown> = {};
    for (let i = 0; i < count; i++) {
      const name = this.#name();
      map[name] = this.value();
    }
    this.#depth--;
    return map;
  }

  #name(): string {
    const marker = this.byte();
    if (marker >= 0xa0 && marker < 0xc0) return this.#shortName(marker & 0x1f);
    let name: string;
    if (marker === 0xd9) name = this.text(this.byte());
    else if (marker === 0xda) name = this.text(this.uint16());
    else if (marker === 0xdb) name = this.text(this.uint32());
    else throw malformed('a key is not a string');
    return allowed(name);
  }

  #shortName(length: number): string {
    const start = this.#advance(length);
    const { bytes } = this;
    let hash = length;
    for (let i = start; i < this.at; i++) hash = (hash * 31 + bytes[i]!) | 0;
    const slot = hash & 1023;
    const known = names[slot];
    if (known && known.bytes.length === length) {
      let i = 0;
      while (i < length && known.bytes[i] === bytes[start + i]) i++;
      if (i === length) return known.text;
    }
    const text = allowed(bytes.toString('utf8', start, this.at));
    if (length <= nameBytesMax) names[slot] = { text, bytes: Uint8Array.prototype.slice.call(bytes, start, this.at) };
    return text;
  }
}

function allowed(name: string): string {
  if (name === '__proto__') throw malformed("a key is '__proto__'");
  return name;
}

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function malformed(why: string): TandemError {
  return new TandemError('INVALID', `a body of the link is not valid: ${why}`);
}
