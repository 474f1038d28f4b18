/**
 * The data core as a cluster: real keyspaces on memory stores, one virtual clock, an engine of the caller's choice, and
 * in place of registry and link something small that can be cut. A node's rows survive a kill, as LMDB's do; a new life
 * of a slot begins with them. Calls travel as a client's would: to any node, forwarded once to where they belong.
 */
import { Session } from '../calling/session.ts';
import type { Tables } from '../contract/table.ts';
import type { Incoming, Reply, SendOptions } from '../core/channel.ts';
import { type Clock, every, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import type { SessionForm } from '../core/meta.ts';
import { silentMeter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { Relay } from '../events/relay.ts';
import { type Beat, entryFormatRead, type Member } from '../failure-detection/beat.ts';
import type { Engine } from '../log/engine.ts';
import type { Registry } from '../naming/registry.ts';
import { memoryStores } from '../replication/memory-store.ts';
import type { ReplicaStore } from '../replication/store.ts';
import type { Keyspace, Scope, ScopeOptions, StateSettings } from '../state/keyspace.ts';
import { openKeyspace } from '../state/open-keyspace.ts';
import type { ReplicaState } from './convergence.ts';
import type { ProcessClock, VirtualClock } from './virtual-clock.ts';

export interface DataClusterOptions {
  readonly clock: VirtualClock;
  readonly random: Random;
  /** The engine as a process with this clock sees it. */
  readonly connect: (clock: ProcessClock, name: string) => Engine;
  readonly tables: Tables;
  readonly partitions: number;
  readonly replicas: number;
  readonly settings?: Partial<StateSettings>;
  /** What a slot's beats say that it reads, as an older version would. */
  readonly entryFormat?: (slot: string) => number;
  /** Writers relay what was emitted to its topics, and what is relayed may be sealed or trimmed. */
  readonly relay?: boolean;
  /** Gets between a node and its rows. */
  readonly store?: (store: ReplicaStore, clock: ProcessClock) => ReplicaStore;
}

export interface DataNode {
  readonly slot: string;
  readonly id: string;
  readonly clock: ProcessClock;
  readonly engine: Engine;
  readonly keyspace: Keyspace;
  readonly stores: ReadonlyMap<number, ReplicaStore>;
  /** SIGKILL. */
  kill(): void;
  /** Drains and closes, as a stop does. */
  stop(): Promise<void>;
}

export type DataCall<R> = (scope: Scope) => Promise<R>;
export interface CallOptions extends Omit<ScopeOptions, 'partition' | 'session'> {
  readonly key: string;
  readonly reads?: boolean;
  readonly session?: SessionForm | undefined;
}

export interface DataCluster {
  readonly nodes: ReadonlyMap<string, DataNode>;
  start(slot: string): Promise<DataNode>;
  /** Runs `work` where the call belongs, reached through the node `via`. */
  call<R>(
    via: DataNode,
    options: CallOptions,
    work: DataCall<R>,
  ): Promise<{ value: R; session: SessionForm | undefined }>;
  /** Nothing passes between two slots (calls, beats) until healed. */
  cut(a: string, b: string): void;
  /** A connection from one slot to the other is refused, though the process there lives: what stands between them lies. */
  accuse(observer: string, accused: string): void;
  heal(): void;
  states(): ReplicaState[];
}

const beatMs = 100;
const deadMs = 600;
const service = 'data';

interface Living extends DataNode {
  alive: boolean;
  draining: boolean;
  readonly heard: Map<string, { beat: Beat; at: number; ahead: number }>;
  /** Links that it keeps, by id of the process. */
  readonly watched: Set<string>;
  /** Ids of processes whose machine refused a link, until they are heard again: those beat in spite of it, and are believed from then on. */
  readonly refused: Set<string>;
  readonly outlived: Set<string>;
  readonly listeners: Set<() => void>;
}

export function dataCluster(options: DataClusterOptions): DataCluster {
  const { clock, random, tables, partitions, replicas } = options;
  const nodes = new Map<string, Living>();
  const disks = new Map<string, ReturnType<typeof memoryStores>>();
  const cuts = new Set<string>();
  const isCut = (a: string, b: string): boolean => cuts.has(`${a} ${b}`) || cuts.has(`${b} ${a}`);
  let lives = 0;

  /** There, the work, and back; what is cut or dead is not answered. */
  const travel = async <R>(
    from: { slot: string; clock: Clock },
    id: string,
    deadline: number,
    work: (to: Living) => Promise<R>,
  ): Promise<R> => {
    await sleep(from.clock, random.next() * 2);
    const to = [...nodes.values()].find(node => node.id === id);
    if (!to?.alive) throw new TandemError('UNAVAILABLE', `${id} is not there`);
    const answer = Promise.withResolvers<R>();
    const timer = from.clock.after(Math.max(0, deadline - from.clock.monotonic()), () =>
      answer.reject(new TandemError('DEADLINE_EXCEEDED', 'no answer in time')),
    );
    const back = (settle: () => void): void => {
      if (!to.alive || isCut(from.slot, to.slot)) {
        from.clock.after(20, () => answer.reject(new TandemError('INTERRUPTED', 'the connection broke')));
      } else from.clock.after(random.next() * 2, settle);
    };
    if (isCut(from.slot, to.slot)) back(() => {});
    else {
      to.clock.defer(() => {
        work(to).then(
          value => back(() => answer.resolve(value)),
          error => back(() => answer.reject(error)),
        );
      });
      const watching = every(from.clock, 50, () => {
        if (!to.alive) answer.reject(new TandemError('INTERRUPTED', 'the process ended'));
      });
      answer.promise.then(watching.cancel, watching.cancel);
    }
    try {
      return await answer.promise;
    } finally {
      timer.cancel();
    }
  };

  const start = async (slot: string): Promise<DataNode> => {
    const own = clock.process();
    const id = `${slot}-${(++lives).toString(36)}`;
    const engine = options.connect(own, id);
    const disk = disks.get(slot) ?? memoryStores();
    disks.set(slot, disk);
    const stores = new Map<number, ReplicaStore>();
    const heard: Living['heard'] = new Map();
    const listeners: Living['listeners'] = new Set();
    const members = (): Member[] =>
      [...heard.values()].map(({ beat, at, ahead }) => ({
        beat,
        since: at,
        clockAheadMs: ahead,
        verdict: own.monotonic() - at > deadMs || node.refused.has(beat.id) ? ('dead' as const) : ('alive' as const),
      }));
    const unasked = (): never => {
      throw new Error('not part of this cluster');
    };
    const registry: Registry = {
      members,
      instances: () => members().filter(({ verdict }) => verdict !== 'dead'),
      member: wanted => members().find(({ beat }) => beat.id === wanted),
      descriptor: () => undefined,
      descriptors: () => [],
      descriptorOf: () => undefined,
      learning: () => false,
      conflicts: () => [],
      services: () => [service],
      version: 0,
      onChange: listener => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      until: unasked,
      reportBroken: () => {},
      reportRefused: () => {},
    };
    const caller = {
      send: (member: Member, method: string, body: unknown, send: SendOptions): Promise<Reply> =>
        travel(
          { slot, clock: own },
          member.beat.id,
          send.deadline,
          async to => to.keyspace.answer(incoming(method, body, send)) as Promise<Reply>,
        ),
      watch: ({ beat: { id } }: Member): void => {
        node.watched.add(id);
        if (![...nodes.values()].some(other => other.id === id && other.alive)) refuse(node, id);
      },
    };
    const node: { -readonly [K in keyof Living]: Living[K] } = {
      slot,
      id,
      clock: own,
      engine,
      stores,
      heard,
      watched: new Set(),
      refused: new Set(),
      outlived: new Set(),
      listeners,
      alive: true,
      draining: false,
      keyspace: undefined as unknown as Keyspace,
      kill: () => {
        node.alive = false;
        own.kill();
        for (const other of nodes.values()) if (other.alive && other.watched.has(id)) refuse(other, id);
      },
      stop: async () => {
        node.draining = true;
        await node.keyspace.drain(own.monotonic() + 3000);
        await node.keyspace.close();
        node.alive = false;
        own.kill();
      },
    };
    node.keyspace = await openKeyspace({
      service,
      instance: id,
      tables,
      partitions,
      replicas,
      engine,
      registry,
      caller,
      openStore: async partition => {
        const opened = await disk.open(partition);
        const store = options.store?.(opened, own) ?? opened;
        stores.set(partition, store);
        return store;
      },
      clock: own,
      random,
      logger: silentLogger,
      meter: silentMeter,
      settings: { placementGraceMs: 3000, resignGraceMs: 500, unheardGraceMs: 500, ...options.settings },
    });
    if (options.relay) relayEvents(node, random);
    nodes.set(slot, node);
    every(own, beatMs, () => beat(node));
    beat(node);
    return node;
  };

  /** Its link to the process broke, and was refused when it was made anew. */
  const refuse = (observer: Living, id: string): void => {
    const slotOfId = id.slice(0, id.lastIndexOf('-'));
    if (isCut(observer.slot, slotOfId) || observer.outlived.has(id) || observer.refused.has(id)) return;
    observer.clock.after(1, () => {
      observer.refused.add(id);
      for (const listener of observer.listeners) listener();
    });
  };

  const beat = (from: Living): void => {
    const said = { id: from.id, role: 'instance', service, ready: true, draining: from.draining, zone: '' } as Beat;
    const entryFormat = options.entryFormat?.(from.slot) ?? entryFormatRead;
    const now = { ...said, entryFormat, partitions: from.keyspace.beats(), sentAt: from.clock.now(), address: from.id };
    for (const to of nodes.values()) {
      if (!to.alive || (to !== from && isCut(from.slot, to.slot))) continue;
      to.clock.after(random.next() * 3, () => {
        if (to.refused.delete(from.id)) to.outlived.add(from.id);
        to.heard.set(from.id, { beat: now, at: to.clock.monotonic(), ahead: now.sentAt - to.clock.now() });
        for (const listener of to.listeners) listener();
      });
    }
  };

  const run = async <R>(
    node: Living,
    call: CallOptions,
    work: DataCall<R>,
    hops: number,
  ): Promise<{ value: R; session: SessionForm | undefined }> => {
    const { key, reads = false, session: past, ...rest } = call;
    const partition = node.keyspace.partitionOf(key);
    const route = node.keyspace.route(partition, reads);
    if (!route.here) {
      if (hops > 0) throw new TandemError('MOVED', 'served elsewhere');
      return travel(node, route.member.beat.id, call.deadline, to => run(to, call, work, hops + 1));
    }
    const session = Session.fromForm(past);
    const value = await work(node.keyspace.scope({ ...rest, key, partition, session }));
    return { value, session: session.toForm() };
  };

  return {
    nodes,
    start,
    call: (via, call, work) => travel({ slot: 'client', clock }, via.id, call.deadline, to => run(to, call, work, 0)),
    cut: (a, b) => void cuts.add(`${a} ${b}`),
    accuse: (observer, accused) => {
      const [a, b] = [nodes.get(observer), nodes.get(accused)];
      if (a?.alive && b) refuse(a, b.id);
    },
    heal: () => cuts.clear(),
    states: () =>
      [...nodes.values()].flatMap(node =>
        node.alive
          ? node.keyspace.held().flatMap(partition => {
              const { position, digest, of } = node.stores.get(partition)!.head;
              return of === undefined ? [{ partition, replica: node.id, position, digest }] : [];
            })
          : [],
      ),
  };
}

/** The half of the events that belongs to the data: from the state logs to the topics. */
function relayEvents({ keyspace, engine, clock }: DataNode, random: Random): void {
  const relays = new Map<number, Relay>();
  const stored = (partition: number): number =>
    (keyspace.system(partition).get('$relay', 'position') as number | undefined) ?? 0;
  keyspace.onWriting((partition, writing) => {
    if (!writing) {
      void relays.get(partition)?.close();
      relays.delete(partition);
      return;
    }
    const relay = new Relay({
      source: position => keyspace.logOf(partition, position),
      engine,
      emitted: (from, signal) => keyspace.emitted(partition, from, signal),
      loadPosition: async () => stored(partition),
      savePosition: async position => {
        const deadline = clock.monotonic() + 1000;
        if (!keyspace.isWriter(partition)) throw new TandemError('MOVED', 'written elsewhere');
        await keyspace
          .system(partition)
          .transact(undefined, tx => tx.put('$relay', 'position', position), { deadline });
      },
      onRelayed: position => keyspace.setTrimFloor(partition, position),
      onSent: position => keyspace.relayed(partition, position),
      clock,
      random,
      logger: silentLogger,
    });
    relays.set(partition, relay);
  });
}

function incoming(method: string, body: unknown, { deadline, signal, meta }: SendOptions): Incoming {
  return {
    method,
    body,
    meta,
    deadline,
    signal: signal ?? new AbortController().signal,
    priority: 'default',
    items: undefined,
    peer: 'simulated',
  };
}
