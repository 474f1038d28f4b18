/**
 * What lies in a segment: a header, then records, each with a CRC-32 over all of itself. A record names its batch:
 * batch n+1 is written only after batch n is on disk, so a broken record with a record of a later batch behind it is
 * damage, and one with only its own batch behind it is a write that was cut short and never acknowledged.
 */
import { crc32 } from 'node:zlib';

export const recordKind = { entry: 1, trim: 2, directory: 3, copy: 4 } as const;
export const recordHeadBytes = 32;
export const segmentHeadBytes = 32;
export const segmentFormat = 1;
const segmentMagic = 0x544e_444c; // "TNDL"

export interface RecordHead {
  readonly kind: number;
  readonly logId: number;
  readonly batch: number;
  readonly position: number;
  readonly length: number;
}

export function recordBytes(length: number): number {
  return (recordHeadBytes + length + 7) & ~7;
}

/** Writes a record at `at`; the buffer must have room and be zero or overwritten up to the padding. Returns the offset behind it. */
export function writeRecord(buffer: Buffer, at: number, head: Omit<RecordHead, 'length'>, body: Uint8Array): number {
  const end = at + recordBytes(body.length);
  buffer.writeUInt32LE(body.length, at + 4);
  buffer.writeUInt32LE(head.logId, at + 8);
  buffer.writeUIntLE(head.batch, at + 12, 6);
  buffer.writeUIntLE(head.position, at + 18, 6);
  buffer.writeUInt8(head.kind, at + 24);
  zero(buffer, at + 25, at + recordHeadBytes);
  buffer.set(body, at + recordHeadBytes);
  zero(buffer, at + recordHeadBytes + body.length, end);
  buffer.writeUInt32LE(crc32(buffer.subarray(at + 4, end)), at);
  return end;
}

/** A few bytes: a loop beats a call into native code. */
function zero(buffer: Buffer, from: number, to: number): void {
  for (let at = from; at < to; at++) buffer[at] = 0;
}

/** The record at `at`, or why there is none: `end` where only zeros follow its head, `broken` otherwise. */
export function readRecord(buffer: Buffer, at: number): RecordHead | 'end' | 'broken' {
  if (at + recordHeadBytes > buffer.length) return 'end';
  const length = buffer.readUInt32LE(at + 4);
  const kind = buffer.readUInt8(at + 24);
  if (kind === 0 && length === 0 && buffer.readUInt32LE(at) === 0)
    return isZero(buffer, at, at + recordHeadBytes) ? 'end' : 'broken';
  const end = at + recordBytes(length);
  if (end > buffer.length || crc32(buffer.subarray(at + 4, end)) !== buffer.readUInt32LE(at)) return 'broken';
  return {
    kind,
    logId: buffer.readUInt32LE(at + 8),
    batch: buffer.readUIntLE(at + 12, 6),
    position: buffer.readUIntLE(at + 18, 6),
    length,
  };
}

export function isZero(buffer: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (buffer[at] !== 0) return false;
  return true;
}

export function segmentHead(number: number): Buffer {
  const head = Buffer.alloc(segmentHeadBytes);
  head.writeUInt32BE(segmentMagic, 0);
  head.writeUInt32LE(segmentFormat, 4);
  head.writeUIntLE(number, 8, 6);
  head.writeUInt32LE(crc32(head.subarray(0, 28)), 28);
  return head;
}

/** The number in a segment's header; undefined when it is not one (cut short while it was made). */
export function segmentNumber(head: Buffer): number | undefined {
  if (head.length < segmentHeadBytes || head.readUInt32BE(0) !== segmentMagic) return undefined;
  if (head.readUInt32LE(28) !== crc32(head.subarray(0, 28))) return undefined;
  return head.readUIntLE(8, 6);
}
