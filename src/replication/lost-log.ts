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

export function wrongPartitions(service: string, asked: number, found: number): TandemError {
  return new TandemError(
    'CONFIG',
    `service '${service}' is configured with ${asked} partitions, but its data has ${found}; set partitions: ${found} (resharding is a planned step of its own)`,
    { details: { asked, found } },
  );
}
