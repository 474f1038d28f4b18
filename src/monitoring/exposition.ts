/**
 * Prometheus text exposition, version 0.0.4. Names get underscores, counters end in `_total`, times are told in seconds and
 * sizes in bytes. Of the fine histogram buckets only the powers of two are shown: they are exact sums, and about twenty
 * per series is what a Prometheus server likes to keep. Format: prometheus.io/docs/instrumenting/exposition_formats.
 */
import type { Attributes } from '../core/meter.ts';
import { bucketOf } from './histogram.ts';
import type { HistogramPoint, MetricPoint } from './metric-point.ts';

export const expositionType = 'text/plain; version=0.0.4; charset=utf-8';

type Unit = 'seconds' | 'bytes' | undefined;

/** The last word of a name says its unit, as in OpenTelemetry: durations are recorded in ms and exposed in seconds. */
export function unitOf(name: string): Unit {
  const word = name.slice(name.lastIndexOf('.') + 1);
  if (/^(duration|delay|wait|latency|staleness|age)$/.test(word)) return 'seconds';
  if (/^(bytes|size|memory|rss)$/.test(word)) return 'bytes';
  return undefined;
}

/** `help` maps a dotted name to its sentence; names without one get a plain sentence. */
export function exposePrometheus(points: Iterable<MetricPoint>, help: Readonly<Record<string, string>> = {}): string {
  const families = new Map<string, { kind: MetricPoint['kind']; source: string; points: MetricPoint[] }>();
  for (const point of points) {
    const family = familyName(point);
    const known = families.get(family);
    if (known === undefined) families.set(family, { kind: point.kind, source: point.name, points: [point] });
    else if (known.kind === point.kind) known.points.push(point);
  }
  let text = '';
  for (const family of [...families.keys()].sort()) {
    const { kind, source, points: members } = families.get(family)!;
    text += `# HELP ${family} ${escapeHelp(help[source] ?? `${source} of Tandem.`)}\n# TYPE ${family} ${kind}\n`;
    const seen = new Set<string>();
    for (const point of members) {
      const labels = labelText(point.attributes);
      if (seen.has(labels)) continue;
      seen.add(labels);
      text += point.kind === 'histogram' ? histogramText(family, point) : sample(family, labels, scaled(point));
    }
  }
  return text;
}

function familyName(point: MetricPoint): string {
  let name = point.name.replace(/[^a-zA-Z0-9_]/g, '_').replace(/_+/g, '_');
  if (!/^[a-zA-Z_]/.test(name)) name = `_${name}`;
  name = name.replace(/_(total|bucket|sum|count)$/, (_all, end: string) => (end === 'total' ? '' : `_${end}s`));
  const unit = unitOf(point.name);
  if (unit && !name.endsWith(`_${unit}`)) name += `_${unit}`;
  return point.kind === 'counter' ? `${name}_total` : name;
}

function scaled(point: { readonly name: string; readonly value: number }): number {
  return unitOf(point.name) === 'seconds' ? point.value / 1000 : point.value;
}

const bounds: Readonly<Record<'seconds' | 'other', { from: number; to: number; step: number }>> = {
  seconds: { from: -4, to: 15, step: 1 },
  other: { from: 0, to: 30, step: 2 },
};

function histogramText(family: string, point: HistogramPoint): string {
  const seconds = unitOf(point.name) === 'seconds';
  const { from, to, step } = seconds ? bounds.seconds : bounds.other;
  let text = '';
  let below = 0;
  let next = 0;
  for (let octave = from; octave <= to; octave += step) {
    const bound = bucketOf(2 ** octave);
    while (next < point.buckets.length && point.buckets[next]![0] < bound) below += point.buckets[next++]![1];
    const le = seconds ? 2 ** octave / 1000 : 2 ** octave;
    text += sample(`${family}_bucket`, labelText({ ...point.attributes, le: String(le) }), below);
  }
  const labels = labelText(point.attributes);
  text += sample(`${family}_bucket`, labelText({ ...point.attributes, le: '+Inf' }), point.count);
  text += sample(`${family}_sum`, labels, seconds ? point.sum / 1000 : point.sum);
  return text + sample(`${family}_count`, labels, point.count);
}

function sample(name: string, labels: string, value: number): string {
  const text = Number.isNaN(value) ? 'NaN' : value === Infinity ? '+Inf' : value === -Infinity ? '-Inf' : String(value);
  return `${name}${labels} ${text}\n`;
}

function labelText(attributes: Attributes): string {
  const pairs: string[] = [];
  const used = new Set<string>();
  for (const [name, value] of Object.entries(attributes)) {
    let label = name.replace(/[^a-zA-Z0-9_]/g, '_');
    if (!/^[a-zA-Z_]/.test(label) || label.startsWith('__')) label = `x${label}`;
    if (used.has(label)) continue;
    used.add(label);
    pairs.push(`${label}="${escapeLabel(String(value))}"`);
  }
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

const escapeLabel = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
const escapeHelp = (value: string): string => value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
