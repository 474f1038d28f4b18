/**
 * A restore notes in a log of its own that it began and that it came to its end: so half of one is never taken for whole, and
 * a copy of a log that knows more than is there can tell a restore, after which it is of no use, from a loss.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Engine } from './engine.ts';

export const restoreLog = 'restore';

export interface RestoreNote {
  /** Of this restore, unlike any other. */
  readonly id: string;
  readonly done: boolean;
}

const readBytes = 65_536;

export function encodeNote(note: RestoreNote): Uint8Array {
  return Buffer.from(JSON.stringify(note));
}

/** Undefined for an engine into which nothing was restored. @throws UNAVAILABLE when a copy answered that lags behind. */
export async function readNote(
  engine: Pick<Engine, 'log'>,
  clock: Clock,
  timeoutMs: number,
): Promise<RestoreNote | undefined> {
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + timeoutMs });
  let found: RestoreNote | undefined;
  for (let next = 1, last = await tailOf(engine, at()); next <= last; ) {
    const entries = await engine.log.read(restoreLog, next, readBytes, at());
    for (const { body } of entries) if (body.length > 0) found = decodeNote(body);
    if (entries.length === 0)
      throw new TandemError('UNAVAILABLE', `the log '${restoreLog}' was not read up to ${last}; looking again`);
    next = entries.at(-1)!.position + 1;
  }
  return found;
}

async function tailOf({ log }: Pick<Engine, 'log'>, at: { deadline: number }): Promise<number> {
  try {
    return (await log.info(restoreLog, at)).tail;
  } catch (thrown) {
    if (TandemError.from(thrown).code === 'NOT_FOUND') return 0;
    throw thrown;
  }
}

function decodeNote(body: Uint8Array): RestoreNote {
  try {
    const { id, done } = JSON.parse(Buffer.from(body).toString()) as RestoreNote;
    if (typeof id === 'string' && typeof done === 'boolean') return { id, done };
  } catch {
    // The same refusal.
  }
  throw new TandemError('CORRUPT', `what the log '${restoreLog}' notes of a restore is not readable: restore again`);
}
