/** Compares the last entry that a copy holds with the log's (rule 20): a disagreement means that the copy is wrong. */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Engine } from '../log/engine.ts';
import { chainHash } from './entry.ts';
import type { Head } from './store.ts';

export interface OwnSlotOptions {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly engineTimeoutMs: number;
  readonly log: string;
}

/** `same` too for a copy that holds nothing yet. */
export async function ownSlot(
  { engine, clock, engineTimeoutMs, log }: OwnSlotOptions,
  { hash, hashPosition }: Head,
): Promise<'same' | 'another' | 'trimmed'> {
  if (hash === '') return 'same';
  try {
    const [slot] = await engine.log.read(log, hashPosition, 1, { deadline: clock.monotonic() + engineTimeoutMs });
    return slot && chainHash(slot.body) === hash ? 'same' : 'another';
  } catch (thrown) {
    if (TandemError.from(thrown).code === 'NOT_FOUND') return 'trimmed';
    throw thrown;
  }
}
