/** Builds the state of the system from what was heard and collected. Pure: the same input gives the same picture. */
import { type BalanceForm, type Strategy, strategies } from '../contract/balance.ts';
import type { Descriptor } from '../contract/descriptor.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Alert } from '../monitoring/alerts.ts';
import { countsAsFailure, metricNames } from '../monitoring/metric-names.ts';
import { type HistogramPoint, type MetricPoint, mergePoints, quantile } from '../monitoring/metric-point.ts';
import { livingNumbers, newestMap, steadyMap } from '../partitioning/partition-map.ts';
import type { SeenSpan, Tick } from './monitor-collect.ts';
import type {
  BalanceState,
  Figures,
  KeyspaceState,
  MonitorState,
  PartitionState,
  ProcessState,
  ReplicaState,
  TopicState,
  TraceState,
} from './monitor-state.ts';
import { nameOf } from './monitor-story.ts';

/** Calls of the window, and how long it is. */
export interface Window {
  readonly seconds: number;
  readonly calls: readonly HistogramPoint[];
}

export function windowOf(ticks: readonly Tick[]): Window {
  const seconds = ticks.reduce((sum, tick) => sum + tick.seconds, 0);
  return { seconds, calls: mergePoints(ticks.flatMap(tick => tick.calls)) as HistogramPoint[] };
}

export function figuresOf(calls: readonly HistogramPoint[], seconds: number): Figures {
  let requests = 0;
  let failed = 0;
  for (const { attributes, count } of calls) {
    requests += count;
    if (countsAsFailure(attributes.code)) failed += count;
  }
  const [all] = mergePoints(calls.map(point => ({ ...point, attributes: {} }))) as HistogramPoint[];
  return {
    requestsPerSecond: seconds > 0 ? requests / seconds : 0,
    errorsPerSecond: seconds > 0 ? failed / seconds : 0,
    errorShare: requests > 0 ? failed / requests : 0,
    p50Ms: (all && quantile(all, 0.5)) ?? null,
    p99Ms: (all && quantile(all, 0.99)) ?? null,
  };
}

