/** A small cluster over the engine model, whose every operation a test can get in the way of. */
import { Session } from '../calling/session.ts';
import { type Tables, table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import { seededRandom } from '../core/random.ts';
import type { AnySchema } from '../core/schema.ts';
import type { Engine, Log } from '../log/engine.ts';
import { type DataCluster, type DataNode, dataCluster } from '../simulation/data-cluster.ts';
import { type EngineModel, engineModel } from '../simulation/engine.ts';
import { type VirtualClock, virtualClock } from '../simulation/virtual-clock.ts';
import type { RequestKey, Scope, ScopeOptions, StateSettings } from './keyspace.ts';

export const anything = {
  '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) },
} as AnySchema;
export const sold: ReturnType<typeof topic> = topic('sold', anything, { key: 'key' as never });

export interface Rows {
  readonly stock: {
    get(key: string): number | undefined;
    put(key: string, value: number): void;
    delete(key: string): void;
    scan(prefix: string): Iterable<readonly [string, number]>;
  };
  emit(topic: unknown, event: unknown): void;
  readonly now: number;
}

export interface Rig {
  readonly clock: VirtualClock;
  readonly model: EngineModel;
  readonly cluster: DataCluster;
  /** Replaces operations of the log, for all nodes or (by slot) for one. */
  readonly hooks: Map<string, (log: Log) => Partial<Log>>;
  start(...slots: string[]): Promise<DataNode[]>;
  scope(node: DataNode, options?: Partial<ScopeOptions>): Scope;
  /** In the partition of `key`; without one, in partition 0. */
  transact<R>(node: DataNode, body: (tx: Rows) => R, request?: Partial<RequestKey>, key?: string): Promise<R>;
  /** What a strong read gives at the node. */
  read(node: DataNode, key: string): Promise<number | undefined>;
}

let ids = 0;

export function rig(
  options: {
    readonly seed?: number;
    readonly partitions?: number;
    readonly replicas?: number;
    readonly settings?: Partial<StateSettings>;
    readonly barrierAppends?: boolean;
    readonly relay?: boolean;
    /** The table `stock`, in place of one of anything. */
    readonly stock?: Tables[string];
    /** Tables beside it. */
    readonly more?: Tables;
    /** What the beats of a slot say that it reads. */
    readonly entryFormat?: (slot: string) => number;
    /** Another rig, whose engine and time this one shares. */
    readonly model?: Rig;
  } = {},
): Rig {
  const clock = options.model?.clock ?? virtualClock();
  const random = seededRandom(options.seed ?? 1);
  const { barrierAppends = false } = options;
  const model = options.model?.model ?? engineModel({ clock, random, barrierAppends });
  const hooks: Rig['hooks'] = new Map();
  const cluster = dataCluster({
    clock,
    random,
    connect: (own, name) => hooked(model.connect(own), hooks, name.slice(0, name.lastIndexOf('-'))),
    tables: { stock: options.stock ?? table(anything), ...options.more },
    partitions: options.partitions ?? 1,
    replicas: options.replicas ?? 2,
    settings: options.settings ?? {},
    relay: options.relay ?? false,
    ...(options.entryFormat ? { entryFormat: options.entryFormat } : {}),
  });
  const scope: Rig['scope'] = (node, changed = {}) =>
    node.keyspace.scope({
      partition: 0,
      level: 'strong',
      session: new Session(),
      deadline: clock.monotonic() + 2000,
      request: { id: `r${++ids}` },
      ...changed,
    });
  return {
    clock,
    model,
    cluster,
    hooks,
    start: (...slots) =>
      clock.complete(async () => {
        const nodes: DataNode[] = [];
        for (const slot of slots) {
          const node = await cluster.start(slot);
          await node.keyspace.ready(clock.monotonic() + 5000);
          nodes.push(node);
        }
        return nodes;
      }),
    scope,
    transact: (node, body, request, key) =>
      scope(node, {
        request: { id: `r${++ids}`, ...request },
        ...(key === undefined ? {} : { key, partition: node.keyspace.partitionOf(key) }),
      }).transact(tx => body(tx as unknown as Rows)),
    read: (node, key) => scope(node).tables['stock']!.get(key) as Promise<number | undefined>,
  };
}

function hooked(engine: Engine, hooks: Rig['hooks'], slot: string): Engine {
  const { log } = engine;
  const through = (): Log => {
    let now: Log = log;
    for (const [name, hook] of hooks) if (name === '*' || name === slot) now = { ...now, ...hook(now) };
    return now;
  };
  const own: Log = {
    ...log,
    append: (...args) => through().append(...args),
    barrier: (...args) => through().barrier(...args),
    read: (...args) => through().read(...args),
    follow: (...args) => through().follow(...args),
  };
  return Object.create(engine, { log: { value: own } });
}
