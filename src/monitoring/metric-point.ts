/** One measured series at one moment, plain enough for msgpack and JSON; sums of many processes; quantiles. */
import type { Attributes } from '../core/meter.ts';
import { bucketMiddle } from './histogram.ts';

export interface NumberPoint {
  /** A counter only grows in the life of a process; a gauge is a reading. */
  readonly kind: 'counter' | 'gauge';
  readonly name: string;
  readonly attributes: Attributes;
  readonly value: number;
}
export interface HistogramPoint {
  readonly kind: 'histogram';
  readonly name: string;
  readonly attributes: Attributes;
  readonly count: number;
  readonly sum: number;
  readonly max: number;
  /** Sparse and ascending; indices as in histogram.ts. Cumulative over the life of the process, as counters are. */
  readonly buckets: readonly (readonly [index: number, count: number])[];
}
export type MetricPoint = NumberPoint | HistogramPoint;

/** Identity of a series: its name and its attributes in a fixed order. */
export function seriesKey(name: string, attributes: Attributes): string {
  let key = name;
  for (const attribute of Object.keys(attributes).sort()) key += `\u0000${attribute}\u0001${attributes[attribute]}`;
  return key;
}

/** Adds up points of equal name and attributes (counters, histograms and gauges alike), in order of first sight. */
export function mergePoints(points: Iterable<MetricPoint>): MetricPoint[] {
  const merged = new Map<string, MetricPoint>();
  for (const point of points) {
    const key = seriesKey(`${point.kind} ${point.name}`, point.attributes);
    const before = merged.get(key);
    merged.set(key, before === undefined ? point : addTwo(before, point));
  }
  return [...merged.values()];
}

function addTwo(a: MetricPoint, b: MetricPoint): MetricPoint {
  if (a.kind === 'histogram' && b.kind === 'histogram') {
    return {
      ...a,
      count: a.count + b.count,
      sum: a.sum + b.sum,
      max: Math.max(a.max, b.max),
      buckets: combine(a.buckets, b.buckets, 1),
    };
  }
  if (a.kind !== 'histogram' && b.kind !== 'histogram') return { ...a, value: a.value + b.value };
  return a;
}

/**
 * What was recorded between two snapshots of one process. A counter that went down says that the process is a new one,
 * so all of its count is new. The maximum of an interval is not known; the highest filled bucket stands for it.
 */
export function histogramSince(now: HistogramPoint, before: HistogramPoint | undefined): HistogramPoint {
  if (before === undefined || now.count < before.count) return now;
  const buckets = combine(now.buckets, before.buckets, -1);
  const last = buckets.at(-1);
  return {
    ...now,
    count: now.count - before.count,
    sum: now.sum - before.sum,
    max: last ? Math.min(now.max, bucketMiddle(last[0] + 1)) : 0,
    buckets,
  };
}

function combine(
  a: HistogramPoint['buckets'],
  b: HistogramPoint['buckets'],
  sign: 1 | -1,
): (readonly [number, number])[] {
  const combined: [number, number][] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const left = a[i]?.[0] ?? Number.POSITIVE_INFINITY;
    const right = b[j]?.[0] ?? Number.POSITIVE_INFINITY;
    const index = Math.min(left, right);
    let count = 0;
    if (left === index) count += a[i++]![1];
    if (right === index) count += sign * b[j++]![1];
    if (count > 0) combined.push([index, count]);
  }
  return combined;
}

/** The value below which `share` (0..1) of the records lie, within 3.2 %; undefined when nothing was recorded. */
export function quantile(point: Pick<HistogramPoint, 'count' | 'max' | 'buckets'>, share: number): number | undefined {
  if (point.count <= 0) return undefined;
  const rank = Math.max(1, Math.ceil(Math.min(1, Math.max(0, share)) * point.count));
  let seen = 0;
  for (const [index, count] of point.buckets) {
    seen += count;
    if (seen >= rank) return Math.min(bucketMiddle(index), point.max || bucketMiddle(index));
  }
  return point.max;
}
