/**
 * A strict reader of the Prometheus text format, for what stands on the other side of an exposition: tests, and tools that
 * look at a running system's `/metrics`. It refuses what a Prometheus server would refuse or quietly misread.
 */
import { TandemError } from '../core/errors.ts';

export interface PrometheusSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}
export interface PrometheusFamily {
  readonly type: string;
  readonly help: string;
  readonly samples: PrometheusSample[];
}

const namePattern = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** @throws INVALID with the line number. */
export function parsePrometheus(text: string): Map<string, PrometheusFamily> {
  const families = new Map<string, { type: string; help: string; samples: PrometheusSample[] }>();
  const seen = new Set<string>();
  if (!text.endsWith('\n') && text !== '') throw new TandemError('INVALID', 'the last line has no line end');
  let current = '';
  for (const [index, line] of text.split('\n').entries()) {
    const fail = (why: string): never => {
      throw new TandemError('INVALID', `line ${index + 1}: ${why}: ${line.slice(0, 200)}`);
    };
    if (line === '') continue;
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment) {
      const [, word, name, rest] = comment as unknown as [string, string, string, string];
      if (!namePattern.test(name)) fail('not a metric name');
      if (word === 'HELP') {
        if (families.has(name)) fail('a family in two places');
        families.set(name, {
          type: '',
          help: rest.replace(/\\(.)/g, (_all, c) => (c === 'n' ? '\n' : c)),
          samples: [],
        });
      } else {
        const family = families.get(name) ?? fail('TYPE before HELP');
        if (family.type !== '') fail('a second TYPE');
        if (!/^(counter|gauge|histogram|summary|untyped)$/.test(rest)) fail('unknown type');
        family.type = rest;
      }
      current = name;
      continue;
    }
    if (line.startsWith('#')) continue;
    const sample = parseSample(line) ?? fail('not a sample');
    const family = families.get(current) ?? fail('a sample outside of a family');
    const suffix = family.type === 'histogram' ? '(_bucket|_sum|_count)' : '';
    if (!new RegExp(`^${current}${suffix}$`).test(sample.name)) fail(`a sample that is not of ${current}`);
    if (family.type === 'counter' && !sample.name.endsWith('_total')) fail('a counter without _total');
    const identity = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(identity)) fail('the same series twice');
    seen.add(identity);
    family.samples.push(sample);
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkHistogram(name, family.samples);
  return families;
}

function parseSample(line: string): PrometheusSample | undefined {
  const match =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\["\\n])*",?)*)\})? (\S+)( \d+)?$/.exec(
      line,
    );
  if (!match) return undefined;
  const labels: Record<string, string> = {};
  for (const [, name, raw] of (match[2] ?? '').matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"/g)) {
    if (Object.hasOwn(labels, name!)) return undefined;
    labels[name!] = raw!.replace(/\\(.)/g, (_all, c) => (c === 'n' ? '\n' : c));
  }
  const text = match[3]!;
  const value = text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
  if (Number.isNaN(value) && text !== 'NaN') return undefined;
  return { name: match[1]!, labels, value };
}

/** Buckets of one series must rise, end at +Inf, and +Inf must equal the count. */
function checkHistogram(name: string, samples: readonly PrometheusSample[]): void {
  const series = new Map<string, { le: number; value: number }[]>();
  const counts = new Map<string, number>();
  for (const { name: sampleName, labels, value } of samples) {
    const { le, ...rest } = labels;
    const key = JSON.stringify(Object.entries(rest).sort());
    if (sampleName === `${name}_count`) counts.set(key, value);
    if (sampleName !== `${name}_bucket`) continue;
    const buckets = series.get(key) ?? [];
    buckets.push({ le: le === '+Inf' ? Infinity : Number(le), value });
    series.set(key, buckets);
  }
  for (const [key, buckets] of series) {
    const rising = buckets.every((bucket, i) => {
      const before = buckets[i - 1];
      return before === undefined || (bucket.le > before.le && bucket.value >= before.value);
    });
    const last = buckets.at(-1)!;
    if (!rising || last.le !== Infinity || last.value !== counts.get(key))
      throw new TandemError('INVALID', `histogram ${name} ${key} is not cumulative`);
  }
}
