/**
 * What one turn of the event loop has to write to many sockets is written at its end: whoever reads them is woken once and finds
 * several, instead of being woken for each (on another core that costs more than the write itself).
 */
import type { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';

export class WriteBatch {
  readonly #clock: Clock;
  readonly #flush = (): void => this.flush();
  #sockets: Socket[] = [];
  #texts: string[] = [];
  #armed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param text As latin1. */
  add(socket: Socket, text: string): void {
    this.#sockets.push(socket);
    this.#texts.push(text);
    if (this.#armed) return;
    this.#armed = true;
    this.#clock.defer(this.#flush);
  }

  /** To be called before anything else is written to one of the sockets. */
  flush(): void {
    this.#armed = false;
    const sockets = this.#sockets;
    if (sockets.length === 0) return;
    const texts = this.#texts;
    this.#sockets = [];
    this.#texts = [];
    for (let i = 0; i < sockets.length; i++) {
      const socket = sockets[i]!;
      if (!socket.destroyed) socket.write(texts[i]!, 'latin1');
    }
  }
}
