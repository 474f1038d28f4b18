/**
 * Where frames are encoded: one after another into a block of memory, so that a turn's frames leave in one write and no
 * frame is ever copied into a buffer of its own. A block that was handed over is never written again below its mark.
 * Pitfall: `reserve` may swap `bytes`; read the field again after each call.
 */
import { TandemError } from '../core/errors.ts';

const headerBytes = 4;
/** From one block to the next, until blocks have their full size. */
const blockGrowth = 8;

export class Slab {
  bytes: Buffer;
  /** Where the next byte goes. */
  at = 0;
  readonly #slabBytes: number;
  readonly #frameBytesMax: number;
  /** Start of what is complete but not taken yet. */
  #takenAt = 0;
  #frameAt = 0;
  /** Complete parts of former blocks, not taken yet. */
  #full: Buffer[] = [];
  #fullBytes = 0;

  constructor(frameBytesMax: number, slabBytes = 65_536) {
    this.#frameBytesMax = frameBytesMax;
    this.#slabBytes = slabBytes;
    // Enough for a hello: who says little costs little.
    this.bytes = Buffer.allocUnsafeSlow(Math.min(slabBytes, 64));
  }

  /** Bytes of complete frames that nobody took yet (while a frame is open: its bytes too). */
  get length(): number {
    return this.#fullBytes + this.at - this.#takenAt;
  }

  /** Starts a frame. */
  begin(): void {
    this.#frameAt = this.at;
    this.reserve(headerBytes);
    this.at += headerBytes;
  }

  /** Completes the frame by writing its length in front, and gives that length. @throws TOO_LARGE, with the frame still open. */
  commit(): number {
    const length = this.at - this.#frameAt - headerBytes;
    if (length > this.#frameBytesMax) throw this.#tooLarge(length);
    this.bytes.writeUInt32BE(length, this.#frameAt);
    this.#frameAt = this.at;
    return length;
  }

  /** Forgets the open frame. */
  rollback(): void {
    this.at = this.#frameAt;
  }

  /** Makes room for `count` bytes at `at`. @throws TOO_LARGE when the open frame would pass the limit. */
  reserve(count: number): void {
    if (this.at + count > this.bytes.length) this.#grow(count);
  }

  #grow(count: number): void {
    const frameBytes = this.at - this.#frameAt;
    const wanted = frameBytes + count;
    if (wanted > this.#frameBytesMax + headerBytes) {
      throw this.#tooLarge(wanted);
    }
    if (this.#frameAt > this.#takenAt) {
      this.#full.push(this.bytes.subarray(this.#takenAt, this.#frameAt));
      this.#fullBytes += this.#frameAt - this.#takenAt;
    }
    const block = Math.min(this.#slabBytes, this.bytes.length * blockGrowth);
    const next = Buffer.allocUnsafeSlow(Math.max(block, frameBytes === 0 ? count : wanted * 2));
    this.bytes.copy(next, 0, this.#frameAt, this.at);
    this.bytes = next;
    this.#takenAt = 0;
    this.#frameAt = 0;
    this.at = frameBytes;
  }

  #tooLarge(bytes: number): TandemError {
    return new TandemError('TOO_LARGE', `a frame of ${bytes} bytes is over the limit of ${this.#frameBytesMax}`, {
      details: { limitBytes: this.#frameBytesMax },
    });
  }

  /** Hands over all complete frames, in order. */
  take(): Buffer[] {
    const parts = this.#full;
    if (this.at > this.#takenAt) parts.push(this.bytes.subarray(this.#takenAt, this.at));
    this.#takenAt = this.at;
    this.#frameAt = this.at;
    this.#full = [];
    this.#fullBytes = 0;
    return parts;
  }
}
