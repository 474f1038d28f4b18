/**
 * The bytes of protobuf (protobuf.dev/programming-guides/encoding): tags, variable-length numbers, lengths. Written by hand rather than taken from a package
 * because it is small, and because values go straight between JSON shapes and bytes, without message objects in between.
 */
import { isUtf8 } from 'node:buffer';
import { TandemError } from '../core/errors.ts';

export const wire = { varint: 0, fixed64: 1, bytes: 2, startGroup: 3, endGroup: 4, fixed32: 5 } as const;

const twoTo32 = 0x1_0000_0000;
const startBytes = 1024;
/** A scratch larger than this was for one large message, and is let go. */
const keptBytesMax = 65_536;
/** Short texts are almost always ASCII, and a loop beats the call into native code. */
const shortText = 24;
const depthMax = 100;

export class ProtoWriter {
  #buffer: Buffer = Buffer.allocUnsafeSlow(startBytes);
  #at = 0;

  get at(): number {
    return this.#at;
  }

  /** Begins a new message after `room` bytes left for a head. */
  begin(room: number): void {
    this.#at = room;
    if (this.#buffer.length > keptBytesMax) this.#buffer = Buffer.allocUnsafeSlow(startBytes);
    this.#need(0);
  }

  /** A copy: the scratch is used again. */
  finish(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }

  tag(number: number, type: number): void {
    this.varint(number * 8 + type);
  }

  /** Whole, from 0 to 2^53. */
  varint(value: number): void {
    this.#need(10);
    let rest = value;
    while (rest > 0x7fff_ffff) {
      this.#buffer[this.#at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest > 127) {
      this.#buffer[this.#at++] = (rest & 127) | 0x80;
      rest >>>= 7;
    }
    this.#buffer[this.#at++] = rest;
  }

  /** Negative ones take ten bytes: two's complement of 64 bits. */
  int(value: number): void {
    if (value >= 0) {
      this.varint(value);
      return;
    }
    this.#need(10);
    let low = ((value % twoTo32) + twoTo32) % twoTo32;
    let high = Math.floor(value / twoTo32) >>> 0;
    for (let i = 0; i < 9; i++) {
      this.#buffer[this.#at++] = (low & 127) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.#buffer[this.#at++] = low & 1;
  }

  double(value: number): void {
    this.#need(8);
    this.#at = this.#buffer.writeDoubleLE(value, this.#at);
  }

  text(value: string): void {
    const { length } = value;
    this.#need(length * 3 + 5);
    if (length <= shortText) {
      const start = this.#at;
      this.#buffer[this.#at++] = length;
      let i = 0;
      for (; i < length; i++) {
        const code = value.charCodeAt(i);
        if (code > 127) break;
        this.#buffer[this.#at++] = code;
      }
      if (i === length) return;
      this.#at = start;
    }
    const opened = this.open();
    this.#at += this.#buffer.write(value, this.#at);
    this.close(opened);
  }

  bytes(value: Uint8Array): void {
    this.varint(value.length);
    this.#need(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
  }

  /** Begins a part whose length stands before it; `close` with what this gives. */
  open(): number {
    this.#need(1);
    return ++this.#at;
  }

  close(start: number): void {
    const length = this.#at - start;
    let width = 1;
    for (let rest = length; rest > 127; rest = Math.floor(rest / 128)) width++;
    if (width > 1) {
      this.#need(width);
      this.#buffer.copyWithin(start + width - 1, start, this.#at);
    }
    const end = this.#at + width - 1;
    this.#at = start - 1;
    this.varint(length);
    this.#at = end;
  }

  #need(bytes: number): void {
    const wanted = this.#at + bytes;
    if (wanted <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(wanted, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/** @throws INVALID from every method for bytes that are no protobuf. */
export class ProtoReader {
  readonly #bytes: Buffer;
  at: number;
  end: number;
  depth = 0;

  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.at = start;
    this.end = end;
  }

  /** Whole and unsigned, cut to 53 bits of precision only where 64 are asked: see `int64`. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < 10; i++) {
      const byte = this.#byte();
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw malformed('a number is longer than ten bytes');
  }

  int64(): number {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      const bits = byte & 127;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 128) {
        const value = (high | 0) * twoTo32 + (low >>> 0);
        if (Number.isSafeInteger(value)) return value;
        throw new TandemError('INVALID', `an int64 is beyond ±${Number.MAX_SAFE_INTEGER}, the most that JSON carries`);
      }
    }
    throw malformed('a number is longer than ten bytes');
  }

  /** The lower 32 bits, as protobuf reads a longer one. */
  bits32(): number {
    let low = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.#byte();
      if (shift < 32) low |= (byte & 127) << shift;
      if (byte < 128) return low;
    }
    throw malformed('a number is longer than ten bytes');
  }

  double(): number {
    this.#need(8);
    const value = this.#bytes.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }

  text(): string {
    const length = this.length();
    const start = this.at;
    const end = start + length;
    this.at = end;
    if (length <= shortText) {
      let text = '';
      let i = start;
      for (; i < end; i++) {
        const byte = this.#bytes[i]!;
        if (byte > 127) break;
        text += String.fromCharCode(byte);
      }
      if (i === end) return text;
    }
    if (!isUtf8(this.#bytes.subarray(start, end))) throw malformed('a text is not UTF-8');
    return this.#bytes.toString('utf8', start, end);
  }

  bytes(): Buffer {
    const length = this.length();
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  /** Of what follows, all of which is there. */
  length(): number {
    const length = this.varint();
    this.#need(length);
    return length;
  }

  /** Reads a part with its length: `end` is its end until `leave` is called with what this gives. */
  enter(): number {
    const length = this.length();
    if (++this.depth > depthMax) throw malformed(`it is nested deeper than ${depthMax} levels`);
    const outer = this.end;
    this.end = this.at + length;
    return outer;
  }

  leave(outer: number): void {
    this.depth--;
    this.end = outer;
  }

  /** Passes over a field that nobody here knows. */
  skip(type: number, number: number): void {
    if (type === wire.varint) this.varint();
    else if (type === wire.fixed64) this.#pass(8);
    else if (type === wire.fixed32) this.#pass(4);
    else if (type === wire.bytes) this.#pass(this.length());
    else if (type === wire.startGroup) this.#group(number);
    else throw malformed(`field ${number} has the wire type ${type}`);
  }

  #group(number: number): void {
    if (++this.depth > depthMax) throw malformed(`it is nested deeper than ${depthMax} levels`);
    for (;;) {
      const tag = this.varint();
      const inner = Math.floor(tag / 8);
      if (tag % 8 === wire.endGroup) {
        if (inner !== number) throw malformed(`group ${number} ends as ${inner}`);
        this.depth--;
        return;
      }
      this.skip(tag % 8, inner);
    }
  }

  #pass(bytes: number): void {
    this.#need(bytes);
    this.at += bytes;
  }

  #byte(): number {
    if (this.at >= this.end) throw malformed('it ends too early');
    return this.#bytes[this.at++]!;
  }

  #need(bytes: number): void {
    if (bytes > this.end - this.at) throw malformed('it ends too early');
  }
}

export function malformed(reason: string): TandemError {
  return new TandemError('INVALID', `the message is not well-formed protobuf: ${reason}`);
}
