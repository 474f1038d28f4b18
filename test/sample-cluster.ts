/**
 * A system that exists only as heartbeats and counts: what the monitor and the dashboard are shown in their tests. Traffic
 * comes from a seed, one `step` is about one second of it.
 */

import type { MonitoredBalance } from '../src/app/monitor.ts';
import type { Asker } from '../src/app/monitor-collect.ts';
import { balanceForm, type Strategy, strategies } from '../src/contract/balance.ts';
import type { Descriptor } from '../src/contract/descriptor.ts';
import { systemClock } from '../src/core/clock.ts';
import { TandemError } from '../src/core/errors.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import type { Beat, Member, PartitionBeat, Role, Verdict } from '../src/failure-detection/beat.ts';
import { openLogger } from '../src/monitoring/logger.ts';
import { openMeter, type ReadableMeter } from '../src/monitoring/meter.ts';
import { metricNames } from '../src/monitoring/metric-names.ts';
import { type MetricsAnswer, metricsAnswer } from '../src/monitoring/metrics-answer.ts';
import { openRecordRing } from '../src/monitoring/record-ring.ts';
import { openTracer } from '../src/monitoring/tracer.ts';
import type { Registry } from '../src/naming/registry.ts';

interface Process {
  beat: Beat;
  verdict: Verdict;
  since: number;
  clockAheadMs: number;
  meter: ReadableMeter;
  answer: (question?: unknown) => MetricsAnswer;
  problem(message: string, error?: unknown): void;
  trace(name: string, error?: unknown): void;
}

export interface SampleCluster {
  readonly registry: Registry;
  readonly caller: Asker;
  /** Switched by hand, by service. */
  readonly switched: Map<string, Strategy>;
  readonly balance: MonitoredBalance;
  readonly processes: Map<string, Process>;
  /** Adds `calls` gateway calls, and what follows from them, to the counts. */
  step(calls: number, options?: { failing?: boolean }): void;
  add(name: string, role: Role, service?: string, partitions?: readonly PartitionBeat[]): Process;
  /** Its verdict becomes dead, and the next replica becomes writer of what it wrote. */
  kill(name: string): void;
}

const partitionCount = 24;
const links: readonly (readonly [from: string, to: string, method: string, share: number, ms: number])[] = [
  ['gateway', 'orders', 'place', 0.3, 9],
  ['gateway', 'orders', 'get', 0.2, 1.4],
  ['gateway', 'catalogue', 'list', 0.5, 0.8],
  ['gateway', 'recommendations', 'forCustomer', 0.2, 4],
  ['orders', 'inventory', 'reserve', 0.6, 3.5],
  ['orders', 'payments', 'pay', 0.28, 48],
  ['recommendations', 'catalogue', 'get', 0.2, 0.7],
];

