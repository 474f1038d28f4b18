/**
 * Puts a backup into an empty engine, of either kind: logs keep their positions, so cursors, stamps and request ids mean what
 * they meant. The file is read whole before anything is written. A restore that did not come to its end is told by its own
 * log, and nothing starts on top of it.
 */
import type { Clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { encodeNote, type RestoreNote, readNote, restoreLog } from '../log/restore-note.ts';
import { readBackup } from './backup-file.ts';
import { isPrivate } from './cut.ts';
import type { BackupSummary } from './take.ts';

export interface RestoreOptions {
  readonly engine: Engine;
  readonly disk: Disk;
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly tell?: (done: { readonly logs: number; readonly of: number; readonly bytes: number }) => void;
}

const stepTimeoutMs = 30_000;

/** What a backup holds, after all of it was read. @throws as `readBackup` */
export async function inspectBackup(disk: Disk, path: string): Promise<BackupSummary> {
  let takenAt = 0;
  let logs = 0;
  let entries = 0;
  let blobs = 0;
  let bytes = 0;
  for await (const frame of readBackup(disk, path)) {
    if (frame.kind === 'header') takenAt = frame.takenAt;
    else if (frame.kind === 'log') logs++;
    else if (frame.kind === 'entries') {
      entries += frame.bodies.length;
      for (const body of frame.bodies) bytes += body.length;
    } else if (frame.kind === 'blob') {
      blobs++;
      bytes += frame.bytes;
    }
  }
  return { takenAt, logs, entries, blobs, bytes };
}

/** @throws CONFLICT when the engine has data, or as `readBackup`: then nothing was written. */
export async function restoreBackup({
  engine,
  disk,
  path,
  clock,
  random,
  tell,
}: RestoreOptions): Promise<BackupSummary> {
  const summary = await inspectBackup(disk, path);
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + stepTimeoutMs });
  const there = (await engine.log.list('', at())).filter(name => name === restoreLog || !isPrivate(name));
  if (there.length > 0) throw notEmpty(there);
  const id = random.id();
  const noted = await note(engine, 0, { id, done: false }, at());
  let log = { name: '', tail: 0 };
  let logs = 0;
  let done = 0;
  let blob: { name: string; bytes: number; pieces: Uint8Array[] } | undefined;
  const putBlob = async (): Promise<void> => {
    if (blob) await engine.blobs.put(blob.name, Buffer.concat(blob.pieces, blob.bytes), at());
    blob = undefined;
  };
  for await (const frame of readBackup(disk, path)) {
    if (frame.kind === 'log') {
      log = { name: frame.name, tail: frame.first - 1 };
      if (frame.first > 1) await engine.log.begin(frame.name, frame.first, at());
      logs++;
    } else if (frame.kind === 'entries') {
      const result = await engine.log.append(log.name, log.tail, frame.bodies, at());
      if (result.kind !== 'appended')
        throw new TandemError('UNAVAILABLE', `'${log.name}' took no entries at ${log.tail + 1} (${result.kind})`);
      log.tail = result.position;
      for (const body of frame.bodies) done += body.length;
    } else if (frame.kind === 'blob') {
      await putBlob();
      blob = { name: frame.name, bytes: frame.bytes, pieces: [] };
    } else if (frame.kind === 'piece') {
      blob?.pieces.push(frame.bytes);
      done += frame.bytes.length;
    } else if (frame.kind === 'end') await putBlob();
    tell?.({ logs, of: summary.logs, bytes: done });
  }
  await note(engine, noted, { id, done: true }, at());
  return summary;
}

/** @throws CONFIG when a restore into this engine did not come to its end. */
export async function checkRestored(engine: Engine, clock: Clock): Promise<void> {
  if ((await readNote(engine, clock, stepTimeoutMs))?.done !== false) return;
  throw new TandemError(
    'CONFIG',
    'a restore into this engine did not come to its end, so data is missing: remove what it wrote (its streams, or its directory), and restore again',
  );
}

/** Answers its position. */
async function note(engine: Engine, after: number, said: RestoreNote, at: { deadline: number }): Promise<number> {
  const result = await engine.log.append(restoreLog, after, [encodeNote(said)], at);
  if (result.kind === 'appended') return result.position;
  if (result.kind === 'conflict') throw notEmpty([restoreLog]);
  throw new TandemError(
    'UNAVAILABLE',
    'the engine did not say whether it has noted the restore; begin anew, in an empty one',
  );
}

function notEmpty(logs: readonly string[]): TandemError {
  return new TandemError(
    'CONFLICT',
    `the engine has data already (${logs.length} logs, such as '${logs[0]}'); restore into an empty one`,
  );
}
