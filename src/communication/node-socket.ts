/** A Connection over a socket of Node: what tcp and unix share. */
import type { Server, Socket } from 'node:net';
import { TandemError } from '../core/errors.ts';
import type { Connection, Listener } from './transport.ts';

const ignore = (): void => {};

export class NodeSocket implements Connection {
  readonly peer: string;
  onData: (bytes: Uint8Array) => void = ignore;
  onDrain: () => void = ignore;
  onClose: (error?: Error) => void = ignore;
  readonly #socket: Socket;
  #error: Error | undefined;
  /** Bytes came: it was more than an attempt. */
  #heard = false;

  /** @param explain What an end is told as, where the socket's own error says too little. */
  constructor(socket: Socket, peer: string, explain?: (error: Error | undefined) => Error | undefined) {
    this.peer = peer;
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', bytes => {
      this.#heard = true;
      this.onData(bytes as Buffer);
    });
    socket.on('drain', () => this.onDrain());
    socket.on('error', error => {
      this.#error = error;
    });
    socket.on('close', () => this.onClose(explain && !this.#heard ? explain(this.#error) : this.#error));
  }

  write(bytes: Uint8Array): boolean {
    if (this.#socket.destroyed || this.#socket.writableEnded) return true;
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    // Not destroyed after the last write: with unread bytes in our buffer the kernel would send a reset, and the other
    // end could lose what was just written. It answers our end with its own; a peer that hangs is for the keep-alive.
    this.#socket.end();
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Resolves when `server` listens. @throws CONFIG with the reason when it cannot. */
export function listening(server: Server, address: string, start: () => void, actual: () => string): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: Error): void =>
      reject(new TandemError('CONFIG', `cannot listen on ${address}: ${cause.message}`, { cause }));
    server.once('error', refuse);
    server.once('listening', () => {
      server.off('error', refuse);
      // Such as EMFILE while accepting: the connection is lost, the listener is not.
      server.on('error', ignore);
      resolve({
        address: actual(),
        close: () => new Promise<void>(done => void server.close(() => done()).unref()),
      });
    });
    start();
  });
}
