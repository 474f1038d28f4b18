/**
 * Reads all segments after a start and rebuilds the index. A write that was cut short is cut off (it was never
 * acknowledged); damage is refused, with the place and the way out, because what lies behind it was acknowledged.
 */
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import { LogIndex, locationOf } from './log-index.ts';
import {
  readRecord,
  recordBytes,
  recordHeadBytes,
  recordKind,
  segmentHeadBytes,
  segmentNumber,
} from './record-format.ts';
import { type Segment, segmentNumbers, segmentPath } from './segments.ts';

export interface Recovered {
  readonly logs: Map<string, LogIndex>;
  readonly byId: Map<number, LogIndex>;
  readonly segments: Segment[];
  /** Where the next record goes in the last segment. */
  readonly end: number;
  readonly lastBatch: number;
  /** Bytes of a write that was cut short, now zeroed. */
  readonly cut: number;
}

export interface Damage {
  readonly path: string;
  readonly offset: number;
  readonly reason: string;
}

interface DirectoryRow {
  readonly id: number;
  readonly name: string;
  readonly first: number;
  readonly tail: number;
}

/** @throws CORRUPT on damage, unless `onDamage` takes it and says where to end. */
export async function recover(disk: Disk, directory: string, onDamage?: (damage: Damage) => void): Promise<Recovered> {
  const logs = new Map<string, LogIndex>();
  const byId = new Map<number, LogIndex>();
  const segments: Segment[] = [];
  const names = await disk.list(directory);
  for (const name of names) if (name.endsWith('.seg.new')) await disk.remove(`${directory}/${name}`);
  const numbers = segmentNumbers(names);
  if (!onDamage) await dropUnused(disk, directory, numbers);
  let end = segmentHeadBytes;
  let lastBatch = 0;
  let cut = 0;
  for (const [index, number] of numbers.entries()) {
    const path = segmentPath(directory, number);
    const file = await disk.open(path);
    const buffer = Buffer.from(await file.read(0, file.size));
    if (segmentNumber(buffer) !== number) damaged({ path, offset: 0, reason: 'its header is broken' }, onDamage);
    if (index > 0 && numbers[index - 1] !== number - 1)
      damaged({ path, offset: 0, reason: `segment ${number - 1} is missing` }, onDamage);
    segments.push({ number, file, path });
    let at = segmentHeadBytes;
    for (;;) {
      const head = readRecord(buffer, at);
      if (head === 'end' || head === 'broken') {
        const isLast = index === numbers.length - 1;
        const behind = laterRecord(buffer, at + 8, head === 'broken' ? lastBatch : lastBatch);
        if (behind === 'later batch' || (head === 'broken' && !isLast)) {
          damaged({ path, offset: at, reason: 'a record is broken, and acknowledged ones lie behind it' }, onDamage);
        }
        if (isLast && (head === 'broken' || behind === 'same batch')) {
          cut = await zeroFrom(file, buffer, at);
        }
        break;
      }
      lastBatch = Math.max(lastBatch, head.batch);
      take(
        head,
        buffer.subarray(at + recordHeadBytes, at + recordHeadBytes + head.length),
        locationOf(number, at),
        logs,
        byId,
      );
      at += recordBytes(head.length);
    }
    end = at;
    // The process before may have been killed between write and sync, or its sync may have failed, after which the kernel
    // takes the pages for clean: only writing them again makes sure that what is served from here on is on the disk.
    if (index === numbers.length - 1 && !onDamage) {
      await file.write(0, buffer.subarray(0, end));
      await file.sync();
    }
  }
  for (const log of logs.values()) {
    log.durable = log.tail;
    const gap = log.gap();
    if (gap !== undefined)
      damaged({ path: directory, offset: 0, reason: `log '${log.name}' lacks position ${gap}` }, onDamage);
  }
  return { logs, byId, segments, end, lastBatch, cut };
}

/** Removes segments at the end that were prepared but never used, or whose first batch did not come through. */
async function dropUnused(disk: Disk, directory: string, numbers: number[]): Promise<void> {
  while (numbers.length > 1) {
    const path = segmentPath(directory, numbers.at(-1)!);
    const file = await disk.open(path);
    const buffer = Buffer.from(await file.read(0, file.size));
    await file.close();
    if (typeof readRecord(buffer, segmentHeadBytes) !== 'string') return;
    // a segment begins with a directory, which is on disk before its first batch
    if (laterRecord(buffer, segmentHeadBytes + 8, Number.POSITIVE_INFINITY) === 'later batch') return;
    await disk.remove(path);
    await disk.syncDirectory(directory);
    numbers.pop();
  }
}

function take(
  head: { kind: number; logId: number; position: number; length: number },
  body: Uint8Array,
  location: number,
  logs: Map<string, LogIndex>,
  byId: Map<number, LogIndex>,
): void {
  if (head.kind === recordKind.directory) {
    for (const row of JSON.parse(Buffer.from(body).toString('utf8')) as DirectoryRow[]) {
      if (byId.has(row.id)) continue;
      const log = new LogIndex(row.name, row.id);
      log.trim(row.first);
      log.tail = Math.max(row.first - 1, 0);
      logs.set(row.name, log);
      byId.set(row.id, log);
    }
    return;
  }
  const log = byId.get(head.logId);
  if (!log) return;
  if (head.kind === recordKind.trim) {
    log.trim(head.position);
    log.tail = Math.max(log.tail, head.position - 1);
  } else if (head.position >= log.first) {
    log.place(head.position, location, head.length);
    log.tail = Math.max(log.tail, head.position);
  }
}

/** Looks behind a place without a record for one that is whole: of a later batch (damage) or of the batch that was cut short. */
function laterRecord(buffer: Buffer, from: number, lastBatch: number): 'none' | 'same batch' | 'later batch' {
  let found: 'none' | 'same batch' = 'none';
  let first: number | undefined;
  for (let at = from & ~7; at + recordHeadBytes <= buffer.length; at += 8) {
    if (buffer.readUInt8(at + 24) === 0 || buffer.readUInt8(at + 24) > 4) continue;
    const length = buffer.readUInt32LE(at + 4);
    if (at + recordBytes(length) > buffer.length) continue;
    const head = readRecord(buffer, at);
    if (typeof head === 'string') continue;
    first ??= head.batch;
    if (head.batch > lastBatch + 1 || head.batch > first) return 'later batch';
    found = 'same batch';
    at += recordBytes(length) - 8;
  }
  return found;
}

async function zeroFrom(file: Segment['file'], buffer: Buffer, at: number): Promise<number> {
  let last = buffer.length;
  while (last > at && buffer[last - 1] === 0) last--;
  if (last === at) return 0;
  await file.write(at, new Uint8Array(last - at));
  await file.sync();
  return last - at;
}

function damaged(damage: Damage, onDamage: ((damage: Damage) => void) | undefined): void {
  if (onDamage) {
    onDamage(damage);
    return;
  }
  throw new TandemError(
    'CORRUPT',
    `${damage.path} is damaged at byte ${damage.offset}: ${damage.reason}. Nothing was changed. Restore the directory from a backup, or see what can be saved with \`tandem log verify\` and \`tandem log repair\``,
    { details: { path: damage.path, offset: damage.offset } },
  );
}

export function directoryBody(logs: Iterable<LogIndex>): Uint8Array {
  const rows: DirectoryRow[] = [];
  for (const { id, name, first, tail } of logs) rows.push({ id, name, first, tail });
  return Buffer.from(JSON.stringify(rows));
}
