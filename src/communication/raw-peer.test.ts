/** Not a test itself: one end of a link that a test speaks by hand, byte for byte as the protocol page says. */
import { Reader } from './decode.ts';
import { encode } from './encode.ts';
import { frameType } from './frame.ts';
import { FrameSplitter } from './frame-splitter.ts';
import { Slab } from './slab.ts';
import type { Connection } from './transport.ts';

export interface RawFrame {
  readonly type: number;
  readonly id: number;
  readonly content: Buffer;
}

export const helloFrame = (lowest = 1, highest = 1): Buffer =>
  frame(frameType.hello, 0, Buffer.from([0x54, 0x4e, 0x44, 0x4d, lowest, highest]));

export function frame(type: number, id: number, content: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUInt32BE(5 + content.length);
  head[4] = type;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, content]);
}

/** A call that names its method, as the first of each does. */
export function callFrame(id: number, method: string, body: unknown, number = 0, flags = 0): Buffer {
  const head = Buffer.from([flags | 0b10_0000, 0, number, 0, 0, 0xff, 0xff]);
  return frame(frameType.call, id, Buffer.concat([head, valueBytes(method), valueBytes(body)]));
}

export function valueBytes(value: unknown): Buffer {
  const slab = new Slab(16_777_216);
  slab.begin();
  encode(slab, value);
  slab.commit();
  return Buffer.concat(slab.take()).subarray(4);
}

export const readValue = (content: Buffer, from = 0): unknown => new Reader(content, from, content.length).value();

/** Collects what comes; `frames` grows. */
export function listen(connection: Connection, onFrame: (frame: RawFrame) => void = () => {}): RawFrame[] {
  const frames: RawFrame[] = [];
  const splitter = new FrameSplitter(16_777_216, (bytes, start, end) => {
    const found = {
      type: bytes[start]!,
      id: bytes.readUInt32BE(start + 1),
      content: Buffer.from(bytes.subarray(start + 5, end)),
    };
    frames.push(found);
    onFrame(found);
  });
  connection.onData = bytes => void splitter.push(bytes);
  return frames;
}
