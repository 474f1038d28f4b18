/** Writes everything that an app's engine keeps, as of one moment, into one file, while the app runs on. */
import type { Clock } from '../core/clock.ts';
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Engine } from '../log/engine.ts';
import { askToHold } from '../log/hold.ts';
import { BackupWriter, backupFormat } from './backup-file.ts';
import { Completeness, isManifest } from './completeness.ts';
import { type CutLog, keepMs, takeCut } from './cut.ts';

export interface TakeOptions {
  readonly engine: Engine;
  readonly disk: Disk;
  readonly path: string;
  readonly clock: Clock;
  readonly tell?: (done: { readonly logs: number; readonly of: number; readonly bytes: number }) => void;
}

export interface BackupSummary {
  readonly takenAt: number;
  readonly logs: number;
  readonly entries: number;
  readonly blobs: number;
  readonly bytes: number;
}

const cutTimeoutMs = 30_000;
const stepTimeoutMs = 30_000;
const readBytes = 1024 * 1024;
const pieceBytes = 1024 * 1024;
const triesMax = 3;
const keepIntervalMs = 15_000;

/** @throws UNAVAILABLE, or what the disk throws; nothing is left under the name then. */
export async function takeBackup(options: TakeOptions): Promise<BackupSummary> {
  for (let attempt = 1; ; attempt++) {
    const writer = await BackupWriter.create(options.disk, options.path);
    try {
      return await take(options, writer);
    } catch (cause) {
      await writer.discard();
      // The app removed what the cut needs, not having heard that it should wait: from a new moment on, then.
      if (TandemError.from(cause).code !== 'NOT_FOUND' || attempt === triesMax) throw cause;
    }
  }
}

async function take({ engine, clock, tell }: TakeOptions, writer: BackupWriter): Promise<BackupSummary> {
  let keptAt = clock.monotonic();
  const at = (): { deadline: number } => {
    const now = clock.monotonic();
    if (now - keptAt > keepIntervalMs) {
      keptAt = now;
      askToHold(engine, { holdMs: 0, keepMs });
    }
    return { deadline: now + stepTimeoutMs };
  };
  const cut = await takeCut({ engine, clock, deadline: clock.monotonic() + cutTimeoutMs });
  const takenAt = clock.now();
  await writer.write({ kind: 'header', format: backupFormat, takenAt, engine: engine.capabilities.driver });
  const completeness = new Completeness();
  let entries = 0;
  for (const [index, { name, first, tail }] of cut.entries()) {
    await writer.write({ kind: 'log', name, first, tail });
    completeness.log(name, first, tail);
    for (let next = first; next <= tail; ) {
      const read = await engine.log.read(name, next, readBytes, at());
      const bodies = read.filter(({ position }) => position <= tail).map(({ body }) => body);
      if (bodies.length === 0 || read[0]!.position !== next)
        throw new TandemError('NOT_FOUND', `'${name}' no longer has position ${next}`);
      await writer.write({ kind: 'entries', bodies });
      completeness.entries(name, next, bodies);
      entries += bodies.length;
      next += bodies.length;
    }
    tell?.({ logs: index + 1, of: cut.length, bytes: writer.bytes });
  }
  let blobs = 0;
  for (const name of await engine.blobs.list('', at())) {
    if (!belongs(name, cut)) continue;
    const bytes = await engine.blobs.get(name, at());
    await writer.write({ kind: 'blob', name, bytes: bytes.length });
    for (let from = 0; from < bytes.length; from += pieceBytes)
      await writer.write({ kind: 'piece', bytes: bytes.subarray(from, from + pieceBytes) });
    completeness.blob(name, isManifest(name) ? bytes : undefined);
    blobs++;
    tell?.({ logs: cut.length, of: cut.length, bytes: writer.bytes });
  }
  const missing = completeness.missing();
  if (missing !== undefined) throw new TandemError('NOT_FOUND', `the engine no longer has ${missing}`);
  const { bytes } = writer;
  await writer.finish();
  return { takenAt, logs: cut.length, entries, blobs, bytes };
}

/**
 * Snapshots (`snapshot/<service>/<partition>/<position>/…`) and large entries (`large/<log>/<position>-…`) of a position
 * behind the cut are of a later time.
 */
function belongs(blob: string, cut: readonly CutLog[]): boolean {
  const [, log, position] = /^(?:snapshot\/(.+)|large\/state\/(.+))\/(\d{16})[/-]/.exec(blob)?.filter(Boolean) ?? [];
  if (log === undefined) return true;
  return Number(position) <= (cut.find(({ name }) => name === `state/${log}`)?.tail ?? 0);
}
