/** What commands from another terminal ask of an app, by way of a member of it that hears its heartbeats, calls and publishes. */
import type { Host } from '../app/host.ts';
import { openPeer } from '../app/peer.ts';
import { readSwitches, switchStrategy } from '../calling/strategy-switches.ts';
import { checkStrategy, defaultStrategy, type Strategy } from '../contract/balance.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { type DeadLetter, readDeadLetters, redrive } from '../events/dead-letters.ts';
import { dueTime, type When } from '../events/later.ts';
import { positionAt, type RangeOptions } from '../events/log-range.ts';
import type { ParkedKey, ResumeForm } from '../events/parking.ts';
import { Publisher, topicLog, unknownTopic } from '../events/publisher.ts';
import { checkReplay, type ReplayForm } from '../events/replay.ts';
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

/** Where a replay begins in one partition of the topic. */
export interface ReplayedPartition {
  readonly partition: number;
  readonly from: number;
  readonly events: number;
  /** It begins with the oldest that is kept: there were older ones, which retention has dropped. */
  readonly dropped: boolean;
}

export interface AppLink {
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
  /** What `service.subscription` gave up on, up to `limit`. */
  deadLetters(subscription: string, limit: number, timeoutMs: number): Promise<readonly DeadLetter[]>;
  /** Keys of `service.subscription` that wait because an event of theirs was given up, up to `limit`. */
  parked(subscription: string, limit: number, timeoutMs: number): Promise<readonly ParkedKey[]>;
  /** Lets a group read its topic again, from `from` on in each partition, or in one. Answers where each begins. */
  replay(
    subscription: string,
    from: 'earliest' | { readonly position: number; readonly partition: number } | { readonly atMs: number },
    timeoutMs: number,
  ): Promise<readonly ReplayedPartition[]>;
  /** Drops the event that holds up a parked key; those behind it go on. False when the key is not parked. */
  discard(subscription: string, key: string, timeoutMs: number): Promise<boolean>;
  /** Sends up to `limit` of them into their topic again, or lets their parked keys go on; answers how many. */
  redrive(subscription: string, limit: number, timeoutMs: number): Promise<number>;
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
  const publisher = new Publisher({ log: engine.log, source: id, clock, random, later });
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
  const lettersOf = async (
    name: string,
    timeoutMs: number,
  ): Promise<{ log: Log; service: string; subscription: string; deadline: number }> => {
    const deadline = await heardAll(timeoutMs);
    const known = registry
      .services()
      .flatMap(service => registry.descriptor(service)?.subscriptions.map(each => `${service}.${each.name}`) ?? []);
    if (!known.includes(name)) {
      const list = known.join(', ') || 'none';
      throw new TandemError('NOT_FOUND', `no running service has the subscription '${name}'; known: ${list}`);
    }
    const dot = name.indexOf('.');
    return { log: engine.log, service: name.slice(0, dot), subscription: name.slice(dot + 1), deadline };
  };
  /** Any instance that is ready: it passes on what another must do. */
  const askOne = async (service: string, method: string, body: unknown, deadline: number): Promise<unknown> => {
    const member = registry.instances(service).find(({ beat, verdict }) => beat.ready && verdict === 'alive');
    if (!member) throw new TandemError('UNAVAILABLE', `no instance of '${service}' is ready`);
    return (await caller.send(member, method, body, { deadline })).body;
  };
  return {
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
      if (at === undefined) await publisher.publishRaw(name, topic.partitions, String(key), event, deadline, undefined);
      else await publisher.publishRawAt(at, topic, String(key), event, deadline, undefined);
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
      return viewTopics({ log: engine.log, registry, caller, clock, deadline }, wanted);
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
    async deadLetters(subscription, limit, timeoutMs) {
      const found: DeadLetter[] = [];
      for await (const { letter } of readDeadLetters(await lettersOf(subscription, timeoutMs))) {
        if (found.push(letter) >= limit) break;
      }
      return found;
    },
    async redrive(name, limit, timeoutMs) {
      const { service, deadline, ...letters } = await lettersOf(name, timeoutMs);
      const resume = async (form: ResumeForm): Promise<boolean> =>
        (await askOne(service, '$event.resume', form, deadline)) as boolean;
      return redrive({ ...letters, service, deadline, limit, resume, clock, random });
    },
    async parked(name, limit, timeoutMs) {
      const { service, subscription, deadline } = await lettersOf(name, timeoutMs);
      const answers = await Promise.all(
        registry
          .instances(service)
          .map(member => caller.send(member, '$event.parked', { subscription, limit }, { deadline })),
      );
      return answers.flatMap(({ body }) => body as readonly ParkedKey[]).slice(0, limit);
    },
    async replay(name, from, timeoutMs) {
      const { service, subscription, deadline } = await lettersOf(name, timeoutMs);
      const descriptor = registry.descriptor(service)!;
      const topic = descriptor.subscriptions.find(each => each.name === subscription)!.topic;
      const count = descriptor.topics.find(each => each.name === topic)!.partitions;
      const wanted = typeof from === 'object' && 'position' in from ? [from.partition] : [...Array(count).keys()];
      // All are looked at before any is put back: what is refused has changed nothing.
      const begun: ReplayedPartition[] = [];
      for (const partition of wanted) {
        const at = { log: engine.log, topicLog: topicLog(topic, partition), deadline: () => deadline };
        const start = await startOf(at, from);
        // Nothing was ever published there.
        if (start) begun.push({ partition, ...start });
      }
      for (const { partition, from: position } of begun) {
        const form: ReplayForm = { subscription, topicPartition: partition, from: position };
        await askOne(service, '$event.replay', form, deadline);
      }
      return begun;
    },
    async discard(name, key, timeoutMs) {
      const { service, subscription, deadline } = await lettersOf(name, timeoutMs);
      const form: ResumeForm = { subscription, key, discard: true };
      return (await askOne(service, '$event.resume', form, deadline)) as boolean;
    },
    async close() {
      await publisher.close();
      await peer.close(0);
    },
  };
}

/** Where a replay begins in one topic partition, and how many entries lie from there on; undefined when there is none. */
async function startOf(
  at: RangeOptions,
  from: Parameters<AppLink['replay']>[1],
): Promise<Omit<ReplayedPartition, 'partition'> | undefined> {
  const info = await at.log.info(at.topicLog, { deadline: at.deadline() }).catch(cause => {
    if (TandemError.from(cause).code === 'NOT_FOUND') return undefined;
    throw cause;
  });
  if (!info) return undefined;
  const { first, tail } = info;
  let position = first;
  if (from !== 'earliest') position = 'atMs' in from ? await positionAt(at, from.atMs) : from.position;
  checkReplay(at.topicLog, position, info);
  const events = Math.max(0, tail - position + 1);
  return { from: position, events, dropped: first > 1 && position === first && events > 0 };
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
