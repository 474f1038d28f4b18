/** What a replica says when its log is not the one it knew: it stops, and a person decides (data core, rule 20). */
import { TandemError } from '../core/errors.ts';

export function recreated(log: string, known: string, found: string): TandemError {
  return new TandemError(
    'LOG_LOST',
    `${log} was re-created: this instance knew incarnation ${known}, the engine has ${found}`,
  );
}

export function lost(log: string, tail: number, applied: number): TandemError {
  return new TandemError(
    'LOG_LOST',
    `${log} ends at ${tail}, but this service has seen it up to ${Math.max(1, applied)}: restore the engine's data or a backup`,
  );
}

export function trimmed(log: string, applied: number): TandemError {
  return new TandemError('LOG_LOST', `${log} is trimmed past position ${applied} and no snapshot of it can be read`);
}

export function wrongPartitions(service: string, asked: number, found: number): TandemError {
  return new TandemError(
    'CONFIG',
    `the partition map of '${service}' says ${asked} partitions, but the log of one says ${found}: restore the engine's data or a backup`,
    { details: { asked, found } },
  );
}
