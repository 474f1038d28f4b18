import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Reader } from './decode.ts';
import { encode } from './encode.ts';
import { FrameSplitter } from './frame-splitter.ts';
import { Slab } from './slab.ts';

const values = [
  0,
  'text',
  { list: [1.5, -3, null], deep: { é: 'ü'.repeat(40) } },
  Buffer.alloc(300, 7),
  'x'.repeat(1000),
];

/** Five bytes of head, then a value, as all frames have it. */
function frames(slabBytes: number): Buffer {
  const slab = new Slab(65_536, slabBytes);
  const parts: Buffer[] = [];
  for (const [index, value] of values.entries()) {
    slab.begin();
    slab.reserve(5);
    slab.bytes.fill(index, slab.at, slab.at + 5);
    slab.at += 5;
    encode(slab, value);
    slab.commit();
    if (index % 2) parts.push(...slab.take());
  }
  return Buffer.concat([...parts, ...slab.take()]);
}

function read(pieces: Iterable<Buffer>): unknown[] {
  const found: unknown[] = [];
  const splitter = new FrameSplitter(65_536, (bytes, start, end) => {
    assert.equal(bytes[start], found.length);
    found.push(new Reader(bytes, start + 5, end).value());
  });
  for (const piece of pieces) assert.ok(splitter.push(piece));
  return found;
}

test('a length that is no frame of this link ends it before anything of it is held', () => {
  for (const length of [0, 4, 65_537, 0xffff_ffff]) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    const never = (): void => assert.fail('it is no frame');
    assert.equal(new FrameSplitter(65_536, never).push(bytes), false, `${length}`);
    // The same when it comes byte by byte.
    const slow = new FrameSplitter(65_536, never);
    const taken = [...bytes].map(byte => slow.push(Buffer.of(byte)));
    assert.deepEqual(taken, [true, true, true, false], `${length}`);
  }
});

test('frames written through blocks of any size are the same bytes', () => {
  const usual = frames(65_536);
  for (let slabBytes = 1; slabBytes < 80; slabBytes++) assert.ok(frames(slabBytes).equals(usual), `${slabBytes}`);
});

test('frames are read the same wherever the bytes are cut, twice, and in pieces of any size', () => {
  const bytes = frames(65_536);
  for (let at = 0; at <= bytes.length; at++) {
    const other = (at * 7919) % (bytes.length + 1);
    const [first, second] = at < other ? [at, other] : [other, at];
    const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
    assert.deepEqual(read(pieces), values, `cut at ${first} and ${second}`);
  }
  for (const size of [1, 2, 3, 5, 8, 13, 300]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    assert.deepEqual(read(pieces), values, `pieces of ${size}`);
  }
});

test('a body of a million empty maps and more is refused, not built', () => {
  const bytes = Buffer.alloc(2_000_005, 0x80);
  bytes[0] = 0xdd;
  bytes.writeUInt32BE(2_000_000, 1);
  assert.throws(() => new Reader(bytes, 0, bytes.length).value(), { code: 'INVALID', message: /arrays and maps/ });
});
