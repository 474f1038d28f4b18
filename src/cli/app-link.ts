/** What commands from another terminal ask of an app, by way of a member of it that hears its heartbeats, calls and publishes. */
import type { Host } from '../app/host.ts';
import { openPeer } from '../app/peer.ts';
import { readSwitches, switchStrategy } from '../calling/strategy-switches.ts';
import { checkStrategy, defaultStrategy, type Strategy } from '../contract/balance.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { dueTime, type When } from '../events/later.ts';
import { type Operations, operationsOn } from '../events/operations.ts';
import { Publisher, unknownTopic } from '../events/publisher.ts';
import { type TopicView, viewTopics } from '../events/topic-view.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Engine, Log } from '../log/engine.ts';
import type { Registry } from '../naming/registry.ts';
import { livingNumbers, type PartitionMap, steadyMap } from '../partitioning/partition-map.ts';
import { sealFormat } from '../replication/entry.ts';
import { logName } from '../replication/replica.ts';
import { beginResharding, type CatalogContext, readCatalog } from '../state/catalog.ts';
import { dropTable, type UndeclaredTable, undeclaredTables } from './undeclared-tables.ts';

/** One partition of a service's data, as the log and the heartbeats tell. */
export interface PartitionView {
  readonly service: string;
  readonly partition: number;
  /** Instance that writes it; undefined while none says so. */
  readonly writer: string | undefined;
  /** Last and first position of the log, and the bytes in between. */
  readonly tail: number;
  readonly first: number;
  readonly bytes: number;
  readonly copies: readonly { readonly instance: string; readonly ready: boolean; readonly position: number }[];
}

/** Into how many partitions a service's data is cut; while that changes `to` is twice `count`, and `divided` of them are done. */
export interface MapView {
  readonly service: string;
  readonly version: number;
  readonly count: number;
  readonly to: number;
  readonly divided: number;
}

export interface TablesView {
  readonly maps: readonly MapView[];
  readonly partitions: readonly PartitionView[];
}

export interface StrategyChange {
  readonly service: string;
  readonly strategy: Strategy | undefined;
}

/** How the instances of a service are picked. */
export interface BalanceView {
  readonly service: string;
  readonly strategy: Strategy;
  /** Its own, where a switch by hand goes before it. */
  readonly insteadOf?: Strategy;
  readonly instances: number;
}

export interface AppLink extends Operations {
  readonly registry: Registry;
  call(service: string, method: string, input: unknown, timeoutMs: number): Promise<unknown>;
  /** `when`: at once if it says nothing. */
  publish(topic: string, event: unknown, when: When, timeoutMs: number): Promise<void>;
  /** The partitions of a service, or of all that keep data. */
  tables(service: string | undefined, timeoutMs: number): Promise<TablesView>;
  /** Of a service, or of all: what the running instances hold without declaring it. */
  undeclared(service: string | undefined, timeoutMs: number): Promise<readonly UndeclaredTable[]>;
  /** Deletes all rows of a table that no instance declares; answers how many. @throws NOT_FOUND, CONFLICT. */
  dropTable(service: string, table: string, timeoutMs: number): Promise<number>;
  /** One topic with what its newest events say, or all of them. */
  topics(topic: string | undefined, timeoutMs: number): Promise<readonly TopicView[]>;
  /** Begins to double the partitions of a service, or joins the change that is under way. */
  reshard(service: string, to: number | undefined, timeoutMs: number): Promise<MapView>;
  /** How far that is. */
  partitionMap(service: string, timeoutMs: number): Promise<MapView>;
  /** How the instances of each service are picked, or of one after a switch: `strategy` undefined takes a switch back. */
  balance(change: StrategyChange | undefined, timeoutMs: number): Promise<readonly BalanceView[]>;
  close(): Promise<void>;
}

export interface AppLinkOptions {
  readonly id: string;
  readonly host: Host;
  readonly engine: Engine;
  /** Where to listen: `tcp://127.0.0.1:0`. */
  readonly listen: string;
}

/** As long as that takes when all goes well, and some more. */
const hearingMsMax = 2000;

