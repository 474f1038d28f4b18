/**
 * Runs a bench: `npm run bench -- <name> [--json]`. Ours and its peers run side by side in one call, in alternating rounds,
 * each measurement in fresh processes, and the median counts: only ratios of such neighbours say anything on a shared
 * machine. A peer that is not installed is named and left out.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

export interface Bench {
  /** The subject that ratios are of. */
  readonly ours: string;
  readonly rounds: number;
  /** How many calls are in flight, or whatever the load of this bench is. */
  readonly loads: readonly number[];
  /** Operations per second of each subject at a load. A subject throws ERR_MODULE_NOT_FOUND when its package is missing. */
  readonly subjects: Readonly<Record<string, (load: number) => Promise<number>>>;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, child: { type: 'boolean' } },
});
const [name, subject, load] = positionals;
if (!name || !/^[a-z-]+$/.test(name)) {
  console.error('usage: npm run bench -- <name> [--json]');
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
const missing = new Set<string>();
const raw: Record<string, number[]> = {};
const names = Object.keys(bench.subjects);
for (const at of bench.loads) {
  for (let round = 0; round < bench.rounds; round++) {
    // Every other round backwards, so that a drift of the machine favours nobody.
    for (const each of round % 2 === 0 ? names : names.toReversed()) {
      if (missing.has(each)) continue;
      const file = fileURLToPath(import.meta.url);
      const argv = [...process.execArgv, file, '--child', name, each, String(at)];
      const { stdout } = await run(process.execPath, argv, { timeout: 60_000 });
      const { result } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { result: number | null };
      if (result === null) {
        missing.add(each);
        console.log(`${each}: not installed, left out`);
        continue;
      }
      raw[`${each}@${at}`] ??= [];
      raw[`${each}@${at}`]!.push(Math.round(result));
      if (!values.json) console.log(`round ${round + 1}  ${each}@${at}  ${Math.round(result).toLocaleString('en')}/s`);
    }
  }
}

const ratios: Record<string, number> = {};
for (const at of bench.loads) {
  for (const each of names) {
    const ours = raw[`${bench.ours}@${at}`];
    const theirs = raw[`${each}@${at}`];
    if (each === bench.ours || !ours || !theirs) continue;
    ratios[`${bench.ours}/${each}@${at}`] = Number((median(ours) / median(theirs)).toFixed(2));
  }
}
if (values.json) console.log(JSON.stringify({ bench: name, ratios, raw }));
else for (const [key, ratio] of Object.entries(ratios)) console.log(`${key}  ${ratio}x`);

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
