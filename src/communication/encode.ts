/**
 * Bodies are MessagePack (msgpack.org), the plain part of it: nil, booleans, numbers, strings, binary, arrays, maps with
 * string keys. Our own writer rather than msgpackr's, because it encodes straight into the slab and refuses what the
 * plain part cannot carry; any MessagePack library reads the result. `undefined` is left out of maps and is ext 0/0
 * elsewhere, as in msgpackr. An object with `toJSON` (a Date) goes as that says.
 */
import { TandemError } from '../core/errors.ts';
import type { Slab } from './slab.ts';

export const depthMax = 128;
/** Below this many characters a loop in JavaScript beats a call into native code. */
const shortChars = 40;
/** Encoded property names; names are few (schemas), and the bound keeps dynamic keys from piling up. */
const keys = new Map<string, Uint8Array>();
const keysMax = 4096;

/** @throws INVALID for what MessagePack cannot carry, TOO_LARGE beyond the frame's limit. */
export function encode(slab: Slab, value: unknown, depth = 0): void {
  switch (typeof value) {
    case 'string':
      writeString(slab, value);
      return;
    case 'number':
      writeNumber(slab, value);
      return;
    case 'object':
      if (value === null) writeByte(slab, 0xc0);
      else writeObject(slab, value, depth);
      return;
    case 'boolean':
      writeByte(slab, value ? 0xc3 : 0xc2);
      return;
    case 'undefined':
      slab.reserve(3);
      slab.bytes[slab.at++] = 0xd4;
      slab.bytes[slab.at++] = 0;
      slab.bytes[slab.at++] = 0;
      return;
    case 'bigint':
      writeBigint(slab, value);
      return;
    default:
      throw new TandemError('INVALID', `a ${typeof value} cannot cross the link`);
  }
}

function writeByte(slab: Slab, byte: number): void {
  slab.reserve(1);
  slab.bytes[slab.at++] = byte;
}

/** A marker byte and a big-endian number of 1, 2 or 4 bytes. */
function writeMarked(slab: Slab, marker: number, value: number, size: 1 | 2 | 4): void {
  slab.reserve(5);
  const { bytes } = slab;
  bytes[slab.at++] = marker;
  if (size === 4) {
    bytes[slab.at++] = value >>> 24;
    bytes[slab.at++] = value >>> 16;
  }
  if (size >= 2) bytes[slab.at++] = value >>> 8;
  bytes[slab.at++] = value;
}

function writeNumber(slab: Slab, value: number): void {
  if (value >>> 0 === value && !Object.is(value, -0)) {
    if (value < 0x80) writeByte(slab, value);
    else if (value < 0x100) writeMarked(slab, 0xcc, value, 1);
    else if (value < 0x1_0000) writeMarked(slab, 0xcd, value, 2);
    else writeMarked(slab, 0xce, value, 4);
  } else if ((value | 0) === value && value < 0) {
    if (value >= -0x20) writeByte(slab, value);
    else if (value >= -0x80) writeMarked(slab, 0xd0, value, 1);
    else if (value >= -0x8000) writeMarked(slab, 0xd1, value, 2);
    else writeMarked(slab, 0xd2, value, 4);
  } else {
    slab.reserve(9);
    slab.bytes[slab.at] = 0xcb;
    slab.bytes.writeDoubleBE(value, slab.at + 1);
    slab.at += 9;
  }
}

function writeBigint(slab: Slab, value: bigint): void {
  if (value > 0xffff_ffff_ffff_ffffn || value < -0x8000_0000_0000_0000n) {
    throw new TandemError('INVALID', 'a bigint of more than 64 bits cannot cross the link');
  }
  slab.reserve(9);
  slab.bytes[slab.at] = value < 0n ? 0xd3 : 0xcf;
  if (value < 0n) slab.bytes.writeBigInt64BE(value, slab.at + 1);
  else slab.bytes.writeBigUInt64BE(value, slab.at + 1);
  slab.at += 9;
}

function writeString(slab: Slab, text: string): void {
  const { length } = text;
  if (length < shortChars) {
    slab.reserve(2 + length);
    const { bytes } = slab;
    const at = slab.at + (length < 32 ? 1 : 2);
    let i = 0;
    for (; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) break;
      bytes[at + i] = code;
    }
    if (i === length) {
      if (length < 32) {
        bytes[slab.at] = 0xa0 | length;
      } else {
        bytes[slab.at] = 0xd9;
        bytes[slab.at + 1] = length;
      }
      slab.at = at + length;
      return;
    }
  }
  // The worst case is three bytes a character; measuring first keeps the reservation exact for large strings.
  const size = length > 4096 ? Buffer.byteLength(text) : length * 3;
  slab.reserve(5 + size);
  const { bytes } = slab;
  const written = bytes.write(text, slab.at + 5, size, 'utf8');
  bytes[slab.at] = 0xdb;
  bytes.writeUInt32BE(written, slab.at + 1);
  slab.at += 5 + written;
}

function writeKey(slab: Slab, key: string): void {
  let encoded = keys.get(key);
  if (!encoded) {
    if (key === '__proto__') throw new TandemError('INVALID', "a property named '__proto__' cannot cross the link");
    const text = Buffer.from(key);
    if (text.length > 31 || keys.size >= keysMax) {
      writeString(slab, key);
      return;
    }
    encoded = Uint8Array.of(0xa0 | text.length, ...text);
    keys.set(key, encoded);
  }
  const { length } = encoded;
  slab.reserve(length);
  const { bytes } = slab;
  let { at } = slab;
  for (let i = 0; i < length; i++) bytes[at++] = encoded[i]!;
  slab.at = at;
}

function writeObject(slab: Slab, value: object, depth: number): void {
  if (depth >= depthMax)
    throw new TandemError('INVALID', `a value nested deeper than ${depthMax} cannot cross the link`);
  if (Array.isArray(value)) {
    const { length } = value;
    if (length < 16) writeByte(slab, 0x90 | length);
    else if (length < 0x1_0000) writeMarked(slab, 0xdc, length, 2);
    else writeMarked(slab, 0xdd, length, 4);
    for (let i = 0; i < length; i++) encode(slab, value[i], depth + 1);
    return;
  }
  if (value instanceof Uint8Array) {
    const { length } = value;
    if (length < 0x100) writeMarked(slab, 0xc4, length, 1);
    else writeMarked(slab, 0xc6, length, 4);
    slab.reserve(length);
    slab.bytes.set(value, slab.at);
    slab.at += length;
    return;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    encode(slab, (value as { toJSON(): unknown }).toJSON(), depth + 1);
    return;
  }
  if (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value)) {
    throw new TandemError('INVALID', `a ${value.constructor.name} cannot cross the link; use an object or an array`);
  }
  writeMap(slab, value as Record<string, unknown>, depth);
}

function writeMap(slab: Slab, value: Record<string, unknown>, depth: number): void {
  const names = Object.keys(value);
  let count = names.length;
  for (let i = 0; i < names.length; i++) if (value[names[i]!] === undefined) count--;
  if (count < 16) writeByte(slab, 0x80 | count);
  else if (count < 0x1_0000) writeMarked(slab, 0xde, count, 2);
  else writeMarked(slab, 0xdf, count, 4);
  for (let i = 0; i < names.length; i++) {
    const field = value[names[i]!];
    if (field === undefined) continue;
    writeKey(slab, names[i]!);
    encode(slab, field, depth + 1);
  }
}
