/**
 * Cuts the bytes that come into frames. A frame that lies whole in a chunk is not copied. The memory held grows with the
 * bytes that came, not with what a length field claims.
 */
import { frameHeadBytes } from './frame.ts';

export class FrameSplitter {
  /** Longest frame taken, without its length field. */
  frameBytesMax: number;
  readonly #onFrame: (bytes: Buffer, start: number, end: number) => void;
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;
  #stopped = false;

  constructor(frameBytesMax: number, onFrame: (bytes: Buffer, start: number, end: number) => void) {
    this.frameBytesMax = frameBytesMax;
    this.#onFrame = onFrame;
  }

  /** Gives no frame any more, not even those of the chunk in hand. */
  stop(): void {
    this.#stopped = true;
    this.#held = Buffer.alloc(0);
    this.#heldBytes = 0;
  }

  /** False when the bytes are no frames: the connection must end. */
  push(chunk: Uint8Array): boolean {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    if (this.#heldBytes > 0) {
      at = this.#complete(bytes);
      if (at < 0) return false;
      if (this.#heldBytes > 0) return true;
    }
    while (!this.#stopped && bytes.length - at >= 4) {
      const length = bytes.readUInt32BE(at);
      if (!this.#isTaken(length)) return false;
      const end = at + 4 + length;
      if (end > bytes.length) break;
      this.#onFrame(bytes, at + 4, end);
      at = end;
    }
    if (!this.#stopped && at < bytes.length) this.#hold(bytes.subarray(at));
    return true;
  }

  #isTaken(length: number): boolean {
    return length >= frameHeadBytes && length <= this.frameBytesMax;
  }

  /** Adds to the frame in hand what it lacks. Returns how many bytes that took, or -1. */
  #complete(bytes: Buffer): number {
    let at = 0;
    if (this.#heldBytes < 4) {
      at = Math.min(4 - this.#heldBytes, bytes.length);
      this.#hold(bytes.subarray(0, at));
      if (this.#heldBytes < 4) return at;
    }
    const length = this.#held.readUInt32BE(0);
    if (!this.#isTaken(length)) return -1;
    const rest = Math.min(4 + length - this.#heldBytes, bytes.length - at);
    this.#hold(bytes.subarray(at, at + rest));
    if (this.#heldBytes === 4 + length) {
      const frame = this.#held;
      this.#heldBytes = 0;
      this.#held = Buffer.alloc(0);
      this.#onFrame(frame, 4, 4 + length);
    }
    return at + rest;
  }

  #hold(bytes: Buffer): void {
    const wanted = this.#heldBytes + bytes.length;
    if (wanted > this.#held.length) {
      const grown = Buffer.allocUnsafe(Math.max(256, wanted, this.#held.length * 2));
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    bytes.copy(this.#held, this.#heldBytes);
    this.#heldBytes = wanted;
  }
}
