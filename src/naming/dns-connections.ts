/**
 * DNS over TCP (RFC 7766): messages behind a length of two bytes, as many questions on a connection as the client likes,
 * answered in order. What a client may cost is bounded: a connection lives `idleMs` from its last whole question, so one that dribbles or does not read its
 * answers goes too; beyond `connectionsMax` the one that is silent for longest goes (RFC 7766, 6.2.3); and who asks faster
 * than it reads, or faster than others get their turn, is not read from meanwhile.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '../core/clock.ts';
import { headerBytes } from './dns-query.ts';

export interface DnsConnectionsOptions {
  /** The reply to a message, or undefined when it deserves none: its connection is closed then. */
  readonly answer: (bytes: Uint8Array, from: string) => Uint8Array | undefined;
  readonly clock: Clock;
  readonly idleMs: number;
  readonly connectionsMax: number;
}

/** No question is larger: name, header and EDNS options with room to spare. */
const queryBytesMax = 4096;
/** Questions of one client that are answered before the others have their turn. */
const turnMax = 16;

export class DnsConnections {
  readonly #options: DnsConnectionsOptions;
  /** The one that is silent for longest first. */
  readonly #open = new Map<Connection, number>();
  #timer: Timer | undefined;

  constructor(options: DnsConnectionsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#open.size;
  }

  accept(socket: Socket): void {
    const { connectionsMax } = this.#options;
    if (this.#open.size >= connectionsMax) this.#open.keys().next().value?.destroy();
    const connection = new Connection(socket, this.#options, () => this.#moved(connection));
    socket.once('close', () => this.#open.delete(connection));
    this.#moved(connection);
    this.#timer ??= this.#watch(this.#options.idleMs);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const connection of this.#open.keys()) connection.destroy();
    this.#open.clear();
  }

  /** It asked something just now. */
  #moved(connection: Connection): void {
    this.#open.delete(connection);
    this.#open.set(connection, this.#options.clock.monotonic());
  }

  #watch(delayMs: number): Timer {
    const { clock, idleMs } = this.#options;
    return clock.after(delayMs, () => {
      this.#timer = undefined;
      const now = clock.monotonic();
      for (const [connection, sinceMs] of this.#open) {
        const leftMs = sinceMs + idleMs - now;
        if (leftMs > 0) {
          this.#timer = this.#watch(leftMs);
          return;
        }
        this.#open.delete(connection);
        connection.destroy();
      }
    });
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #options: DnsConnectionsOptions;
  readonly #onQuestion: () => void;
  readonly #from: string;
  /** What has come and is not yet a whole message, or waits for its turn. */
  #pending: Buffer = Buffer.alloc(0);
  #ended = false;
  #waits = false;

  constructor(socket: Socket, options: DnsConnectionsOptions, onQuestion: () => void) {
    this.#socket = socket;
    this.#options = options;
    this.#onQuestion = onQuestion;
    this.#from = socket.remoteAddress ?? '';
    socket.on('data', bytes => {
      this.#pending = this.#pending.length === 0 ? (bytes as Buffer) : Buffer.concat([this.#pending, bytes as Buffer]);
      this.#serve();
    });
    socket.on('drain', () => this.#resume());
    socket.on('end', () => {
      this.#ended = true;
      this.#serve();
    });
    // Such as a reset; 'close' follows.
    socket.on('error', () => {});
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #serve(): void {
    if (this.#waits) return;
    for (let answered = 0; this.#pending.length >= 2 && !this.#socket.destroyed; answered++) {
      const length = this.#pending.readUInt16BE(0);
      const isWhole = this.#pending.length >= 2 + length;
      if (!isWhole && length >= headerBytes && length <= queryBytesMax) break;
      if (answered >= turnMax || this.#socket.writableNeedDrain) {
        this.#pause();
        return;
      }
      const isTaken = isWhole && length <= queryBytesMax;
      const reply = isTaken && this.#options.answer(this.#pending.subarray(2, 2 + length), this.#from);
      if (!reply) {
        this.destroy();
        return;
      }
      this.#pending = this.#pending.subarray(2 + length);
      this.#onQuestion();
      const framed = Buffer.allocUnsafe(2 + reply.length);
      framed.writeUInt16BE(reply.length, 0);
      framed.set(reply, 2);
      // One write with its length (RFC 7766, 8).
      this.#socket.write(framed);
    }
    if (this.#ended) this.#socket.end();
  }

  /** Reads no more until the socket has sent what waits, or, if nothing does, until the others had their turn. */
  #pause(): void {
    this.#waits = true;
    this.#socket.pause();
    if (!this.#socket.writableNeedDrain) this.#options.clock.defer(() => this.#resume());
  }

  #resume(): void {
    if (!this.#waits || this.#socket.destroyed) return;
    this.#waits = false;
    this.#serve();
    if (!this.#waits) this.#socket.resume();
  }
}