export function sampleCluster(options: { readonly empty?: boolean } = {}): SampleCluster {
  const random = seededRandom(5);
  const processes = new Map<string, Process>();
  const descriptors = new Map<string, Descriptor>();
  const listeners = new Set<() => void>();
  let version = 0;
  const changed = (): void => {
    version += 1;
    for (const listener of listeners) listener();
  };
  const members = (): Member[] =>
    [...processes.values()].map(({ beat, verdict, since, clockAheadMs }) => ({ beat, verdict, since, clockAheadMs }));

  const switched = new Map<string, Strategy>();
  const balance: MonitoredBalance = {
    of: service => ({ own: balanceForm(service), switched: switched.get(service) }),
    set: async (service, strategy) => {
      if (strategy) switched.set(service, strategy);
      else switched.delete(service);
    },
  };
  const registry: Registry = {
    members,
    instances: service => members().filter(member => member.beat.service === service && member.verdict !== 'dead'),
    member: id => members().find(member => member.beat.id === id),
    descriptor: service => descriptors.get(service),
    descriptors: service => (descriptors.has(service) ? [descriptors.get(service)!] : []),
    learning: () => false,
    descriptorOf: member => descriptors.get(member.beat.service ?? ''),
    conflicts: () => [],
    services: () => [...descriptors.keys()],
    get version() {
      return version;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    until: async () => {},
    reportBroken() {},
    reportRefused() {},
  };

  const cluster: SampleCluster = {
    switched,
    balance,
    registry,
    processes,
    caller: {
      async send(member, method, body) {
        const found = [...processes.values()].find(({ beat }) => beat.id === member.beat.id);
        if (!found || found.verdict === 'dead') throw new TandemError('UNAVAILABLE', 'nobody listens there');
        if (method !== '$metrics') throw new TandemError('NOT_FOUND', `no method '${method}'`);
        return { body: structuredClone(found.answer(body)) };
      },
    },
    add(name, role, service, partitions = []) {
      const process = openProcess(name, role, service, partitions, random);
      processes.set(name, process);
      if (service && !descriptors.has(service)) descriptors.set(service, descriptorOf(service, partitions.length > 0));
      changed();
      return process;
    },
    kill(name) {
      const lost = processes.get(name)!;
      lost.verdict = 'dead';
      lost.since = systemClock.monotonic();
      for (const { partition, epoch } of lost.beat.partitions) {
        if (epoch === 0) continue;
        for (const heir of processes.values()) {
          if (heir.verdict === 'dead' || heir.beat.service !== lost.beat.service) continue;
          if (!heir.beat.partitions.some(slice => slice.partition === partition)) continue;
          const taken = heir.beat.partitions.map(slice =>
            slice.partition === partition ? { ...slice, epoch: epoch + 1 } : slice,
          );
          heir.beat = { ...heir.beat, partitions: taken };
          break;
        }
      }
      changed();
    },
    step(calls, { failing = false } = {}) {
      const living = (service: string) =>
        [...processes.values()].filter(
          ({ beat, verdict }) => (beat.service ?? beat.role) === service && verdict !== 'dead' && beat.ready,
        );
      for (const [from, to, method, share, ms] of links) {
        const callers = living(from);
        const answerers = living(to);
        if (callers.length === 0 || answerers.length === 0) continue;
        for (const { meter } of callers)
          for (const [index, strategy] of strategies.entries())
            meter
              .gauge(metricNames.balanceExpected, { service: to, strategy })
              .set(ms * (1 + ((index * 5) % 7) / 5) * (0.95 + 0.1 * random.next()));
        for (let i = 0; i < Math.round(calls * share * (0.85 + 0.3 * random.next())); i++) {
          const took = ms * (0.5 + random.next()) * (random.next() < 0.02 ? 6 : 1);
          const code = failing && to === 'payments' && random.next() < 0.1 ? 'DEADLINE_EXCEEDED' : 'ok';
          const attributes = { service: to, method, code };
          callers[random.below(callers.length)]!.meter.histogram(metricNames.call, attributes).record(took);
          answerers[i % answerers.length]!.meter.histogram(metricNames.server, { service: to, method }).record(
            took * 0.8,
          );
        }
      }
      for (const { meter } of living('notifications')) {
        const attributes = { topic: 'orders.placed', subscription: 'mail' };
        meter.counter(metricNames.topicHandled, attributes).add(Math.round(calls * 0.15));
        meter.gauge(metricNames.topicLag, attributes).set(random.below(12));
        if (failing && random.next() < 0.1) meter.counter(metricNames.topicDead, attributes).add(1);
      }
    },
  };
  if (!options.empty) fill(cluster, random);
  return cluster;
}

function fill(cluster: SampleCluster, random: Random): void {
  for (const name of ['gateway-1', 'gateway-2']) cluster.add(name, 'gateway');
  for (let n = 1; n <= 10; n++) {
    const partitions: PartitionBeat[] = [];
    for (let partition = 0; partition < partitionCount; partition++) {
      const rank = (partition * 7 + n) % 10;
      if (rank < 3)
        partitions.push({ partition, ready: true, epoch: rank === 0 ? 1 : 0, position: 4000 + partition * 31 });
    }
    cluster.add(`inventory-${n}`, 'instance', 'inventory', partitions);
  }
  for (const [service, instances] of Object.entries({
    orders: 3,
    payments: 2,
    catalogue: 2,
    recommendations: 1,
    notifications: 1,
  }))
    for (let n = 1; n <= instances; n++) {
      const partitions = Array.from({ length: 8 }, (_, partition) => ({
        partition,
        ready: true,
        epoch: partition % instances === n - 1 ? 1 : 0,
        position: 900 + partition,
      }));
      cluster.add(`${service}-${n}`, 'instance', service, service === 'orders' ? partitions : []);
    }
  for (const role of ['engine', 'monitor', 'supervisor', 'naming'] as const) cluster.add(`${role}-1`, role);
  random.next();
}

function openProcess(
  name: string,
  role: Role,
  service: string | undefined,
  partitions: readonly PartitionBeat[],
  random: Random,
): Process {
  const clock = systemClock;
  const meter = openMeter(clock);
  const records = openRecordRing();
  const tracer = openTracer({ random, clock, share: 0 });
  const logger = openLogger({ write() {}, clock, level: 'silent', onProblem: records.add });
  return {
    beat: {
      id: `${name}-${random.id().slice(0, 6)}`,
      role,
      service,
      node: 'laptop',
      zone: 'local',
      weight: 1,
      pid: 1000 + random.below(9000),
      address: `tcp://127.0.0.1:${4000 + random.below(999)}`,
      startedAt: clock.now() - 600_000,
      sequence: 1,
      sentAt: clock.now(),
      ready: true,
      draining: false,
      mainLoopSilentMs: 1,
      load: {
        inflight: random.below(6),
        cpu: 0.04 + random.next() * 0.2,
        memoryBytes: 58e6 + random.next() * 20e6,
        loopDelayMs: 1 + random.next() * 3,
      },
      descriptorHash: 'sample',
      partitions,
      entryFormat: 1,
    },
    verdict: 'alive',
    since: clock.monotonic() - 600_000,
    clockAheadMs: 0,
    meter,
    answer: metricsAnswer({ meter, tracer, records }),
    problem: (message, error) => logger.error(message, { error }),
    trace(spanName, error) {
      const span = tracer.start(spanName, 'server');
      tracer.start('payments.pay', 'client', span.traceparent).end(error);
      span.end(error);
    },
  };
}

function descriptorOf(service: string, keepsData: boolean): Descriptor {
  return {
    format: 1,
    service,
    hash: 'sample',
    methods: [],
    keyspace: keepsData ? { partitions: service === 'inventory' ? partitionCount : 8, replicas: 3 } : undefined,
    topics: [],
    subscriptions: [],
  };
}
