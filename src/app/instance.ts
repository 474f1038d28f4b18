/**
 * One instance of one service: config, resources, data, events, methods, in that order; stopped in reverse. It is ready
 * when every partition placed on it is caught up; when it drains it hands its partitions on before it goes.
 */
import type { Service } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import type { ProtoLock } from '../contract/proto-lock.ts';
import { type ScheduleSpec, scheduleTopic } from '../contract/schedule.ts';
import type { Topic } from '../contract/topic.ts';
import { durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { Closers } from '../core/lifecycle.ts';
import { limits } from '../core/limits.ts';
import { Publisher } from '../events/publisher.ts';
import { attemptsMaxOf, type SubscriptionDefinition } from '../events/subscription.ts';
import { checkTopics } from '../events/topic-catalog.ts';
import type { Engine } from '../log/engine.ts';
import type { ReplicaStore } from '../replication/store.ts';
import type { Keyspace, StateSettings } from '../state/keyspace.ts';
import type { ScheduleDefinition } from '../state/schedules.ts';
import { serviceConfig } from './config.ts';
import type { Host } from './host.ts';
import { openPeer } from './peer.ts';
import { openServiceRuntime } from './service-runtime.ts';

export interface InstanceOptions {
  readonly id: string;
  readonly service: Service;
  readonly host: Host;
  readonly engine: Engine;
  readonly engineAddress?: string | undefined;
  readonly listen: string;
  /** `services.<name>` of the config file. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Its locked numbers in protobuf. */
  readonly proto?: ProtoLock | undefined;
  /** Instead of the definition's own resources; for tests. */
  readonly fakeResources?: unknown;
  /** The local store of a partition. The instance closes what it opened. */
  readonly stores: { open(partition: number): Promise<ReplicaStore>; close(): Promise<void> };
  /** How long the start may take. */
  readonly startTimeoutMs?: number;
  readonly stateSettings?: Partial<StateSettings>;
}

export interface Instance {
  readonly id: string;
  readonly address: string;
  readonly keyspace: Keyspace | undefined;
  /** Lets running calls end, hands partitions on, closes resources. Bounded by `graceMs`. */
  close(graceMs: number): Promise<void>;
}

const startTimeoutMs = 30_000;

/** @throws CONFIG (config, data of another shape), UNSUPPORTED (a schema that JSON cannot carry), what `resources` threw, UNAVAILABLE (no engine). */
export async function openInstance(options: InstanceOptions): Promise<Instance> {
  const { id, service, host, engine } = options;
  const { clock, random, meter, tracer } = host;
  const name = service.contract.name as string;
  const { definition } = service;
  const logger = host.logger.with({ service: name, instance: id });
  const closers = new Closers();
  const stopping = new AbortController();
  const deadline = clock.monotonic() + (options.startTimeoutMs ?? startTimeoutMs);

  try {
    const descriptor = describeService(service, options.proto);
    const config = await serviceConfig(service, options.config, host.environment);
    const resources = options.fakeResources ?? (await openResources(service, config, logger, stopping.signal, closers));
    const { engineAddress, listen } = options;
    const peer = await openPeer({
      id,
      role: 'instance',
      service: name,
      host,
      engine,
      engineAddress,
      listen,
      descriptor,
    });
    closers.add('peer', () => peer.close(0));
    const { registry, caller } = peer;
    const home = descriptor.keyspace ? name : undefined;
    const publisher = new Publisher({ engine, source: id, clock, random, later: { registry, caller, home } });
    closers.add('publisher', () => publisher.close());

    await checkTopics({ descriptor, log: engine.log, clock, random, deadline });
    let keyspace: Keyspace | undefined;
    if (descriptor.keyspace) {
      closers.add('stores', () => options.stores.close());
      const { openKeyspace } = await import('../state/open-keyspace.ts');
      keyspace = await openKeyspace({
        service: name,
        instance: id,
        tables: definition.tables ?? {},
        schedules: schedulesOf(service),
        partitions: descriptor.keyspace.partitions,
        replicas: descriptor.keyspace.replicas,
        engine,
        registry: peer.registry,
        caller: peer.caller,
        openStore: partition => options.stores.open(partition),
        clock,
        random,
        logger,
        meter,
        ...(options.stateSettings ? { settings: options.stateSettings } : {}),
      });
      const opened = keyspace;
      closers.add('keyspace', () => opened.close());
      peer.serve(opened);
      peer.report({ partitions: () => opened.beats(), map: () => opened.map });
    }

    const runtime = openServiceRuntime({
      service,
      descriptor,
      instance: id,
      config,
      resources,
      keyspace,
      caller: peer.caller,
      publisher,
      clock,
      random,
      logger,
      meter,
      tracer,
    });
    peer.serve(runtime);
    peer.report({ inflight: runtime.inflight });

    let events: { close(): Promise<void> } | undefined;
    if (keyspace) {
      await keyspace.ready(deadline);
      const { openEvents } = await import('../events/events.ts');
      const opened = openEvents({
        service: name,
        keyspace,
        engine,
        caller: peer.caller,
        publishes: definition.publishes ?? [],
        subscriptions: [...subscriptionsOf(service), ...runsOf(service)],
        handle: delivery => runtime.deliver(delivery),
        clock,
        random,
        logger,
        meter,
      });
      peer.serve(opened);
      events = opened;
    }
    await peer.announce(deadline);
    logger.info('ready', { address: peer.address });

    return {
      id,
      address: peer.address,
      keyspace,
      close: async graceMs => {
        const end = clock.monotonic() + graceMs;
        // Readers first: who hears that this instance drains takes its partitions over, and the cursors in them.
        await events?.close();
        peer.report({ ready: false, draining: true });
        await keyspace?.drain(end);
        await runtime.drain(end);
        stopping.abort();
        await closers.close();
      },
    };
  } catch (cause) {
    stopping.abort();
    await closers.close().catch(problem => logger.warn('closing after a failed start', { message: String(problem) }));
    throw cause;
  }
}

async function openResources(
  service: Service,
  config: unknown,
  logger: Host['logger'],
  signal: AbortSignal,
  closers: Closers,
): Promise<unknown> {
  const open = service.definition.resources;
  if (!open) return {};
  let count = 0;
  const onStop = (close: () => unknown): void => closers.add(`resource ${++count} of ${service.contract.name}`, close);
  try {
    return await open({ config, logger, signal, onStop });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new TandemError('CONFIG', `resources of '${service.contract.name}' could not be opened: ${message}`, {
      cause,
    });
  }
}

function subscriptionsOf(service: Service): SubscriptionDefinition[] {
  return Object.entries(service.definition.subscriptions ?? {}).map(([name, given]) => {
    const spec = given as {
      topic: Topic;
      key?: string;
      attempts?: number;
      onDead?: 'skip' | 'park';
      from?: 'earliest' | 'latest';
    };
    return {
      name,
      topic: spec.topic,
      key: spec.key ?? spec.topic.key,
      attemptsMax: attemptsMaxOf(spec.attempts ?? limits.eventAttemptsMax),
      onDead: spec.onDead ?? 'skip',
      from: spec.from ?? 'earliest',
    };
  });
}

type AnySchedule = ScheduleSpec<unknown, unknown, unknown>;

function schedulesOf({ contract, definition }: Service): ScheduleDefinition[] {
  return Object.entries<AnySchedule>(definition.schedules ?? {}).map(
    ([name, { cron, timeZone = 'UTC', missed = 'once', key = name }]) => {
      const topic = scheduleTopic(contract.name as string, name);
      return { name, cron, timeZone, missed, key, topic };
    },
  );
}

/** The other half of a schedule: what handles its due times. */
function runsOf({ contract, definition }: Service): SubscriptionDefinition[] {
  return Object.entries<AnySchedule>(definition.schedules ?? {}).map(([name, { attempts, timeout }]) => {
    const topic = scheduleTopic(contract.name as string, name);
    return {
      name,
      topic,
      key: topic.key,
      attemptsMax: attemptsMaxOf(attempts ?? limits.eventAttemptsMax),
      onDead: 'skip',
      from: 'earliest',
      ...(timeout !== undefined && { timeoutMs: durationMs(timeout) }),
    };
  });
}