export async function openAppLink({ id, host, engine, listen }: AppLinkOptions): Promise<AppLink> {
  const { clock, random } = host;
  const peer = await openPeer({ id, role: 'supervisor', host, engine, listen });
  peer.report({ ready: true });
  const { registry, caller } = peer;
  const later = { registry, caller, home: undefined };
  const publisher = new Publisher({ engine, source: id, clock, random, later });
  const catalogOf = (service: string, engineTimeoutMs: number): CatalogContext => ({
    ...{ service, engine, clock, random, engineTimeoutMs },
  });
  /** A link that was just opened has not heard of everybody: what it does not know may be there all the same. Gives the deadline. */
  const heardAll = async (timeoutMs: number): Promise<number> => {
    const now = clock.monotonic();
    const end = now + Math.min(timeoutMs, hearingMsMax);
    while (registry.learning() && clock.monotonic() < end) await sleep(clock, 20);
    return now + timeoutMs;
  };
  /** @throws NOT_FOUND when no running service has it. */
  return {
    ...operationsOn({ engine, registry, caller, clock, random, deadline: heardAll }),
    registry,
    async balance(change, timeoutMs) {
      const deadline = await heardAll(timeoutMs);
      if (change && !registry.services().includes(change.service)) {
        const near = didYouMean(change.service, registry.services());
        const hint = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
        throw new TandemError('NOT_FOUND', `there is no service '${change.service}'${hint}`);
      }
      if (change?.strategy !== undefined)
        checkStrategy(change.strategy, message => {
          throw new TandemError('INVALID', message);
        });
      const switches = change
        ? await switchStrategy({ engine, clock, random }, change.service, change.strategy, deadline)
        : (await readSwitches(engine.log, { deadline })).switches;
      return registry
        .services()
        .filter(service => change === undefined || service === change.service)
        .map((service): BalanceView => {
          const own = registry.descriptor(service)?.balance?.strategy ?? defaultStrategy;
          const switched = switches[service];
          const instances = registry.instances(service).length;
          return switched === undefined
            ? { service, strategy: own, instances }
            : { service, strategy: switched, insteadOf: own, instances };
        });
    },
    async call(service, method, input, timeoutMs) {
      const { value } = await caller.call(service, method, input, { deadline: clock.monotonic() + timeoutMs });
      return value;
    },
    async publish(name, event, when, timeoutMs) {
      const at = dueTime(when, clock.now());
      const deadline = await heardAll(timeoutMs);
      const topics = registry.services().flatMap(service => registry.descriptor(service)?.topics ?? []);
      const topic = topics.find(candidate => candidate.name === name);
      if (!topic)
        throw unknownTopic(
          name,
          topics.map(candidate => candidate.name),
        );
      const key = (event as Record<string, unknown> | null)?.[topic.key];
      if (typeof key !== 'string' && typeof key !== 'number') {
        throw new TandemError(
          'INVALID',
          `an event of '${name}' is an object with its key '${topic.key}' (text or number)`,
        );
      }
      const span = host.tracer.start(`publish ${name}`, 'producer');
      const { traceparent } = span;
      try {
        if (at === undefined)
          await publisher.publishRaw(name, topic.partitions, String(key), event, deadline, traceparent);
        else await publisher.publishRawAt(at, topic, String(key), event, deadline, traceparent);
        span.end();
      } catch (cause) {
        span.end(cause);
        throw cause;
      }
    },
    async tables(wanted, timeoutMs) {
      const deadline = await heardAll(timeoutMs);
      const maps: MapView[] = [];
      const views: Promise<PartitionView>[] = [];
      for (const service of registry.services()) {
        const keyspace = registry.descriptor(service)?.keyspace;
        if (!keyspace || (wanted !== undefined && service !== wanted)) continue;
        const map = await readCatalog(catalogOf(service, timeoutMs)).catch(cause => {
          if (TandemError.from(cause).code === 'NOT_FOUND') return steadyMap(keyspace.partitions);
          throw cause;
        });
        maps.push(mapView(service, map));
        for (const partition of livingNumbers(map))
          views.push(partitionView(service, partition, registry.instances(service), engine.log, deadline));
      }
      return { maps, partitions: await Promise.all(views) };
    },
    async undeclared(wanted, timeoutMs) {
      return undeclaredTables(registry, caller, wanted, await heardAll(timeoutMs));
    },
    async dropTable(service, table, timeoutMs) {
      return dropTable({ registry, caller, clock, service, table, deadline: await heardAll(timeoutMs) });
    },
    async topics(wanted, timeoutMs) {
      const deadline = await heardAll(timeoutMs);
      return viewTopics({ engine, registry, caller, clock, deadline }, wanted);
    },
    async reshard(service, to, timeoutMs) {
      await heardAll(timeoutMs);
      const keeping = registry.services().filter(name => registry.descriptor(name)?.keyspace);
      if (!keeping.includes(service)) {
        const list = keeping.join(', ') || 'none';
        throw new TandemError('NOT_FOUND', `no running service '${service}' keeps data; those that do: ${list}`);
      }
      const old = registry.instances(service).filter(({ beat }) => beat.entryFormat < sealFormat);
      if (old.length > 0) {
        const names = old.map(({ beat }) => beat.id).join(', ');
        throw new TandemError(
          'UNSUPPORTED',
          `${names} cannot read the log entries that a reshard writes: update tandem there first`,
          { details: { instances: names } },
        );
      }
      return mapView(service, await beginResharding(catalogOf(service, timeoutMs), to));
    },
    partitionMap: async (service, timeoutMs) => mapView(service, await readCatalog(catalogOf(service, timeoutMs))),
    async close() {
      await publisher.close();
      await peer.close(0);
    },
  };
}

function mapView(service: string, { version, count, to, divided }: PartitionMap): MapView {
  return { service, version, count, to, divided };
}

async function partitionView(
  service: string,
  partition: number,
  members: readonly Member[],
  log: Log,
  deadline: number,
): Promise<PartitionView> {
  const info = await log.info(logName(service, partition), { deadline }).catch(cause => {
    if (TandemError.from(cause).code === 'NOT_FOUND') return { tail: 0, first: 1, bytes: 0 };
    throw cause;
  });
  let writer: string | undefined;
  let epoch = 0;
  const copies: PartitionView['copies'][number][] = [];
  for (const { beat } of members) {
    const line = beat.partitions.find(each => each.partition === partition);
    if (!line) continue;
    copies.push({ instance: beat.id, ready: line.ready, position: line.position });
    if (line.epoch > epoch) [writer, epoch] = [beat.id, line.epoch];
  }
  copies.sort((a, b) => (a.instance < b.instance ? -1 : 1));
  return { service, partition, writer, tail: info.tail, first: info.first, bytes: info.bytes, copies };
}
