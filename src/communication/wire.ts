/**
 * Frames over one connection, the same for both ends: gathers outgoing frames and writes them once per turn, cuts the
 * incoming bytes, answers pings, and notices a silent peer. Which call a frame belongs to is not known here.
 * When it writes: at the end of a 'data' event (answers that were ready at once), at the end of the turn otherwise (one
 * write for all that the turn did), and early at a few KiB, so that both ends work at the same time.
 */
import { type Clock, every, type Timer } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import { Reader } from './decode.ts';
import { encode } from './encode.ts';
import { frameHeadBytes, frameType, helloBytesMax } from './frame.ts';
import { FrameSplitter } from './frame-splitter.ts';
import { Slab } from './slab.ts';
import type { Connection } from './transport.ts';

const earlyFlushBytes = 4096;
/** Above this much unwritten, reading stops until the peer takes its answers: it cannot ask faster than it listens. */
const stopReadingBytes = 4_194_304;
/** Between looks at whether the peer has said anything; a silent one gets a ping and one more interval to answer. */
const keepAliveIntervalMs = 10_000;

export interface WireEvents {
  frame(type: number, id: number, reader: Reader): void;
  /** Once. No frame comes after it. */
  end(error: Error | undefined): void;
}

export class Wire {
  readonly slab: Slab;
  readonly peer: string;
  /** Bytes of frames handed to the connection so far; see `mark`. */
  writtenBytes = 0;
  isEnded = false;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #events: WireEvents;
  readonly #splitter: FrameSplitter;
  readonly #keepAlive: Timer;
  readonly #reader = new Reader(Buffer.alloc(0), 0, 0);
  #reading = false;
  #scheduled = false;
  #blocked = false;
  #paused = false;
  #heard = true;
  #pinged = false;
  #waiting: (() => void)[] = [];
  readonly #flushTask = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(connection: Connection, clock: Clock, events: WireEvents) {
    this.#connection = connection;
    this.#clock = clock;
    this.#events = events;
    this.peer = connection.peer;
    this.slab = new Slab(limits.frameBytesMax);
    this.#splitter = new FrameSplitter(helloBytesMax, (bytes, start, end) => this.#frame(bytes, start, end));
    connection.onData = bytes => this.#data(bytes);
    connection.onDrain = () => this.#drain();
    connection.onClose = error => this.#end(error);
    this.#keepAlive = every(clock, keepAliveIntervalMs, () => this.#checkPeer());
  }

  /** The hello was fine: frames of full size may come. */
  admit(): void {
    this.#splitter.frameBytesMax = limits.frameBytesMax;
  }

  /** Where the next frame begins in the stream of all bytes; it was written when `writtenBytes` has passed this. */
  get mark(): number {
    return this.writtenBytes + this.slab.length;
  }

  get queuedBytes(): number {
    return this.slab.length;
  }

  /** Opens a frame in the slab: fill it, then `commit`, or `slab.rollback()` when that fails. */
  begin(type: number, id: number): void {
    const { slab } = this;
    slab.begin();
    slab.reserve(frameHeadBytes);
    const { bytes } = slab;
    const { at } = slab;
    bytes[at] = type;
    bytes[at + 1] = id >>> 24;
    bytes[at + 2] = id >>> 16;
    bytes[at + 3] = id >>> 8;
    bytes[at + 4] = id;
    slab.at = at + frameHeadBytes;
  }

  /** Completes the frame; gives its size. It leaves soon. */
  commit(): number {
    const bytes = this.slab.commit();
    if (this.#reading || this.#blocked) {
      if (!this.#blocked && this.slab.length >= earlyFlushBytes) this.flush();
    } else if (this.slab.length >= earlyFlushBytes) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      this.#clock.defer(this.#flushTask);
    }
    return bytes;
  }

  /** A frame of one value. @throws INVALID or TOO_LARGE, and then nothing is sent. */
  send(type: number, id: number, value: unknown): number {
    this.begin(type, id);
    try {
      encode(this.slab, value);
      return this.commit();
    } catch (error) {
      this.slab.rollback();
      throw error;
    }
  }

  /** A frame without content. */
  signal(type: number, id: number): void {
    if (this.isEnded) return;
    this.begin(type, id);
    this.commit();
  }

  /** A frame of one 32-bit number. */
  sendNumber(type: number, id: number, value: number): void {
    if (this.isEnded) return;
    this.begin(type, id);
    this.slab.reserve(4);
    this.slab.at = this.slab.bytes.writeUInt32BE(value, this.slab.at);
    this.commit();
  }

  flush(): void {
    if (this.#blocked || this.isEnded || this.slab.length === 0) return;
    for (const part of this.slab.take()) {
      this.writtenBytes += part.length;
      if (!this.#connection.write(part)) this.#blocked = true;
    }
  }

  /** What to wait for before sending more of a stream, or undefined when there is room. */
  room(): Promise<void> | undefined {
    if (!this.#blocked || this.isEnded) return undefined;
    return new Promise(resolve => this.#waiting.push(resolve));
  }

  /** Writes what is gathered, then ends the connection. */
  finish(): void {
    this.#blocked = false;
    this.flush();
    this.#connection.end();
  }

  /** The peer broke the protocol, or is not wanted: ends the connection now. */
  destroy(reason?: Error): void {
    this.#connection.destroy();
    this.#end(reason);
  }

  #data(bytes: Uint8Array): void {
    if (this.isEnded) return;
    this.#heard = true;
    this.#reading = true;
    const valid = this.#splitter.push(bytes);
    this.#reading = false;
    if (!valid) {
      this.destroy(new Error(`${this.peer} does not speak this protocol`));
      return;
    }
    this.flush();
    if (this.#blocked && this.slab.length > stopReadingBytes && !this.#paused) {
      this.#paused = true;
      this.#connection.pause();
    }
  }

  #frame(bytes: Buffer, start: number, end: number): void {
    const type = bytes[start]!;
    const id = bytes.readUInt32BE(start + 1);
    if (type === frameType.ping) {
      this.signal(frameType.pong, id);
      return;
    }
    if (type === frameType.pong) return;
    const reader = this.#reader;
    reader.reset(bytes, start + frameHeadBytes, end);
    try {
      this.#events.frame(type, id, reader);
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #drain(): void {
    this.#blocked = false;
    this.flush();
    if (this.#blocked) return;
    if (this.#paused) {
      this.#paused = false;
      this.#connection.resume();
    }
    this.#wakeAll();
  }

  #wakeAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  #checkPeer(): void {
    // While we do not read, silence is ours.
    if (this.#heard || this.#paused) {
      this.#heard = false;
      this.#pinged = false;
    } else if (this.#pinged) {
      this.destroy(new Error(`${this.peer} has been silent for ${2 * keepAliveIntervalMs} ms`));
    } else {
      this.#pinged = true;
      this.signal(frameType.ping, 0);
    }
  }

  #end(error: Error | undefined): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#splitter.stop();
    this.#keepAlive.cancel();
    this.#wakeAll();
    this.#events.end(error);
  }
}
