/**
 * The monitor process: looks at every process once a second, keeps the picture, and shows it. It takes no part in the work: when
 * it is down, traffic goes on, and what it missed is a gap in its series.
 */
import type { BalanceForm, Strategy } from '../contract/balance.ts';
import { type Clock, every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import { type AlertState, type Observation, standingRules, stepAlerts } from '../monitoring/alerts.ts';
import { openAvailability } from '../monitoring/availability.ts';
import { exposePrometheus } from '../monitoring/exposition.ts';
import type { ReadableMeter } from '../monitoring/meter.ts';
import { countsAsFailure, metricHelp } from '../monitoring/metric-names.ts';
import type { MetricPoint } from '../monitoring/metric-point.ts';
import { metricsAnswer } from '../monitoring/metrics-answer.ts';
import { openMetricsStore } from '../monitoring/metrics-store.ts';
import type { RecordRing } from '../monitoring/record-ring.ts';
import type { Registry } from '../naming/registry.ts';
import { type Asker, openCollector, type Tick } from './monitor-collect.ts';
import { openDoor } from './monitor-door.ts';
import { openMonitorHttp } from './monitor-http.ts';
import type { Figures, History, MonitorState, ServiceState, StoryEvent } from './monitor-state.ts';
import { nameOf, openStory } from './monitor-story.ts';
import * as view from './monitor-view.ts';

export interface MonitorOptions {
  readonly registry: Registry;
  readonly caller: Asker;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: ReadableMeter;
  /** This process's id in the registry, so that it asks itself without a link. */
  readonly self?: string | undefined;
  readonly records?: RecordRing | undefined;
  /** Loopback unless told otherwise. */
  readonly host?: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** The first one-time token; without one the dashboard is open to all who reach the port. */
  readonly token?: string | undefined;
  readonly intervalMs?: number;
  readonly balance: MonitoredBalance;
}

/** How instances are picked, and the one thing that the dashboard may change. */
export interface MonitoredBalance {
  of(service: string): { readonly own: BalanceForm; readonly switched: Strategy | undefined };
  /** @throws TandemError, which is shown. */
  set(service: string, strategy: Strategy | undefined): Promise<void>;
}

export interface Monitor {
  /** The printable address, with the token that opens next. */
  readonly url: string;
  readonly port: number;
  state(): MonitorState;
  /** Adds a line to the failure story. */
  tell(tone: StoryEvent['tone'], subject: string, text: string): void;
  close(): Promise<void>;
}

const historySeconds = 120;

/** @throws CONFIG when the port is taken. */
export async function openMonitor(options: MonitorOptions): Promise<Monitor> {
  const { registry, clock, logger, meter, balance, host = '127.0.0.1', intervalMs = 1000 } = options;
  const answer = metricsAnswer({ meter, records: options.records });
  const own = options.self === undefined ? undefined : { id: options.self, answer };
  const collector = openCollector({ caller: options.caller, clock, own, answerTimeoutMs: intervalMs * 0.8 });
  const store = openMetricsStore({ stepMs: intervalMs });
  const availability = openAvailability();
  const story = openStory();
  const rules = standingRules();
  const startedAt = clock.now();
  let alerts: AlertState = new Map();
  let state: MonitorState;
  let json: string | undefined;

  const history = (series: string, nowMs: number): History => {
    const read = (figure: string) =>
      store.read(`${series} ${figure}`, nowMs, historySeconds).map(value => value ?? null);
    return { requests: read('requests'), errors: read('errors'), p50: read('p50'), p99: read('p99') };
  };
  const remember = (series: string, nowMs: number, figures: Figures, seconds: number): void => {
    const coversMs = Math.min(3 * intervalMs, seconds * 1000);
    store.record(`${series} requests`, nowMs, figures.requestsPerSecond, coversMs);
    store.record(`${series} errors`, nowMs, figures.errorsPerSecond, coversMs);
    if (figures.p50Ms !== null) store.record(`${series} p50`, nowMs, figures.p50Ms, coversMs);
    if (figures.p99Ms !== null) store.record(`${series} p99`, nowMs, figures.p99Ms, coversMs);
  };
  const absorb = (tick: Tick, nowMs: number): void => {
    const outside = tick.calls.filter(isOutside(tick.calls));
    remember('all', nowMs, view.figuresOf(outside, tick.seconds), tick.seconds);
    countAvailability('', outside, nowMs);
    for (const [service, calls] of view.grouped(tick.calls, point => point.attributes.service ?? '')) {
      remember(`service ${service}`, nowMs, view.figuresOf(calls, tick.seconds), tick.seconds);
      countAvailability(service, calls, nowMs);
    }
    // A service without a call in this second had none: a measured zero, as long as someone was asked.
    for (const service of registry.services())
      if (!tick.calls.some(point => point.attributes.service === service))
        remember(`service ${service}`, nowMs, view.figuresOf([], tick.seconds), tick.seconds);
  };
  const countAvailability = (service: string, calls: Tick['calls'], nowMs: number): void => {
    let requests = 0;
    let failed = 0;
    for (const { attributes, count } of calls) {
      requests += count;
      if (countsAsFailure(attributes.code)) failed += count;
    }
    availability.count(service, nowMs, requests, failed);
  };

  const build = (nowMs: number): MonitorState => {
    const members = registry.members();
    const { ticks } = collector;
    const window = view.windowOf(ticks);
    const processes = view.processStates(members, ticks, collector.answering, clock.monotonic());
    const names = new Set(registry.services());
    for (const { service } of processes) if (service) names.add(service);
    const services = [...names].sort().map((name): ServiceState => {
      const calls = window.calls.filter(point => point.attributes.service === name);
      const instances = processes.filter(({ service, role }) => service === name && role === 'instance');
      const degraded = ticks.reduce((sum, tick) => sum + (tick.degraded.get(name) ?? 0), 0);
      return {
        name,
        ...view.figuresOf(calls, window.seconds),
        instances: instances.filter(({ verdict }) => verdict !== 'dead').length,
        ready: instances.filter(({ ready, verdict }) => ready && verdict !== 'dead' && verdict !== 'stuck').length,
        degradedPerSecond: window.seconds > 0 ? degraded / window.seconds : 0,
        availability: availability.read(name, nowMs),
        methods: view
          .grouped(calls, point => point.attributes.method ?? '')
          .map(([method, of]) => ({ name: method, ...view.figuresOf(of, window.seconds) })),
        balance: view.balanceState(name, balance.of(name), collector.latest.values()),
        history: history(`service ${name}`, nowMs),
      };
    });
    const keyspaces = view.keyspaceStates(members, service => registry.descriptor(service));
    const topics = view.topicStates(collector.latest.values(), ticks);
    const observed: Observation = {
      processes: superseded(processes),
      services,
      partitionsWithoutWriter: keyspaces
        .filter(({ withoutWriter }) => withoutWriter > 0)
        .map(({ service, withoutWriter }) => ({ service, partitions: withoutWriter })),
      deadLetters: topics
        .filter(({ dead }) => dead > 0)
        .map(({ topic, subscription, dead }) => ({ topic, subscription, count: dead })),
      stoppedSubscriptions: topics
        .filter(({ stopped }) => stopped > 0)
        .map(({ topic, subscription, stopped }) => ({ topic, subscription, partitions: stopped })),
    };
    const step = stepAlerts(alerts, rules, observed, nowMs);
    alerts = step.state;
    for (const change of step.changes) {
      const firing = change.state === 'firing';
      story.tell(nowMs, firing ? 'bad' : 'good', 'alert', `${firing ? '' : 'resolved: '}${change.text}`);
      logger[firing ? 'warn' : 'info'](`alert ${change.state}`, {
        rule: change.rule,
        subject: change.subject,
        text: change.text,
      });
    }
    const listed = [...alerts.values()].sort(
      (a, b) => alertRank(a.state) - alertRank(b.state) || b.pendingAt - a.pendingAt,
    );
    const outside = window.calls.filter(isOutside(window.calls));
    return {
      format: 1,
      at: nowMs,
      monitorStartedAt: startedAt,
      status: view.statusOf(processes, listed, services),
      totals: {
        ...view.figuresOf(outside, window.seconds),
        availability: availability.read('', nowMs),
        history: history('all', nowMs),
      },
      services,
      processes,
      traffic: view
        .grouped(window.calls, point => `${point.attributes.from} ${point.attributes.service}`)
        .map(([, calls]) => ({
          from: calls[0]!.attributes.from || 'outside',
          to: calls[0]!.attributes.service!,
          ...view.figuresOf(calls, window.seconds),
        })),
      keyspaces,
      topics,
      alerts: listed.slice(0, 100),
      story: story.events.slice(0, 100),
      errors: collector.errors.list().slice(0, 50),
      traces: view.traceStates(collector.spans),
    };
  };

  const look = async (): Promise<void> => {
    try {
      const tick = await collector.look(registry.members());
      const nowMs = clock.now();
      story.observe(registry.members(), nowMs);
      absorb(tick, nowMs);
      state = build(nowMs);
      json = undefined;
      http.push();
    } catch (error) {
      logger.error('the monitor could not look', { error });
    }
  };
  const metrics = (): string => exposePrometheus(labelled(registry, collector.latest), metricHelp);

  state = build(clock.now());
  const door = openDoor(options.random, options.token, () =>
    logger.info('dashboard opened; the next address', { url: url() }),
  );
  const http = await openMonitorHttp({
    host,
    port: options.port,
    door,
    state: () => (json ??= JSON.stringify(state)),
    metrics,
    switchStrategy: async (service, strategy) => {
      if (!registry.services().includes(service))
        throw new TandemError('NOT_FOUND', `there is no service '${service}'`);
      await balance.set(service, strategy);
      story.tell(
        clock.now(),
        'neutral',
        service,
        strategy === undefined ? 'is balanced as it says itself again' : `is balanced by ${strategy} from now on`,
      );
      await look();
    },
  });
  const url = (): string => {
    const name = host.includes(':') ? `[${host}]` : host === '0.0.0.0' ? '127.0.0.1' : host;
    return `http://${name}:${http.port}/${door.token === undefined ? '' : `?token=${door.token}`}`;
  };
  await look();
  const timer = every(clock, intervalMs, look);
  return {
    get url() {
      return url();
    },
    port: http.port,
    state: () => state,
    tell: (tone, subject, text) => story.tell(clock.now(), tone, subject, text),
    async close() {
      timer.cancel();
      await http.close();
    },
  };
}

/** What users see is what gateways call; without a gateway (a test, dev) every call counts. */
function isOutside(calls: Tick['calls']): (point: Tick['calls'][number]) => boolean {
  const viaGateway = calls.some(point => point.attributes.from === 'gateway');
  return point => !viaGateway || point.attributes.from === 'gateway';
}

/** A dead process whose name lives on in a new one has been recovered: nothing to alert about. */
function superseded(processes: MonitorState['processes']): MonitorState['processes'] {
  const living = new Set(processes.filter(({ verdict }) => verdict !== 'dead').map(({ name }) => name));
  return processes.filter(({ verdict, name }) => verdict !== 'dead' || !living.has(name));
}

const alertRank = (state: string): number => ['firing', 'pending', 'resolved'].indexOf(state);

/** All processes' series, each with the process that it is of, and what heartbeats say of all of them. */
function* labelled(registry: Registry, latest: ReadonlyMap<string, readonly MetricPoint[]>): Generator<MetricPoint> {
  for (const { beat, verdict } of registry.members()) {
    const { id, role, service = role, load } = beat;
    const identity = { process: id, role };
    const gauge = (name: string, value: number): MetricPoint => ({
      kind: 'gauge',
      name,
      attributes: { service, instance: nameOf(id), ...identity },
      value,
    });
    yield gauge('tandem.member.up', verdict === 'dead' ? 0 : 1);
    yield gauge('tandem.member.ready', beat.ready && verdict !== 'dead' ? 1 : 0);
    if (verdict === 'dead') continue;
    yield gauge('tandem.member.cpu', load.cpu);
    yield gauge('tandem.member.memory', load.memoryBytes);
    yield gauge('tandem.member.loop.delay', load.loopDelayMs);
    yield gauge('tandem.member.inflight', load.inflight);
    for (const point of latest.get(id) ?? [])
      yield { ...point, attributes: { service, instance: nameOf(id), ...point.attributes, ...identity } };
  }
}
