/**
 * Once a second the monitor asks every living process for its metrics (`$metrics`, over the link) and keeps what happened in
 * the last ten looks. One that does not answer in time costs nothing but its own figures.
 */
import type { Reply, SendOptions } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import type { Member } from '../failure-detection/beat.ts';
import { openDeltas } from '../monitoring/deltas.ts';
import { openErrorGroups } from '../monitoring/error-groups.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import { type HistogramPoint, type MetricPoint, mergePoints } from '../monitoring/metric-point.ts';
import type { MetricsAnswer, MetricsQuestion } from '../monitoring/metrics-answer.ts';
import type { SpanRecord } from '../monitoring/tracer.ts';

/** What the monitor needs of a caller: one direct try at one process. */
export interface Asker {
  send(member: Member, method: string, body: unknown, options: SendOptions): Promise<Reply>;
}

/** What happened between two looks. */
export interface Tick {
  readonly seconds: number;
  /** Calls as their callers saw them; attributes from, service, method, code. */
  readonly calls: readonly HistogramPoint[];
  /** Calls handled, by process id. */
  readonly served: ReadonlyMap<string, number>;
  /** Degraded answers, by service. */
  readonly degraded: ReadonlyMap<string, number>;
  /** Events handled; attributes topic, subscription. */
  readonly handled: readonly MetricPoint[];
}

export interface SeenSpan extends SpanRecord {
  readonly service: string;
}

export interface Collector {
  /** Asks all and resolves when all have answered or the time is up. */
  look(members: readonly Member[]): Promise<Tick>;
  /** Newest last. */
  readonly ticks: readonly Tick[];
  /** The last answer of each living process, by process id. */
  readonly latest: ReadonlyMap<string, readonly MetricPoint[]>;
  readonly answering: ReadonlySet<string>;
  readonly errors: ReturnType<typeof openErrorGroups>;
  readonly spans: readonly SeenSpan[];
}

export interface CollectorOptions {
  readonly caller: Asker;
  readonly clock: Clock;
  /** The monitor's own answer, and its process id. */
  readonly own?: { readonly id: string; readonly answer: (question: MetricsQuestion) => MetricsAnswer } | undefined;
  readonly answerTimeoutMs?: number;
}

const windowTicks = 10;
const askedAtOnce = 64;
const spansMax = 2000;

export function openCollector({ caller, clock, own, answerTimeoutMs = 800 }: CollectorOptions): Collector {
  const deltas = openDeltas();
  const latest = new Map<string, readonly MetricPoint[]>();
  const answering = new Set<string>();
  const errors = openErrorGroups();
  const seen = new Map<string, { spansAfter: number; errorsAfter: number }>();
  const ticks: Tick[] = [];
  const spans: SeenSpan[] = [];
  let lookedAt = clock.monotonic();

  const ask = async (member: Member): Promise<[Member, MetricPoint[]] | undefined> => {
    const { id } = member.beat;
    const question = seen.get(id) ?? { spansAfter: 0, errorsAfter: 0 };
    try {
      const deadline = clock.monotonic() + answerTimeoutMs;
      const answer =
        own?.id === id
          ? own.answer(question)
          : ((await caller.send(member, '$metrics', question, { deadline, priority: 'optional' }))
              .body as MetricsAnswer);
      const points = Array.isArray(answer?.points) ? answer.points : [];
      const from = member.beat.service ?? member.beat.role;
      for (const span of answer.spans ?? []) spans.push({ ...span, service: from });
      if (spans.length > spansMax) spans.splice(0, spans.length - spansMax);
      for (const record of answer.errors ?? []) errors.add(from, id, record);
      seen.set(id, {
        spansAfter: answer.spans?.at(-1)?.sequence ?? question.spansAfter,
        errorsAfter: answer.errors?.at(-1)?.sequence ?? question.errorsAfter,
      });
      latest.set(id, points);
      answering.add(id);
      return [member, deltas.take(id, points)];
    } catch {
      answering.delete(id);
      return undefined;
    }
  };

  return {
    ticks,
    latest,
    answering,
    errors,
    spans,
    async look(members) {
      const asked = members.filter(member => member.verdict !== 'dead');
      const known = new Set(asked.map(member => member.beat.id));
      for (const id of latest.keys()) {
        if (known.has(id)) continue;
        latest.delete(id);
        answering.delete(id);
        seen.delete(id);
        deltas.forget(id);
      }
      const answers: ([Member, MetricPoint[]] | undefined)[] = [];
      for (let at = 0; at < asked.length; at += askedAtOnce)
        answers.push(...(await Promise.all(asked.slice(at, at + askedAtOnce).map(ask))));
      const now = clock.monotonic();
      const tick = gather(answers, Math.max(0.001, (now - lookedAt) / 1000));
      lookedAt = now;
      ticks.push(tick);
      if (ticks.length > windowTicks) ticks.shift();
      return tick;
    },
  };
}

function gather(answers: readonly ([Member, MetricPoint[]] | undefined)[], seconds: number): Tick {
  const calls: HistogramPoint[] = [];
  const handling: HistogramPoint[] = [];
  const handled: MetricPoint[] = [];
  const served = new Map<string, number>();
  const degraded = new Map<string, number>();
  for (const answer of answers) {
    if (answer === undefined) continue;
    const [{ beat }, points] = answer;
    const from = beat.service ?? beat.role;
    for (const point of points) {
      const { service = '', method = '', code = 'ok' } = point.attributes;
      if (point.kind === 'histogram' && point.count > 0) {
        const attributes = { from, service, method, code };
        if (point.name === metricNames.call) calls.push({ ...point, attributes });
        if (point.name === metricNames.server) {
          handling.push({ ...point, attributes: { from: '', service, method, code: 'ok' } });
          served.set(beat.id, (served.get(beat.id) ?? 0) + point.count);
        }
      } else if (point.kind === 'counter' && point.value > 0) {
        if (point.name === metricNames.degraded) degraded.set(service, (degraded.get(service) ?? 0) + point.value);
        if (point.name === metricNames.serverErrors)
          handling.push(...asFailed(point.value, { from: '', service, method, code }));
        if (point.name === metricNames.topicHandled) handled.push(point);
      }
    }
  }
  // A service whose callers are not Tandem processes (a test, another program) is seen through its own eyes.
  const called = new Set(calls.map(point => point.attributes.service));
  const unseen = handling.filter(point => !called.has(point.attributes.service));
  return {
    seconds,
    calls: mergePoints([...calls, ...unseen]) as HistogramPoint[],
    served,
    degraded,
    handled: mergePoints(handled),
  };
}

/** Moves calls from `ok`, where the histogram of all calls has them, to their code. Adds up with it by merging. */
function asFailed(count: number, attributes: HistogramPoint['attributes']): HistogramPoint[] {
  const moved = (by: number, code: string): HistogramPoint => ({
    kind: 'histogram',
    name: metricNames.server,
    attributes: { ...attributes, code },
    count: by,
    sum: 0,
    max: 0,
    buckets: [],
  });
  return [moved(-count, 'ok'), moved(count, attributes.code ?? 'INTERNAL')];
}
