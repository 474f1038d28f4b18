/**
 * What a protocol gives the fuzzer: a server to attack, samples to start from, one way to send a case, and a client as
 * it should be that must not notice. `overTcp` and `overUdp` send cases to most servers.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Random } from '../src/core/random.ts';

export interface Sample {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What became of a case: bytes came back, the connection was closed on us, or neither in time. */
export type Fate = 'answered' | 'closed' | 'silent';

/** Where the server listens, by name: ports, paths. Plain data, for it comes from another process. */
export type Doors = Readonly<Record<string, number | string>>;

export interface WellBehaved {
  /** One exchange. Rejects when the answer is not what it should be; the runner adds the deadline. */
  ask(): Promise<void>;
  close(): Promise<void> | void;
}

export interface FuzzProtocol {
  /** Starts the server under attack. Called in a process of its own, whose life and memory are watched. */
  serve(): Promise<Doors>;
  /** Whole conversations, well-formed and malformed; sent as they are once, and mutated from then on. */
  readonly samples: readonly Sample[];
  /** Mends a mutant where it would be turned away at once (a length, a checksum), so that some get further. Called for every other case. */
  mend?(bytes: Uint8Array): Uint8Array;
  /** Where garbage has a size that V8 does not see, and is collected late. Default 96 MiB; what is live may not grow in any case. */
  readonly rssGrownBytesMax?: number;
  /** Sends one case. Ends within about a second, whatever the server does. */
  attack(doors: Doors, bytes: Uint8Array, random: Random): Promise<Fate>;
  openClient(doors: Doors): Promise<WellBehaved>;
}

/**
 * Connects, writes the case in up to four pieces, and waits for an answer. A fifth of the clients reset their connection at once, a fifth
 * end their side, which makes the server answer what it has.
 */
export function overTcp(port: number, bytes: Uint8Array, random: Random, patienceMs = 60): Promise<Fate> {
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    let fate: Fate = 'silent';
    let timer: NodeJS.Timeout | undefined;
    const manner = random.below(5);
    const wait = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), patienceMs);
    };
    wait();
    socket.on('connect', () => {
      const cuts = Array.from({ length: random.below(4) }, () => random.below(bytes.length + 1)).sort((a, b) => a - b);
      const pieces = [0, ...cuts].map((from, index) => bytes.subarray(from, cuts[index] ?? bytes.length));
      const next = (): void => {
        const sent = pieces.shift();
        if (socket.destroyed) return;
        if (sent) socket.write(sent, () => setImmediate(next));
        else if (manner === 0) socket.resetAndDestroy();
        else if (manner === 1) socket.end();
        wait();
      };
      next();
    });
    socket.on('data', () => {
      fate = 'answered';
      clearTimeout(timer);
      timer = setTimeout(() => socket.destroy(), 5);
    });
    socket.on('end', () => {
      if (fate === 'silent') fate = 'closed';
    });
    socket.on('error', () => {
      if (fate === 'silent') fate = 'closed';
    });
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(fate);
    });
  });
}

/** Sends one datagram. */
export function overUdp(port: number, bytes: Uint8Array, patienceMs = 20): Promise<Fate> {
  return new Promise(resolve => {
    const socket = createSocket('udp4');
    const end = (fate: Fate): void => {
      clearTimeout(timer);
      socket.close();
      resolve(fate);
    };
    const timer = setTimeout(() => end('silent'), patienceMs);
    socket.once('message', () => end('answered'));
    socket.once('error', () => end('closed'));
    socket.send(bytes, port, '127.0.0.1');
  });
}
