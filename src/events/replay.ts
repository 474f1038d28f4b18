/**
 * A replay makes a group read a topic partition again: its cursor is put back, under a new generation. Deliveries of the new
 * generation have ids of their own, so handlers run again; those of the generations before are forgotten, and fenced by a
 * floor that no late one can pass (data core, rule 17).
 */
import { TandemError } from '../core/errors.ts';
import type { LogInfo } from '../log/engine.ts';
import type { CursorRow } from './cursor.ts';

export interface ReplayForm {
  readonly subscription: string;
  readonly topicPartition: number;
  /** Position of the first event that comes again. */
  readonly from: number;
}

/** The row that begins the replay. */
export function replayed(row: CursorRow | undefined, from: number): CursorRow {
  const generation = row?.generation ?? 0;
  const retired = [...(row?.retired ?? []), ...(row ? [generation] : [])];
  return { position: from - 1, generation: generation + 1, sources: {}, retired };
}

/** @throws INVALID, NOT_FOUND when what is asked for is not kept any more. */
export function checkReplay(topicLog: string, from: number, { first, tail }: Pick<LogInfo, 'first' | 'tail'>): void {
  if (!Number.isInteger(from) || from < 1)
    throw new TandemError('INVALID', `${from} is no position; positions count from 1`);
  if (from > tail + 1)
    throw new TandemError('INVALID', `${topicLog} ends at ${tail}; the last position to replay from is ${tail + 1}`);
  if (from >= first) return;
  throw new TandemError(
    'NOT_FOUND',
    `${topicLog} begins at position ${first}: what lies before was dropped by its retention; replay from 'earliest' or a later position`,
    { details: { first } },
  );
}
