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
import { encodeNote, readNote, restoreLog } from '../log/restore-note.ts';
import { readBackup } from './backup-file.ts';
import { isPrivate } from './cut.ts';
import { inspectBackup } from './inspect.ts';
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
/** NATS takes at most 1000 in one append. */
const entriesMax = 500;
const triesMax = 5;

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
  await put(engine, restoreLog, 0, [encodeNote({ id, done: false })], at);
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
      for (let from = 0; from < frame.bodies.length; from += entriesMax) {
        const bodies = frame.bodies.slice(from, from + entriesMax);
        await put(engine, log.name, log.tail, bodies, at);
        log.tail += bodies.length;
      }
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
  await put(engine, restoreLog, 1, [encodeNote({ id, done: true })], at);
  return summary;
}

/** At just these positions. Nobody else writes here, so an append whose answer was lost may be sent again: it lands once. */
async function put(
  engine: Engine,
  log: string,
  after: number,
  bodies: readonly Uint8Array[],
  at: () => { deadline: number },
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { kind } = await engine.log.append(log, after, bodies, at());
    if (kind === 'appended') return;
    if (kind === 'conflict') {
      const there = tries > 1 ? await engine.log.read(log, after + 1, 1, at()) : [];
      if (there[0] && Buffer.compare(there[0].body, bodies[0]!) === 0) return;
      throw new TandemError('CONFLICT', `someone else writes '${log}': restore into an engine that nothing uses`);
    }
    if (tries === triesMax)
      throw new TandemError(
        'UNAVAILABLE',
        `'${log}' did not say that it took entries at ${after + 1}; begin anew, in an empty one`,
      );
  }
}

/** @throws CONFIG when a restore into this engine did not come to its end. */
export async function checkRestored(engine: Engine, clock: Clock): Promise<void> {
  if ((await readNote(engine, clock, stepTimeoutMs))?.done !== false) return;
  throw new TandemError(
    'CONFIG',
    'a restore into this engine did not come to its end, so data is missing: remove what it wrote (its streams, or its directory), and restore again',
  );
}

function notEmpty(logs: readonly string[]): TandemError {
  return new TandemError(
    'CONFLICT',
    `the engine has data already (${logs.length} logs, such as '${logs[0]}'); restore into an empty one`,
  );
}
