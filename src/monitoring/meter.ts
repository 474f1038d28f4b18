/**
 * The instruments of one process. A handle is an object with a number in it: `add`, `set` and `record` touch only that,
 * so they may stand on the hottest path. Looking (`snapshot`) costs time in proportion to the series, once a second.
 */
import type { Clock } from '../core/clock.ts';
import type { Attributes, Counter, Gauge, Histogram, Meter } from '../core/meter.ts';
import { LogLinearHistogram } from './histogram.ts';
import { type MetricPoint, seriesKey } from './metric-point.ts';

export interface ReadableMeter extends Meter {
  snapshot(): MetricPoint[];
}

/** Series of one process. Beyond it new ones are counted (`tandem.meter.refused`) and not kept: attributes must be few. */
const seriesMax = 8192;

interface Series {
  readonly name: string;
  readonly attributes: Attributes;
}

class CounterSeries implements Series, Counter {
  readonly name: string;
  readonly attributes: Attributes;
  value = 0;
  constructor(name: string, attributes: Attributes) {
    this.name = name;
    this.attributes = attributes;
  }
  add(value: number): void {
    if (value > 0) this.value += value;
  }
}

class GaugeSeries implements Series, Gauge {
  readonly name: string;
  readonly attributes: Attributes;
  value = 0;
  constructor(name: string, attributes: Attributes) {
    this.name = name;
    this.attributes = attributes;
  }
  set(value: number): void {
    this.value = value;
  }
}

class HistogramSeries extends LogLinearHistogram implements Series {
  readonly name: string;
  readonly attributes: Attributes;
  constructor(name: string, attributes: Attributes) {
    super();
    this.name = name;
    this.attributes = attributes;
  }
}

const none: Attributes = Object.freeze({});

/** The same name and attributes give the same handle. `clock` stamps the start, exposed as `tandem.process.start`. */
export function openMeter(clock: Clock): ReadableMeter {
  const counters = new Map<string, CounterSeries>();
  const gauges = new Map<string, GaugeSeries>();
  const histograms = new Map<string, HistogramSeries>();
  const observed = new Map<string, Series & { readonly read: () => number }>();
  const startedAt = clock.now() / 1000;
  let refused = 0;

  const handle = <S extends Series>(
    kept: Map<string, S>,
    make: new (name: string, attributes: Attributes) => S,
    name: string,
    attributes: Attributes,
  ): S => {
    const key = seriesKey(name, attributes);
    const known = kept.get(key);
    if (known) return known;
    const made = new make(name, Object.freeze({ ...attributes }));
    if (kept.size >= seriesMax) refused += 1;
    else kept.set(key, made);
    return made;
  };

  return {
    counter: (name, attributes = none) => handle(counters, CounterSeries, name, attributes),
    gauge: (name, attributes = none) => handle(gauges, GaugeSeries, name, attributes),
    histogram: (name, attributes = none): Histogram => handle(histograms, HistogramSeries, name, attributes),
    observe(name, read, attributes = none) {
      const key = seriesKey(name, attributes);
      if (observed.size >= seriesMax && !observed.has(key)) refused += 1;
      else observed.set(key, { name, attributes: { ...attributes }, read });
    },
    snapshot() {
      const points: MetricPoint[] = [];
      for (const { name, attributes, value } of counters.values())
        points.push({ kind: 'counter', name, attributes, value });
      for (const { name, attributes, value } of gauges.values())
        points.push({ kind: 'gauge', name, attributes, value });
      for (const { name, attributes, read } of observed.values()) {
        const value = readSafely(read);
        if (value !== undefined) points.push({ kind: 'gauge', name, attributes, value });
      }
      for (const series of histograms.values()) {
        const { name, attributes, count, sum, max } = series;
        points.push({ kind: 'histogram', name, attributes, count, sum, max, buckets: series.sparse() });
      }
      points.push({ kind: 'gauge', name: 'tandem.process.start', attributes: none, value: startedAt });
      if (refused > 0) points.push({ kind: 'counter', name: 'tandem.meter.refused', attributes: none, value: refused });
      return points;
    },
  };
}

/** A reader that fails costs its own series, not the whole picture. */
function readSafely(read: () => number): number | undefined {
  try {
    const value = read();
    return Number.isFinite(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
