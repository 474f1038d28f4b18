/**
 * What writes feel of a reshard, at the load's rate per second (see while-writing.ts). `calm` is without a change, `reshard`
 * while 64 partitions become 128. `seconds` is how long the change took.
 */
import { beginResharding, readCatalog } from '../src/state/catalog.ts';
import type { Bench } from './run.ts';
import { calm, pause, whileWriting } from './while-writing.ts';

const reshard = whileWriting(async ({ host, engine }) => {
  const { clock, random: chance } = host;
  const context = { service: 'items', engine, clock, random: chance, engineTimeoutMs: 5000 };
  const { to } = await beginResharding(context, undefined);
  for (const until = performance.now() + 300_000; (await readCatalog(context)).count !== to; await pause(50))
    if (performance.now() > until) throw new Error('resharding did not end');
});

export const bench: Bench = { ours: ['reshard'], rounds: 3, loads: [50], subjects: { calm, reshard } };
