/**
 * `npm run simulate -- [link] [engine] [data] [whole] [short] [short-whole] [events] [parking] [replay] [schedules] [--seeds N] [--from S]`: runs the
 * simulations of `simulation.test.ts` and `simulation-data.test.ts` over more seeds (`--seeds 1000000` for a weekend),
 * prints what fails with its seed and story, and exits 1 if anything did.
 */
import { parseArgs } from 'node:util';
import { simulateData } from './simulate-data.ts';
import { simulateEngine } from './simulate-engine.ts';
import { simulateEvents } from './simulate-events.ts';
import { simulateParking, simulateReplay } from './simulate-groups.ts';
import { simulateLink } from './simulate-link.ts';
import { simulateSchedules } from './simulate-schedules.ts';
import { embeddedSide, modelSide } from './simulated-engines.ts';

/** Each gives a text that says what went wrong, or nothing. */
const simulations: Readonly<Record<string, (seed: number) => Promise<string | undefined>>> = {
  link: async seed => {
    const { audit } = await simulateLink(seed);
    return audit.balances ? undefined : JSON.stringify(audit);
  },
  engine: async seed => {
    const { wrong } = await simulateEngine(seed);
    return wrong.length === 0 ? undefined : wrong.join('\n  ');
  },
  data: seed => dataOf(seed, modelSide, 80),
  whole: seed => dataOf(seed, embeddedSide, 80),
  short: seed => dataOf(seed, modelSide, 20),
  'short-whole': seed => dataOf(seed, embeddedSide, 20),
  reshard: seed => dataOf(seed, modelSide, 40, 1),
  'reshard-whole': seed => dataOf(seed, embeddedSide, 40, 1),
  'reshard-twice': seed => dataOf(seed, modelSide, 60, 2),
  events: async seed => {
    const { wrong } = await simulateEvents(seed);
    return wrong.length === 0 ? undefined : wrong.join('\n  ');
  },
  parking: async seed => {
    const wrong = await simulateParking(seed);
    return wrong.length === 0 ? undefined : wrong.join('\n  ');
  },
  replay: async seed => {
    const wrong = await simulateReplay(seed);
    return wrong.length === 0 ? undefined : wrong.join('\n  ');
  },
  schedules: async seed => {
    const wrong = await simulateSchedules(seed);
    return wrong.length === 0 ? undefined : wrong.join('\n  ');
  },
};

async function dataOf(
  seed: number,
  engines: typeof modelSide,
  calls: number,
  doublings = 0,
): Promise<string | undefined> {
  const { wrong, faults } = await simulateData(seed, {}, engines, calls, doublings);
  return wrong.length === 0 ? undefined : [...wrong, ...faults].join('\n  ');
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seeds: { type: 'string', default: '1000' }, from: { type: 'string', default: '0' } },
});
const names = positionals.length > 0 ? positionals : Object.keys(simulations);
const from = Number(values.from);
const seeds = Number(values.seeds);
let failures = 0;
for (const name of names) {
  const simulate = simulations[name];
  if (!simulate) {
    console.error(`there is no simulation '${name}'; there are ${Object.keys(simulations).join(', ')}`);
    process.exit(1);
  }
  const startedAt = performance.now();
  for (let seed = from; seed < from + seeds; seed++) {
    const wrong = await simulate(seed).catch(error => String(error?.stack ?? error));
    if (!wrong) continue;
    failures++;
    console.log(`${name}, seed ${seed}: ${wrong}`);
  }
  console.log(`${name}: ${seeds} seeds from ${from} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}
console.log(failures === 0 ? 'nothing failed' : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
