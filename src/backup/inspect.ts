/** What a backup holds, after all of it was read and found to be whole. */
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import { readBackup } from './backup-file.ts';
import { Completeness, isManifest } from './completeness.ts';
import type { BackupSummary } from './take.ts';

export interface HeldLog {
  readonly name: string;
  readonly first: number;
  readonly tail: number;
  /** Of its entries. */
  bytes: number;
}

export interface HeldBlob {
  readonly name: string;
  readonly bytes: number;
}

/** @throws as `readBackup`, and CORRUPT when something is missing that its logs need. */
export async function inspectBackup(
  disk: Disk,
  path: string,
  held: (item: { readonly log: HeldLog } | { readonly blob: HeldBlob }) => void = () => {},
): Promise<BackupSummary> {
  const summary = { takenAt: 0, logs: 0, entries: 0, blobs: 0, bytes: 0 };
  const completeness = new Completeness();
  let log: HeldLog | undefined;
  let next = 0;
  let blob = '';
  const logEnds = (): void => {
    if (log && next !== log.tail + 1)
      throw new TandemError(
        'CORRUPT',
        `${path} holds '${log.name}' up to ${next - 1}, not ${log.tail}; use another copy`,
      );
    if (log) held({ log });
    log = undefined;
  };
  for await (const frame of readBackup(disk, path)) {
    if (frame.kind !== 'entries') logEnds();
    if (frame.kind === 'header') summary.takenAt = frame.takenAt;
    else if (frame.kind === 'log') {
      const { name, first, tail } = frame;
      log = { name, first, tail, bytes: 0 };
      next = first;
      completeness.log(name, first, tail);
      summary.logs++;
    } else if (frame.kind === 'entries' && log) {
      completeness.entries(log.name, next, frame.bodies);
      next += frame.bodies.length;
      summary.entries += frame.bodies.length;
      for (const { length } of frame.bodies) log.bytes += length;
      summary.bytes += frame.bodies.reduce((sum, { length }) => sum + length, 0);
    } else if (frame.kind === 'blob') {
      blob = frame.name;
      held({ blob: { name: blob, bytes: frame.bytes } });
      if (!isManifest(blob)) completeness.blob(blob, undefined);
      summary.blobs++;
      summary.bytes += frame.bytes;
    } else if (frame.kind === 'piece' && isManifest(blob)) completeness.blob(blob, frame.bytes);
  }
  const missing = completeness.missing();
  if (missing !== undefined)
    throw new TandemError('CORRUPT', `${path} lacks ${missing}. Nothing was restored; use another backup`);
  return summary;
}
