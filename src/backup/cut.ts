/**
 * One moment of all logs: their tails, seen twice with nothing between (a double collect: Afek et al., "Atomic Snapshots of
 * Shared Memory", 1993). Logs only grow, so two equal looks mean that between them there was a moment with just these
 * tails, however the looks were spread over time. So no event is in a cut without what it came from, and no cursor is ahead
 * of its topic. Under load no two looks are equal: the app is asked to hold its appends back for a moment, which is no proof
 * and need not be one.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Engine } from '../log/engine.ts';
import { askToHold } from '../log/hold.ts';
import { restoreLog } from '../log/restore-note.ts';

export interface CutLog {
  readonly name: string;
  readonly first: number;
  readonly tail: number;
}

export interface CutOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  /** Absolute, monotonic ms. */
  readonly deadline: number;
}

const holdMsMin = 500;
const holdMsMax = 2000;
/** For what is on its way when the word to hold arrives. */
const settleMs = 30;
/** Nothing that the cut needs is removed for so long; repeated while it is read. */
export const keepMs = 60_000;

/** @throws UNAVAILABLE when no such moment was found in time. */
export async function takeCut({ engine, clock, deadline }: CutOptions): Promise<CutLog[]> {
  let lookMs = 0;
  try {
    for (let tries = 0; clock.monotonic() < deadline; tries++) {
      // Both looks, and some more: how long one takes shows the first.
      askToHold(engine, { holdMs: Math.min(holdMsMax, Math.max(holdMsMin, 3 * lookMs)), keepMs });
      await sleep(clock, settleMs);
      const from = clock.monotonic();
      const before = await collect(engine, deadline);
      lookMs = clock.monotonic() - from;
      const after = await collect(engine, deadline);
      if (areOne(before, after, engine.capabilities.barrierAppends ? 1 : 0)) return after;
      askToHold(engine, { holdMs: 0, keepMs });
      // The app goes on between two tries.
      await sleep(clock, Math.min(1000, 100 * 2 ** tries));
    }
  } finally {
    askToHold(engine, { holdMs: 0, keepMs });
  }
  throw new TandemError(
    'UNAVAILABLE',
    'no moment without writes was found: something appends all the time; try again when there is less to do',
  );
}

async function collect(engine: Engine, deadline: number): Promise<CutLog[]> {
  const names = (await engine.log.list('', { deadline })).filter(name => !isPrivate(name));
  const logs = await Promise.all(
    names.map(async name => {
      const tail = await engine.log.barrier(name, { deadline });
      const { first } = await engine.log.info(name, { deadline });
      return { name, first, tail };
    }),
  );
  return logs.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function areOne(before: readonly CutLog[], after: readonly CutLog[], ownEntries: number): boolean {
  if (before.length !== after.length) return false;
  return before.every(({ name, tail }, i) => after[i]!.name === name && after[i]!.tail === tail + ownEntries);
}

/** What the supervisor asks the engine's health by, whose cluster it is, and what a restore notes: no data of the app. */
export function isPrivate(name: string): boolean {
  return name.startsWith('supervisor/') || name === 'app' || name === restoreLog;
}
