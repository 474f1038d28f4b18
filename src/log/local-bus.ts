/** The bus of one process: delivers at once, remembers nothing. */
import type { Bus } from './engine.ts';

type Receive = (subject: string, body: Uint8Array) => void;

export class LocalBus implements Bus {
  readonly connected = true;
  readonly #exact = new Map<string, Set<Receive>>();
  readonly #below = new Map<string, Set<Receive>>();

  publish(subject: string, body: Uint8Array): void {
    for (const receive of this.#exact.get(subject) ?? []) receive(subject, body);
    for (const [prefix, receivers] of this.#below) {
      if (subject.startsWith(prefix)) for (const receive of receivers) receive(subject, body);
    }
  }

  subscribe(subject: string, receive: Receive): () => void {
    const below = subject.endsWith('.>');
    const map = below ? this.#below : this.#exact;
    const key = below ? subject.slice(0, -1) : subject;
    const receivers = map.get(key) ?? new Set();
    map.set(key, receivers.add(receive));
    return () => {
      receivers.delete(receive);
      if (receivers.size === 0) map.delete(key);
    };
  }

  onConnection(): () => void {
    return () => {};
  }
}
