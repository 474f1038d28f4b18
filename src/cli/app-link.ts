/**
 * The supervisor as a member of the app: it hears the heartbeats, so that it learns what a parent cannot see (a stuck
 * loop, a paused process), and can call and publish for commands from another terminal.
 */
import type { Host } from '../app/host.ts';
import { openPeer } from '../app/peer.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { dueTime, type When } from '../events/later.ts';
import { type Operations, operationsOn } from '../events/operations.ts';
import { Publisher, unknownTopic } from '../events/publisher.ts';
import { type TopicView, viewTopics } from '../events/topic-view.ts';
import type { Member, Verdict } from '../failure-detection/beat.ts';
import type { Log } from '../log/engine.ts';
import { holding } from '../log/hold.ts';
import { reachEngine } from '../log/reach-engine.ts';
import { livingNumbers, type PartitionMap, steadyMap } from '../partitioning/partition-map.ts';
import { sealFormat } from '../replication/entry.ts';
import { logName } from '../replication/replica.ts';
import { beginResharding, type CatalogContext, readCatalog } from '../state/catalog.ts';
import { dropTable, type UndeclaredTable, undeclaredTables } from './undeclared-tables.ts';

/** A verdict counts when it lasts: to kill what was only slow to be heard would be the worse cure. */
const verdictLastsMs = 2000;

/** The engine carries the bus, so no beat tells that it hangs: it is asked. Three silences of this long condemn it. */
const probe = { intervalMs: 1000, timeoutMs: 3000, silencesMax: 3 } as const;

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

export interface AppLink extends Operations {
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
  close(): Promise<void>;
}

export async function openAppLink(
  host: Host,
  engineAddress: string,
  linkHost: string,
  engineId: () => string | undefined,
  onVerdict: (id: string, verdict: Verdict) => void,
): Promise<AppLink> {
  const { clock, random, logger, meter, transports } = host;
  const id = `supervisor-1-${random.id().slice(0, 6)}`;
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = holding(await reachEngine({ dialer, address: engineAddress, name: id, clock, random, logger }), clock);
  const peer = await openPeer({ id, role: 'supervisor', host, engine, listen: `tcp://${linkHost}:0` });
  peer.report({ ready: true });
  const { registry, caller } = peer;
  const later = { registry, caller, home: undefined };
  const publisher = new Publisher({ engine, source: id, clock, random, later });
  /** Since when each ill member is ill (monotonic ms). */
  const illSinceMs = new Map<string, number>();
  let silences = 0;

  const judge = (): void => {
    const nowMs = clock.monotonic();
    const ill = registry.members().filter(({ verdict }) => verdict === 'stuck' || verdict === 'dead');
    for (const id of illSinceMs.keys()) if (!ill.some(({ beat }) => beat.id === id)) illSinceMs.delete(id);
    for (const { beat, verdict } of ill) {
      const sinceMs = illSinceMs.get(beat.id) ?? nowMs;
      illSinceMs.set(beat.id, sinceMs);
      if (nowMs - sinceMs < verdictLastsMs) continue;
      illSinceMs.delete(beat.id);
      onVerdict(beat.id, verdict);
    }
  };
  const probing = every(clock, probe.intervalMs, async () => {
    judge();
    const id = engineId();
    try {
      await engine.log.barrier('supervisor/probe', { deadline: clock.monotonic() + probe.timeoutMs });
      silences = 0;
    } catch (failure) {
      silences = TandemError.from(failure).code === 'DEADLINE_EXCEEDED' && id === engineId() ? silences + 1 : 0;
    }
    if (silences < probe.silencesMax || id === undefined) return;
    silences = 0;
    onVerdict(id, 'stuck');
  });
  const catalogOf = (service: string, engineTimeoutMs: number): CatalogContext => ({
    ...{ service, engine, clock, random, engineTimeoutMs },
  });
  /** @throws NOT_FOUND when no running service has it. */
  return {
    ...operationsOn({ engine, registry, caller, clock, random }),
    async call(service, method, input, timeoutMs) {
      const { value } = await caller.call(service, method, input, { deadline: clock.monotonic() + timeoutMs });
      return value;
    },
    async publish(name, event, when, timeoutMs) {
      const at = dueTime(when, clock.now());
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
      const deadline = clock.monotonic() + timeoutMs;
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
      const deadline = clock.monotonic() + timeoutMs;
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
    undeclared: (wanted, timeoutMs) => undeclaredTables(registry, caller, wanted, clock.monotonic() + timeoutMs),
    dropTable: (service, table, timeoutMs) =>
      dropTable({ registry, caller, clock, service, table, deadline: clock.monotonic() + timeoutMs }),
    topics: (wanted, timeoutMs) =>
      viewTopics({ engine, registry, caller, clock, deadline: clock.monotonic() + timeoutMs }, wanted),
    async reshard(service, to, timeoutMs) {
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
      probing.cancel();
      await publisher.close();
      await peer.close(0);
      await engine.close();
      await dialer.close();
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
