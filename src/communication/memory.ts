/**
 * Connections inside one process, without I/O: for `tandem dev`, for tests, and under a virtual clock. Bytes arrive in a
 * later microtask, never inside `write`, so code meets the same order of events as with a socket. Those who share one
 * transport object reach each other; another object is another world.
 */
import { TandemError } from '../core/errors.ts';
import { type Connection, refusal, type Transport } from './transport.ts';

/** Bytes that may lie undelivered before `write` says false, as a socket's buffers would. */
const highWaterBytes = 1_048_576;
const ignore = (): void => {};

export function memoryTransport(): Transport {
  const listeners = new Map<string, (connection: Connection) => void>();
  let names = 0;
  return {
    scheme: 'memory',
    async listen(address, accept) {
      const name = parse(address) || `anonymous-${++names}`;
      if (listeners.has(name)) throw new TandemError('CONFIG', `cannot listen on ${address}: the name is taken`);
      listeners.set(name, accept);
      return {
        address: `memory://${name}`,
        close: async () => {
          listeners.delete(name);
        },
      };
    },
    connect(address) {
      const near = new MemoryEnd(address);
      const name = parse(address);
      queueMicrotask(() => {
        const accept = listeners.get(name);
        if (!accept) return near.finish(refusal(address));
        if (near.isEnded) return;
        const far = new MemoryEnd('memory://caller');
        near.join(far);
        far.join(near);
        accept(far);
      });
      return near;
    },
  };
}

function parse(address: string): string {
  if (!address.startsWith('memory://'))
    throw new TandemError('CONFIG', `'${address}' is not a memory address; write memory://name`);
  return address.slice('memory://'.length);
}

class MemoryEnd implements Connection {
  readonly peer: string;
  onData: (bytes: Uint8Array) => void = ignore;
  onDrain: () => void = ignore;
  onClose: (error?: Error) => void = ignore;
  isEnded = false;
  #other: MemoryEnd | undefined;
  /** Written by us, not yet taken by the other end. */
  #sent: Uint8Array[] = [];
  #sentBytes = 0;
  #scheduled = false;
  #paused = false;
  #wantsDrain = false;
  #ending = false;

  constructor(peer: string) {
    this.peer = peer;
  }

  join(other: MemoryEnd): void {
    this.#other = other;
    this.#schedule();
  }

  write(bytes: Uint8Array): boolean {
    if (this.isEnded || this.#ending) return true;
    this.#sent.push(bytes);
    this.#sentBytes += bytes.length;
    this.#schedule();
    if (this.#sentBytes < highWaterBytes) return true;
    this.#wantsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    const other = this.#other;
    if (other) other.#schedule();
  }

  end(): void {
    this.#ending = true;
    this.#schedule();
  }

  destroy(): void {
    const other = this.#other;
    this.finish();
    other?.finish();
  }

  finish(error?: Error): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#sent = [];
    queueMicrotask(() => this.onClose(error));
  }

  #schedule(): void {
    if (this.#scheduled || !this.#other) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const other = this.#other;
    if (!other || this.isEnded || other.isEnded) return;
    while (this.#sent.length > 0 && !other.#paused && !other.isEnded) {
      const batch = this.#sent;
      this.#sent = [];
      this.#sentBytes = 0;
      for (let i = 0; i < batch.length; i++) {
        if (other.#paused) {
          this.#sent = [...batch.slice(i), ...this.#sent];
          this.#sentBytes = this.#sent.reduce((sum, bytes) => sum + bytes.length, 0);
          break;
        }
        other.onData(batch[i]!);
        if (other.isEnded) return;
      }
    }
    if (this.#sent.length > 0) return;
    if (this.#ending) {
      this.destroy();
    } else if (this.#wantsDrain) {
      this.#wantsDrain = false;
      this.onDrain();
    }
  }
}
