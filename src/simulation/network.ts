/**
 * A network between simulated processes, on a virtual clock and from a seed. It behaves as TCP does and not as a mail
 * box: within one connection bytes arrive in order or not at all; what goes wrong is delay, odd chunks, a connection that
 * breaks with bytes under way, a cut through which nothing passes until it heals or both ends give up, and a process that
 * dies. Each process has one `Host`; addresses are `sim://<host>` or `sim://<host>/<name>`.
 */
import assert from 'node:assert/strict';
import type { Connection, Transport } from '../communication/transport.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { type Ends, openPipes, type SimulatedConnection } from './pipe.ts';

export interface NetworkOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Each chunk takes a time between these two. Default: 0.05 and 1. */
  readonly delayMsMin?: number;
  readonly delayMsMax?: number;
  /** Chance that a chunk arrives ten to a hundred times later. Default: 0. */
  readonly slowChance?: number;
  /** Chance per chunk that its connection breaks, with everything under way. Default: 0. */
  readonly breakChance?: number;
  /** A connection that is cut ends with an error after this, as TCP's user timeout does; connecting through a cut too. Default: 5000. */
  readonly cutTimeoutMs?: number;
}

export interface Host {
  readonly name: string;
  /** Scheme `sim`. Serves until the crash. */
  readonly transport: Transport;
  /** The process is gone: nothing of it runs on. The others' ends close after a delay, or, when `silent` (power cut), only by timeout. */
  crash(options?: { readonly silent?: boolean }): void;
  /** The process is stopped: what comes waits. */
  pause(): void;
  resume(): void;
}

export interface Network {
  /** A process on the network; of a name whose process crashed, the next life. */
  host(name: string): Host;
  /**
   * Nothing passes between the two, in both directions or only from `a` to `b`, until healed. `'*'` stands for everyone else.
   * With `refuses` (as a firewall that rejects) connections between the two break, and new ones are refused at once.
   */
  cut(a: string, b: string, options?: { readonly oneWay?: boolean; readonly refuses?: boolean }): void;
  /** Ends one cut, or all. What waited goes on. */
  heal(a?: string, b?: string): void;
  /** Breaks the connections between the two now, with everything under way. */
  breakConnections(a: string, b: string): void;
  /** The chance of a broken connection from now on; 0 for a calm end of a test. */
  setBreakChance(chance: number): void;
  /** Connections that are open. */
  readonly connections: number;
}

interface Life extends Host {
  alive: boolean;
  readonly listeners: Map<string, (connection: Connection) => void>;
}

export function simulatedNetwork(options: NetworkOptions): Network {
  const { clock, random, delayMsMin = 0.05, delayMsMax = 1, slowChance = 0, cutTimeoutMs = 5000 } = options;
  let breakChance = options.breakChance ?? 0;
  const lives = new Map<string, Life>();
  const cuts = new Set<string>();
  const refusals = new Set<string>();
  const open = new Set<Ends>();
  const paused = new Set<string>();
  let names = 0;

  const covers = (pairs: ReadonlySet<string>, from: string, to: string): boolean =>
    pairs.has(`${from} ${to}`) || (from !== to && (pairs.has(`${from} *`) || pairs.has(`* ${to}`)));
  const isCut = (from: string, to: string): boolean => covers(cuts, from, to);
  const delayMs = (): number => {
    const base = delayMsMin + random.next() * (delayMsMax - delayMsMin);
    return slowChance > 0 && random.next() < slowChance ? base * (10 + random.below(90)) : base;
  };
  const kick = (): void => {
    for (const ends of [...open]) ends.kick();
  };
  const drop = (ends: Ends): void => void open.delete(ends);
  const breakConnections = (a: string, b: string): void => {
    for (const ends of [...open]) if (ends.between(a, b)) ends.break();
  };

  const connect = (life: Life, address: string): SimulatedConnection => {
    const { host: to, full } = parse(address);
    const ends = openPipes({
      clock,
      random,
      from: life.name,
      to,
      address: full,
      delayMs,
      breaks: () => breakChance > 0 && random.next() < breakChance,
      blocked: (a, b) => isCut(a, b),
      held: name => paused.has(name),
      cutTimeoutMs,
      accept: () => (covers(refusals, life.name, to) ? undefined : lives.get(to)?.listeners.get(full)),
      onEnd: drop,
    });
    open.add(ends);
    if (!life.alive) ends.lose(life.name, true);
    return ends.near;
  };

  const makeHost = (name: string): Life => {
    const listeners = new Map<string, (connection: Connection) => void>();
    const life: Life = {
      name,
      alive: true,
      listeners,
      transport: {
        scheme: 'sim',
        async listen(address, accept) {
          const parsed = parse(address === 'sim://' ? `sim://${name}` : address);
          assert.equal(parsed.host, name, `the process ${name} cannot listen on ${address}`);
          const full = parsed.full.endsWith('/0') ? `sim://${name}/${++names}` : parsed.full;
          if (listeners.has(full)) throw new TandemError('CONFIG', `cannot listen on ${full}: it is taken`);
          listeners.set(full, accept);
          return { address: full, close: async () => void listeners.delete(full) };
        },
        connect: address => connect(life, address),
      },
      crash: ({ silent = false } = {}) => {
        if (!life.alive) return;
        life.alive = false;
        listeners.clear();
        paused.delete(name);
        for (const ends of [...open]) ends.lose(name, silent);
      },
      pause: () => void paused.add(name),
      resume: () => {
        paused.delete(name);
        kick();
      },
    };
    return life;
  };

  return {
    host(name) {
      assert(!lives.get(name)?.alive, `the process ${name} lives already; crash it first`);
      const life = makeHost(name);
      lives.set(name, life);
      return life;
    },
    cut(a, b, { oneWay = false, refuses = false } = {}) {
      const pairs = refuses ? refusals : cuts;
      pairs.add(`${a} ${b}`);
      if (!oneWay) pairs.add(`${b} ${a}`);
      if (refuses) breakConnections(a, b);
      kick();
    },
    heal(a, b) {
      for (const pairs of [cuts, refusals]) {
        if (a === undefined || b === undefined) pairs.clear();
        else {
          pairs.delete(`${a} ${b}`);
          pairs.delete(`${b} ${a}`);
        }
      }
      kick();
    },
    breakConnections,
    setBreakChance(chance) {
      breakChance = chance;
    },
    get connections() {
      return open.size;
    },
  };
}

function parse(address: string): { host: string; full: string } {
  const match = /^sim:\/\/([^/]+)(\/[^/]*)?$/.exec(address);
  if (!match)
    throw new TandemError('CONFIG', `'${address}' is not a simulated address; write sim://host or sim://host/name`);
  return { host: match[1]!, full: address };
}
