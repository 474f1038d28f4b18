/**
 * For people with a damaged directory: `verifyLog` looks and changes nothing, `dumpLog` prints entries, `repairLog` cuts the
 * log off at the first damage and says what that loses. A repaired engine has a new incarnation, so that replicas which
 * know more than what is left stop instead of serving.
 */
import { join } from 'node:path';
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { directoryFormat, saveMetadata } from './engine-metadata.ts';
import {
  readRecord,
  recordBytes,
  recordHeadBytes,
  recordKind,
  segmentHeadBytes,
  segmentNumber,
} from './record-format.ts';
import { segmentNumbers, segmentPath } from './segments.ts';

export interface LogSummary {
  readonly log: string;
  readonly entries: number;
  readonly first: number;
  readonly last: number;
}
export interface Verified {
  readonly segments: number;
  readonly logs: readonly LogSummary[];
  /** The first place that cannot be read and has acknowledged entries behind it. */
  readonly damage: { readonly path: string; readonly offset: number; readonly behind: number } | undefined;
  /** A write at the end that was cut short; harmless. */
  readonly cut: { readonly path: string; readonly offset: number } | undefined;
}
export interface DumpedEntry {
  readonly log: string;
  readonly position: number;
  readonly body: Uint8Array;
}

interface Scanned {
  readonly segment: number;
  readonly path: string;
  readonly offset: number;
  readonly broken: boolean;
  readonly head?: { readonly kind: number; readonly logId: number; readonly batch: number; readonly position: number };
  readonly body?: Uint8Array;
}

/** @throws CONFLICT when an engine has the directory open; NOT_FOUND when there is none. */
export async function verifyLog(directory: string, disk: Disk): Promise<Verified> {
  return withLock(directory, disk, async () => {
    const logs = new Map<string, { entries: number; first: number; last: number }>();
    const names = new Map<number, string>();
    let broken: { path: string; offset: number; batch: number } | undefined;
    let behind = 0;
    let lastBatch = 0;
    let segments = 0;
    let segment = 0;
    for await (const record of scan(directory, disk)) {
      if (record.segment !== segment) segments++;
      segment = record.segment;
      if (record.broken) {
        broken ??= { path: record.path, offset: record.offset, batch: lastBatch };
        continue;
      }
      const { head, body } = record;
      if (!head || !body) continue;
      if (broken && head.batch > broken.batch + 1) behind++;
      lastBatch = Math.max(lastBatch, head.batch);
      learn(head.kind, body, names);
      if (head.kind !== recordKind.entry && head.kind !== recordKind.copy) continue;
      const name = names.get(head.logId) ?? `log ${head.logId}`;
      const known = logs.get(name);
      if (!known) logs.set(name, { entries: 1, first: head.position, last: head.position });
      else
        logs.set(name, {
          entries: known.entries + 1,
          first: Math.min(known.first, head.position),
          last: Math.max(known.last, head.position),
        });
    }
    const place = broken && { path: broken.path, offset: broken.offset };
    return {
      segments,
      logs: [...logs].map(([log, counts]) => ({ log, ...counts })).sort((a, b) => (a.log < b.log ? -1 : 1)),
      damage: place && behind > 0 ? { ...place, behind } : undefined,
      cut: place && behind === 0 ? place : undefined,
    };
  });
}

/** Entries that can be read, segment by segment. */
export async function* dumpLog(
  directory: string,
  disk: Disk,
  options: { readonly log?: string | undefined; readonly from?: number | undefined } = {},
): AsyncGenerator<DumpedEntry> {
  const names = new Map<number, string>();
  for await (const { head, body } of scan(directory, disk)) {
    if (!head || !body) continue;
    learn(head.kind, body, names);
    if (head.kind !== recordKind.entry && head.kind !== recordKind.copy) continue;
    const log = names.get(head.logId) ?? `log ${head.logId}`;
    if ((options.log === undefined || options.log === log) && head.position >= (options.from ?? 1))
      yield { log, position: head.position, body };
  }
}

/** Cuts at the first damage. Returns what was given up; nothing changes when there is no damage. */
export async function repairLog(
  directory: string,
  disk: Disk,
  random: Random,
): Promise<{ readonly lost: number; readonly kept: readonly LogSummary[] }> {
  const { damage, logs } = await verifyLog(directory, disk);
  if (!damage) return { lost: 0, kept: logs };
  await withLock(directory, disk, async () => {
    const at = join(directory, 'segments');
    for (const number of segmentNumbers(await disk.list(at))) {
      const path = segmentPath(at, number);
      if (path < damage.path) continue;
      if (path > damage.path || damage.offset === 0) {
        await disk.remove(path);
        continue;
      }
      const file = await disk.open(path);
      await file.write(damage.offset, new Uint8Array(file.size - damage.offset));
      await file.sync();
      await file.close();
    }
    await disk.syncDirectory(at);
    await saveMetadata(disk, directory, { format: directoryFormat, incarnation: random.id(), bootId: undefined });
  });
  return { lost: damage.behind, kept: (await verifyLog(directory, disk)).logs };
}

async function* scan(directory: string, disk: Disk): AsyncGenerator<Scanned> {
  const at = join(directory, 'segments');
  const numbers = segmentNumbers(await disk.list(at));
  if (numbers.length === 0)
    throw new TandemError(
      'NOT_FOUND',
      `${directory} holds no engine data; give the engine's directory, such as .tandem/engine`,
    );
  for (const segment of numbers) {
    const path = segmentPath(at, segment);
    const file = await disk.open(path);
    const buffer = Buffer.from(await file.read(0, file.size));
    await file.close();
    if (segmentNumber(buffer) !== segment) yield { segment, path, offset: 0, broken: true };
    let told = false;
    for (let offset = segmentHeadBytes; offset + recordHeadBytes <= buffer.length; ) {
      const head = readRecord(buffer, offset);
      if (typeof head !== 'string') {
        yield {
          segment,
          path,
          offset,
          broken: false,
          head,
          body: buffer.subarray(offset + recordHeadBytes, offset + recordHeadBytes + head.length),
        };
        offset += recordBytes(head.length);
        continue;
      }
      // Looks on behind a broken place, eight bytes at a time, for records that are whole.
      if (head === 'broken' && !told) yield { segment, path, offset, broken: true };
      told ||= head === 'broken';
      offset += 8;
    }
  }
}

function learn(kind: number, body: Uint8Array, names: Map<number, string>): void {
  if (kind !== recordKind.directory) return;
  for (const { id, name } of JSON.parse(Buffer.from(body).toString('utf8')) as { id: number; name: string }[])
    names.set(id, name);
}

async function withLock<T>(directory: string, disk: Disk, work: () => Promise<T>): Promise<T> {
  if ((await disk.list(directory)).length === 0)
    throw new TandemError(
      'NOT_FOUND',
      `${directory} holds no engine data; give the engine's directory, such as .tandem/engine`,
    );
  const lock = await disk.lock(directory);
  try {
    return await work();
  } finally {
    await lock.release();
  }
}
