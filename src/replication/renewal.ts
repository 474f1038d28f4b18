/** What a copy does about a log that was restored, or is kept elsewhere than its last claim says (incarnation.ts). */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Engine } from '../log/engine.ts';
import { readNote } from '../log/restore-note.ts';
import { encodeEntry } from './entry.ts';
import { isSameMedium, mediumOf, restoreOf } from './incarnation.ts';
import type { Head } from './store.ts';

export interface RenewalOptions {
  readonly engine: Engine;
  readonly log: string;
  readonly clock: Clock;
  readonly engineTimeoutMs: number;
  readonly logger: Logger;
}

/** Others may look at the same time. */
const triesMax = 3;

/** Whether what a copy has seen behind the log's end is no sign of a loss that nobody knows of. */
export async function isOfBeforeRestore(options: RenewalOptions, head: Head): Promise<boolean> {
  const { engine, clock, engineTimeoutMs, log, logger } = options;
  const note = await readNote(engine, clock, engineTimeoutMs);
  if (!note?.done || note.id === restoreOf(head.medium)) return false;
  const { position } = head;
  logger.warn('a copy knows more than the backup that was restored: it is thrown away', { log, position });
  return true;
}

/**
 * Where the log is kept elsewhere than its last claim says, a claim for nobody says so, before anything is served (rule 20).
 * Answers where it is kept; undefined for a log that is over. @throws UNAVAILABLE to look again.
 */
export async function renew(
  options: RenewalOptions,
  head: () => Head,
  catchUp: () => Promise<void>,
): Promise<string | undefined> {
  const { engine, log, clock, engineTimeoutMs, logger } = options;
  for (let tries = 0; ; tries++) {
    const { hash: parent, sealed, position, epoch, time, medium: known } = head();
    if (parent === '' || sealed) return undefined;
    const medium = await mediumOf(engine, log, clock, engineTimeoutMs);
    if (isSameMedium(known, medium)) return medium;
    if (tries === triesMax) throw new TandemError('UNAVAILABLE', `${log}: others write it while it is renewed`);
    const entry = { parent, author: '', epoch: epoch + 1, time, claims: true, medium, writes: [], emitted: [] };
    const deadline = clock.monotonic() + engineTimeoutMs;
    const result = await engine.log.append(log, position, [encodeEntry(entry)], { deadline });
    if (result.kind === 'unknown') throw new TandemError('UNAVAILABLE', `${log}: the fate of its renewal is unknown`);
    if (result.kind === 'appended')
      logger.warn('a log was restored, repaired or copied: what was seen of it behind this position is gone', {
        log,
        position,
      });
    await catchUp();
  }
}
