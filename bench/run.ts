/**
 * Runs a bench: `npm run bench -- <name> [--json] [--rounds N]`. Ours and its peers run side by side in one call, in alternating rounds,
 * each measurement in fresh processes, and the median counts: only ratios of such neighbours say anything on a shared
 * machine. A peer that is not installed is named and left out.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

export interface Bench {
  /** The subjects that ratios are of. */
  readonly ours: readonly string[];
  readonly rounds: number;
  /** How many calls are in flight, or whatever the load of this bench is. */
  readonly loads: readonly number[];
  /** Operations per second of each subject at a load. A subject throws ERR_MODULE_NOT_FOUND when its package is missing. */
  readonly subjects: Readonly<Record<string, (load: number) => Promise<number | Figures>>>;
}

/** Several figures of one measurement, each with its name: what is compared is the same name of another subject. */
export type Figures = Readonly<Record<string, number>>;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, child: { type: 'boolean' }, rounds: { type: 'string' } },
});
const [name, subject, load] = positionals;
if (!name || !/^[a-z-]+$/.test(name)) {
  console.error('usage: npm run bench -- <name> [--json] [--rounds N]');
  process.exit(2);
}
const { bench, measure } = (await import(`./${name}.ts`)) as {
  bench: Bench;
  /** A bench without peers measures by itself. */
  measure?: (say: (line: string) => void) => Promise<{ ratios: object; raw: object }>;
};
if (measure) {
  const result = await measure(line => values.json || console.log(line));
  if (values.json) console.log(JSON.stringify({ bench: name, ...result }));
  else for (const [key, ratio] of Object.entries(result.ratios)) console.log(`${key}  ${ratio}x`);
  process.exit(0);
}
if (values.child) {
  const result = await bench.subjects[subject!]!(Number(load)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  });
  console.log(JSON.stringify({ result: result ?? null }));
  process.exit(0);
}

const run = promisify(execFile);
const rounds = Number(values.rounds ?? bench.rounds);
const missing = new Set<string>();
/** By `subject@load`, or `subject.figure@load`. */
const raw: Record<string, number[]> = {};
const names = Object.keys(bench.subjects);
for (const at of bench.loads) {
  for (let round = 0; round < rounds; round++) {
    // Every other round backwards, so that a drift of the machine favours nobody.
    for (const each of round % 2 === 0 ? names : names.toReversed()) {
      if (missing.has(each)) continue;
      const file = fileURLToPath(import.meta.url);
      const argv = [...process.execArgv, file, '--child', name, each, String(at)];
      const { stdout } = await run(process.execPath, argv, { timeout: 300_000 });
      const { result } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { result: number | Figures | null };
      if (result === null) {
        missing.add(each);
        if (!values.json) console.log(`${each}: not installed, left out`);
        continue;
      }
      const figures = typeof result === 'number' ? { '': result } : result;
      for (const [figure, value] of Object.entries(figures)) note(round, `${keyOf(each, figure)}@${at}`, value);
    }
  }
}

const ratios: Record<string, number> = {};
for (const at of bench.loads) {
  for (const mine of bench.ours) {
    for (const each of names) {
      if (bench.ours.includes(each)) continue;
      for (const figure of figuresOf(mine, at)) {
        const ours = raw[`${keyOf(mine, figure)}@${at}`];
        const theirs = raw[`${keyOf(each, figure)}@${at}`];
        if (!ours || !theirs) continue;
        const key = `${keyOf(mine, figure)}/${keyOf(each, figure)}@${at}`;
        ratios[key] = Number((median(ours) / median(theirs)).toFixed(2));
      }
    }
  }
}
const medians = Object.fromEntries(Object.entries(raw).map(([key, all]) => [key, median(all)]));
if (values.json) console.log(JSON.stringify({ bench: name, missing: [...missing], ratios, medians, raw }));
else {
  for (const [key, value] of Object.entries(medians)) console.log(`${key}  ${value.toLocaleString('en')}`);
  for (const [key, ratio] of Object.entries(ratios)) console.log(`${key}  ${ratio}x`);
}
// A server that does not end at once must not keep this process.
process.exit(0);

function note(round: number, key: string, value: number): void {
  const rounded = value >= 100 ? Math.round(value) : Number(value.toPrecision(3));
  raw[key] ??= [];
  raw[key].push(rounded);
  if (!values.json) console.log(`round ${round + 1}  ${key}  ${rounded.toLocaleString('en')}`);
}

function keyOf(subject: string, figure: string): string {
  return figure === '' ? subject : `${subject}.${figure}`;
}

/** Names of the figures that a subject gave at a load. */
function figuresOf(subject: string, at: number): string[] {
  const figures: string[] = [];
  for (const key of Object.keys(raw)) {
    if (key === `${subject}@${at}`) figures.push('');
    else if (key.startsWith(`${subject}.`) && key.endsWith(`@${at}`))
      figures.push(key.slice(subject.length + 1, -`@${at}`.length));
  }
  return figures;
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
