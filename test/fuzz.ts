/**
 * `npm run fuzz -- [PROTOCOL ...] [--minutes M] [--seed N] [--case N]`: random mutation against each protocol (default: all,
 * a minute each), with counts; `--case` sends one case of a seed again. Exits 1 when a server ended, grew, kept connections
 * or failed its well-behaved client.
 */
import { parseArgs } from 'node:util';
import { fuzzHttp } from './fuzz-http.ts';
import { fuzzProtocols } from './fuzz-protocols.ts';
import { type FuzzReport, fuzz } from './fuzzing.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    case: { type: 'string' },
  },
});
const names = positionals.length > 0 ? positionals : [...Object.keys(fuzzProtocols), 'http'];
const seed = Number(values.seed);
const forMs = Number(values.minutes) * 60_000;
if (!Number.isInteger(seed) || !(forMs > 0)) throw new Error('--seed takes a whole number, --minutes a number above 0');
const only = values.case === undefined ? {} : { only: Number(values.case) };

function told(report: FuzzReport): string {
  const { protocol, seconds, samples, cases, bytes, fates, asked, slowestMs, liveGrownBytes, rssGrownBytes } = report;
  return [
    `${protocol.padEnd(9)} seed ${seed}, ${seconds.toFixed(0)} s: ${cases} cases from ${samples} samples, ${bytes} bytes`,
    `${fates.answered} answered, ${fates.closed} closed, ${fates.silent} silent`,
    `well-behaved client: ${asked} answers, slowest ${slowestMs.toFixed(0)} ms`,
    `memory: live ${(liveGrownBytes / 1e6).toFixed(1)} MB, process ${(rssGrownBytes / 1e6).toFixed(1)} MB more`,
  ].join('; ');
}

for (const protocol of names) {
  // Another parser judges there, on both sides of a proxy.
  if (protocol === 'http') {
    console.log(`http      ${JSON.stringify(await fuzzHttp(Number(values.minutes), seed))}`);
    continue;
  }
  const onProgress = (report: FuzzReport): void =>
    console.log(`  ${report.seconds.toFixed(0)} s: ${report.cases} cases`);
  const report = await fuzz({ protocol, seed, forMs, ...only, onProgress });
  console.log(told(report));
  for (const wrong of report.wrong) console.log(`  WRONG ${wrong}`);
  if (report.wrong.length > 0) process.exitCode = 1;
}