/** Groups calls by one or two attributes, in alphabetical order. */
export function grouped(
  calls: readonly HistogramPoint[],
  by: (point: HistogramPoint) => string,
): [string, HistogramPoint[]][] {
  const groups = new Map<string, HistogramPoint[]>();
  for (const point of calls) {
    const key = by(point);
    const group = groups.get(key);
    if (group) group.push(point);
    else groups.set(key, [point]);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
}

export function processStates(
  members: readonly Member[],
  ticks: readonly Tick[],
  answering: ReadonlySet<string>,
  monotonicMs: number,
): ProcessState[] {
  const seconds = ticks.reduce((sum, tick) => sum + tick.seconds, 0);
  const served = new Map<string, number>();
  for (const tick of ticks) for (const [id, count] of tick.served) served.set(id, (served.get(id) ?? 0) + count);
  const ofService = new Map<string, number>();
  for (const { beat } of members)
    if (beat.service) ofService.set(beat.service, (ofService.get(beat.service) ?? 0) + (served.get(beat.id) ?? 0));
  const states = members.map(({ beat, verdict, since }): ProcessState => {
    const count = verdict === 'dead' ? 0 : (served.get(beat.id) ?? 0);
    const all = beat.service ? (ofService.get(beat.service) ?? 0) : 0;
    return {
      id: beat.id,
      name: nameOf(beat.id),
      role: beat.role,
      service: beat.service ?? null,
      verdict,
      verdictMs: Math.max(0, Math.round(monotonicMs - since)),
      ready: beat.ready && verdict !== 'dead',
      draining: beat.draining,
      cpu: beat.load.cpu,
      memoryBytes: beat.load.memoryBytes,
      loopDelayMs: beat.load.loopDelayMs,
      inflight: beat.load.inflight,
      requestsPerSecond: seconds > 0 ? count / seconds : 0,
      share: all > 0 ? count / all : 0,
      partitionsWritten: beat.partitions.filter(({ epoch }) => epoch > 0).length,
      partitionsHeld: beat.partitions.length,
      pid: beat.pid,
      node: beat.node,
      zone: beat.zone,
      address: beat.address,
      startedAt: beat.startedAt,
      answers: answering.has(beat.id),
    };
  });
  return states.sort((a, b) => roleRank(a.role) - roleRank(b.role) || natural(a.name, b.name) || natural(a.id, b.id));
}

const roles = ['gateway', 'instance', 'engine', 'monitor', 'supervisor', 'naming'];
const roleRank = (role: string): number => (roles.indexOf(role) + roles.length + 1) % (roles.length + 1);
const collator = new Intl.Collator('en', { numeric: true });
const natural = (a: string, b: string): number => collator.compare(a, b);

export function keyspaceStates(
  members: readonly Member[],
  descriptorOf: (service: string) => Descriptor | undefined,
): KeyspaceState[] {
  const services = new Set<string>();
  for (const { beat } of members) if (beat.service && beat.partitions.length > 0) services.add(beat.service);
  return [...services].sort(natural).map(service => {
    const keyspace = descriptorOf(service)?.keyspace;
    const holders = members.filter(({ beat }) => beat.service === service);
    const map = newestMap(holders.map(({ beat }) => beat.map));
    // Without a map all that is held counts; with one, neither what is divided nor what is still to come.
    const held = map ? [] : holders.flatMap(({ beat }) => beat.partitions.map(({ partition }) => partition));
    const numbers = new Set([...held, ...livingNumbers(map ?? steadyMap(keyspace?.partitions ?? 0))]);
    const partitions = [...numbers].sort((a, b) => a - b).map(partition => partitionState(partition, holders));
    const most = partitions.reduce((max, { replicas }) => Math.max(max, replicas.length), 1);
    return {
      service,
      replicasWanted: keyspace?.replicas ?? most,
      withoutWriter: partitions.filter(({ writer }) => writer === null).length,
      partitions,
    };
  });
}

function partitionState(partition: number, holders: readonly Member[]): PartitionState {
  const held = holders.flatMap(({ beat, verdict }) =>
    beat.partitions.filter(slice => slice.partition === partition).map(slice => ({ beat, verdict, slice })),
  );
  const living = held.filter(({ verdict }) => verdict !== 'dead');
  const position = held.reduce((max, { slice }) => Math.max(max, slice.position), 0);
  const epoch = living.reduce((max, { slice }) => Math.max(max, slice.epoch), 0);
  const writer = epoch === 0 ? undefined : living.find(({ slice }) => slice.epoch === epoch);
  const replicas = held.map((replica): ReplicaState => {
    const { beat, verdict, slice } = replica;
    const role =
      verdict === 'dead' ? 'lost' : replica === writer ? 'writer' : slice.ready ? ('ready' as const) : 'behind';
    return { process: beat.id, name: nameOf(beat.id), role, position: slice.position, lag: position - slice.position };
  });
  const rank = { writer: 0, ready: 1, behind: 2, lost: 3 };
  replicas.sort((a, b) => rank[a.role] - rank[b.role] || natural(a.name, b.name));
  return { partition, position, writer: writer?.beat.id ?? null, replicas };
}

export function topicStates(latest: Iterable<readonly MetricPoint[]>, ticks: readonly Tick[]): TopicState[] {
  const rows = new Map<
    string,
    { topic: string; subscription: string; lag: number; dead: number; stopped: number; handled: number }
  >();
  const row = ({ topic = '', subscription = '' }: MetricPoint['attributes']) => {
    const key = `${topic} ${subscription}`;
    const known = rows.get(key) ?? { topic, subscription, lag: 0, dead: 0, stopped: 0, handled: 0 };
    rows.set(key, known);
    return known;
  };
  for (const points of latest) {
    for (const point of points) {
      if (point.kind === 'histogram') continue;
      if (point.name === metricNames.topicLag) row(point.attributes).lag += point.value;
      if (point.name === metricNames.topicDead) row(point.attributes).dead += point.value;
      if (point.name === metricNames.topicStopped) row(point.attributes).stopped += point.value;
    }
  }
  for (const tick of ticks)
    for (const point of tick.handled) if (point.kind === 'counter') row(point.attributes).handled += point.value;
  const seconds = ticks.reduce((sum, tick) => sum + tick.seconds, 0);
  return [...rows.values()]
    .sort((a, b) => natural(a.topic, b.topic) || natural(a.subscription, b.subscription))
    .map(({ handled, ...rest }) => ({ ...rest, handledPerSecond: seconds > 0 ? handled / seconds : 0 }));
}

/** How a service's instances are picked, and how the other strategies would do: the mean of what its callers say. */
export function balanceState(
  service: string,
  { own, switched }: { readonly own: BalanceForm; readonly switched: Strategy | undefined },
  latest: Iterable<readonly MetricPoint[]>,
): BalanceState {
  const said = new Map<string, number[]>();
  let waiting = 0;
  for (const points of latest) {
    for (const point of points) {
      if (point.kind === 'histogram' || point.attributes.service !== service) continue;
      if (point.name === metricNames.balanceWaiting) waiting += point.value;
      if (point.name !== metricNames.balanceExpected) continue;
      const { strategy = '' } = point.attributes;
      said.set(strategy, [...(said.get(strategy) ?? []), point.value]);
    }
  }
  const expected = strategies.flatMap(strategy => {
    const values = said.get(strategy) ?? [];
    return values.length === 0 ? [] : [{ strategy, ms: values.reduce((sum, value) => sum + value, 0) / values.length }];
  });
  const { strategy, rules } = own;
  return {
    strategy: switched ?? strategy,
    own: strategy,
    switched: switched !== undefined,
    ruled: switched === undefined && rules.length > 0,
    expected,
    waiting,
  };
}

/** The latest traces that are worth a look: those that failed, then the slowest. */
export function traceStates(spans: readonly SeenSpan[], wanted = 12): TraceState[] {
  const traces = new Map<string, SeenSpan[]>();
  for (const span of spans) {
    const trace = traces.get(span.traceId);
    if (trace) trace.push(span);
    else traces.set(span.traceId, [span]);
  }
  const told = [...traces].slice(-200).map(([traceId, members]): TraceState => {
    const known = new Set(members.map(span => span.spanId));
    const root = members.find(span => span.parentId === undefined || !known.has(span.parentId)) ?? members[0]!;
    const startedAt = Math.min(...members.map(span => span.startedAt));
    return {
      traceId,
      name: root.name,
      startedAt,
      durationMs: Math.max(...members.map(span => span.startedAt + span.durationMs)) - startedAt,
      spans: members.length,
      services: [...new Set(members.map(span => span.service))].sort(natural),
      error: members.find(span => span.error !== undefined)?.error ?? null,
    };
  });
  const rank = (trace: TraceState): number => (trace.error === null ? 0 : 1e9) + trace.durationMs;
  return told.sort((a, b) => rank(b) - rank(a)).slice(0, wanted);
}

/** One sentence that says how the system is. */
export function statusOf(
  processes: readonly ProcessState[],
  alerts: readonly Alert[],
  services: readonly { readonly name: string; readonly ready: number }[],
): MonitorState['status'] {
  const firing = alerts.filter(alert => alert.state === 'firing');
  const down = services.filter(service => service.ready === 0);
  if (services.length === 0)
    return { level: 'starting', text: processes.length <= 1 ? 'Nothing runs yet' : 'No service has said hello yet' };
  const engineLost = firing.some(alert => alert.rule === 'engine unreachable');
  if (engineLost) return { level: 'down', text: 'The engine does not answer: nothing can be written' };
  if (down.length > 0) return { level: 'down', text: `Not available: ${down.map(({ name }) => name).join(', ')}` };
  if (firing.length > 0) {
    const first = firing.find(alert => alert.severity === 'page') ?? firing[0]!;
    const more = firing.length > 1 ? `, and ${firing.length - 1} more` : '';
    return { level: 'degraded', text: `${first.text}${more}` };
  }
  return { level: 'ok', text: 'All services are running' };
}
