/** A service of several instances in one process: real keyspaces and events over the engine model and a virtual clock. */

import * as z from 'zod';
import { Session } from '../calling/session.ts';
import { table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import type { Incoming } from '../core/channel.ts';
import { every, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { type Logger, silentLogger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import { type Random, seededRandom } from '../core/random.ts';
import type { Beat, Member } from '../failure-detection/beat.ts';
import type { Engine } from '../log/engine.ts';
import type { Registry } from '../naming/registry.ts';
import { memoryStores } from '../replication/memory-store.ts';
import type { ReplicaStore } from '../replication/store.ts';
import { type EngineModel, engineModel } from '../simulation/engine.ts';
import { type ProcessClock, type VirtualClock, virtualClock } from '../simulation/virtual-clock.ts';
import type { Keyspace, StateSettings } from '../state/keyspace.ts';
import { openKeyspace } from '../state/open-keyspace.ts';
import type { ScheduleDefinition } from '../state/schedules.ts';
import { type Delivery, type Events, openEvents } from './events.ts';
import type { SubscriptionDefinition } from './subscription.ts';

export const Order = z.object({ id: z.string(), n: z.number() });
export const placed = topic('orders.placed', Order, { key: 'id', partitions: 2 });
export const tables = { seen: table(z.object({ count: z.number(), order: z.array(z.number()) })) };
export const service = 'ledger';

export const book: SubscriptionDefinition = {
  name: 'book',
  topic: placed,
  key: 'id',
  attemptsMax: 3,
  onDead: 'skip',
  from: 'earliest',
};

export interface Node {
  readonly id: string;
  readonly keyspace: Keyspace;
  readonly events: Events;
  readonly engine: Engine;
  readonly clock: ProcessClock;
  alive: boolean;
  draining: boolean;
}

export type Handler = (delivery: Delivery, node: string) => Promise<unknown>;

export interface Cluster {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly model: EngineModel;
  readonly engine: Engine;
  readonly nodes: Map<string, Node>;
  /** Sums of counters and last values of gauges, by `name`. */
  readonly metrics: Map<string, number>;
  open(id: string): Promise<Node>;
  /** SIGKILL. */
  kill(id: string): void;
  /** As an instance closes: events, drain, keyspace. */
  close(id: string): Promise<void>;
  /** In a transaction at the key's writer. */
  emit(event: z.infer<typeof Order>): Promise<void>;
  until(found: () => boolean | Promise<boolean>, maxMs?: number): Promise<void>;
}

/** The handler's effect, in its transaction: counts, and keeps the order. */
export async function count({ scope, event }: Delivery): Promise<void> {
  const { id, n } = event as z.infer<typeof Order>;
  await scope.transact(raw => {
    const tx = raw as unknown as {
      seen: {
        get(key: string): { count: number; order: number[] } | undefined;
        put(key: string, value: unknown): void;
      };
    };
    const before = tx.seen.get(id) ?? { count: 0, order: [] };
    tx.seen.put(id, { count: before.count + 1, order: [...before.order, n] });
  });
}

export function openCluster(
  handler: Handler,
  options: {
    seed?: number;
    lostAnswerChance?: number;
    partitions?: number;
    subscriptions?: readonly SubscriptionDefinition[];
    schedules?: readonly ScheduleDefinition[];
    logger?: Logger;
    settings?: Partial<StateSettings>;
    /** Gets between the events of a node and what they stand on. */
    under?: (engine: Engine, keyspace: Keyspace) => { engine: Engine; keyspace: Keyspace };
    /** Gets between a node and its rows. */
    store?: (store: ReplicaStore, instance: string) => ReplicaStore;
  } = {},
): Cluster {
  const clock = virtualClock();
  const random = seededRandom(options.seed ?? 1);
  const model = engineModel({ clock, random, lostAnswerChance: options.lostAnswerChance ?? 0 });
  const nodes = new Map<string, Node>();
  const listeners = new Set<() => void>();
  const metrics = new Map<string, number>();
  const { partitions = 4, logger = silentLogger, store = own => own } = options;
  every(clock, 50, () => {
    for (const listener of listeners) listener();
  });

  const memberOf = (node: Node): Member => {
    const beat: Beat = {
      id: node.id,
      role: 'instance',
      service,
      node: 'n',
      zone: 'z',
      weight: 1,
      pid: 1,
      address: `memory://${node.id}`,
      startedAt: 0,
      sequence: 1,
      sentAt: clock.now(),
      ready: node.alive && !node.draining,
      draining: node.draining,
      mainLoopSilentMs: 0,
      load: { inflight: 0, cpu: 0, memoryBytes: 0, loopDelayMs: 0 },
      descriptorHash: '',
      partitions: node.keyspace.beats(),
      entryFormat: 1,
    };
    return { beat, verdict: node.alive ? 'alive' : 'dead', since: 0, clockAheadMs: 0 };
  };
  const all = (): Member[] => [...nodes.values()].map(memberOf);
  const registry = {
    members: all,
    instances: () => all().filter(({ verdict }) => verdict !== 'dead'),
    member: (id: string) => {
      const node = nodes.get(id);
      return node && memberOf(node);
    },
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    reportBroken() {},
    reportRefused() {},
  } as unknown as Registry;

  const send = async (
    from: ProcessClock,
    target: Member,
    method: string,
    body: unknown,
    deadline: number,
    signal: AbortSignal,
  ) => {
    await sleep(from, random.next() * 2);
    const node = nodes.get(target.beat.id);
    if (!node?.alive) throw new TandemError('UNAVAILABLE', 'refused');
    const incoming = {
      method,
      body,
      meta: {},
      deadline,
      signal,
      priority: 'default',
      items: undefined,
      peer: '',
    } as Incoming;
    const answer = node.events.handles(method) ? node.events.answer(incoming) : node.keyspace.answer(incoming);
    const broken = (async () => {
      while (node.alive) await sleep(from, 10);
      throw new TandemError('INTERRUPTED', 'the connection broke');
    })();
    broken.catch(() => {});
    return (await Promise.race([Promise.resolve(answer), broken])) as { body: unknown };
  };

  const meter = {
    counter: (name: string) => ({ add: (value: number) => void metrics.set(name, (metrics.get(name) ?? 0) + value) }),
    gauge: (name: string, attributes: object) => ({
      set: (value: number) => void metrics.set(`${name} ${Object.values(attributes).at(-1)}`, value),
    }),
    histogram: () => ({ record() {} }),
    observe() {},
  } as unknown as Meter;

  const cluster: Cluster = {
    clock,
    random,
    model,
    engine: model.connect(clock),
    nodes,
    metrics,
    async open(id) {
      const own = clock.process();
      const engine = model.connect(own);
      const caller = {
        send: (
          target: Member,
          method: string,
          body: unknown,
          sending: { deadline: number; signal?: AbortSignal | undefined },
        ) => send(own, target, method, body, sending.deadline, sending.signal ?? new AbortController().signal),
        watch: () => {},
      };
      const stores = memoryStores();
      const shared = { service, engine, caller, clock: own, random, logger, meter };
      const opening = openKeyspace({
        ...shared,
        instance: id,
        tables,
        schedules: options.schedules ?? [],
        partitions,
        replicas: 2,
        registry,
        openStore: async partition => store(await stores.open(partition), id),
        ...(options.settings && { settings: options.settings }),
      });
      const keyspace = await clock.complete(opening);
      // placement looks at the registry, so the node must be in it before it is ready
      const node: Node = { id, keyspace, engine, clock: own, alive: true, draining: false, events: undefined as never };
      nodes.set(id, node);
      await clock.complete(keyspace.ready(clock.monotonic() + 10_000));
      const events = openEvents({
        ...shared,
        ...(options.under?.(engine, keyspace) ?? { keyspace }),
        subscriptions: options.subscriptions ?? [book],
        handle: delivery => handler(delivery, id),
      });
      Object.assign(node, { events });
      return node;
    },
    kill(id) {
      const node = nodes.get(id)!;
      node.alive = false;
      node.clock.kill();
    },
    async close(id) {
      const node = nodes.get(id)!;
      node.draining = true;
      await node.events.close();
      await node.keyspace.drain(clock.monotonic() + 2000);
      node.alive = false;
      await node.keyspace.close();
      nodes.delete(id);
    },
    async emit(event) {
      for (let tries = 0; ; tries++) {
        const partition = [...nodes.values()].find(({ alive }) => alive)!.keyspace.partitionOf(event.id);
        const writer = [...nodes.values()].find(
          ({ alive, draining, keyspace }) => alive && !draining && keyspace.isWriter(partition),
        );
        try {
          if (!writer) throw new TandemError('UNAVAILABLE', 'no writer');
          const scope = writer.keyspace.scope({
            partition,
            level: 'sequential',
            session: new Session(),
            deadline: clock.monotonic() + 4000,
            request: { id: `emit-${event.id}-${event.n}`, inputHash: '' },
          });
          const sent = scope.transact(raw =>
            (raw as unknown as { emit(topic: unknown, event: unknown): void }).emit(placed, event),
          );
          const cut = (async () => {
            while (writer.alive) await sleep(clock, 20);
            throw new TandemError('INTERRUPTED', 'killed');
          })();
          cut.catch(() => {});
          await Promise.race([sent, cut]);
          return;
        } catch (cause) {
          if (tries > 200) throw cause;
          await sleep(clock, 50);
        }
      }
    },
    async until(found, maxMs = 60_000) {
      for (let waited = 0; !(await found()); waited += 50) {
        if (waited >= maxMs) throw new Error(`not so after ${maxMs} ms`);
        await clock.advance(50);
      }
    },
  };
  return cluster;
}

/** What the row of `key` holds, read at its writer. */
export async function seen(cluster: Cluster, key: string): Promise<{ count: number; order: number[] } | undefined> {
  const node = [...cluster.nodes.values()].find(
    ({ alive, keyspace }) => alive && keyspace.isWriter(keyspace.partitionOf(key)),
  );
  if (!node) return undefined;
  const scope = node.keyspace.scope({
    partition: node.keyspace.partitionOf(key),
    level: 'eventual',
    session: new Session(),
    deadline: cluster.clock.monotonic() + 4000,
    request: { id: '' },
  });
  return (await scope.tables.seen!.get(key)) as { count: number; order: number[] } | undefined;
}
