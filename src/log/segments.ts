/**
 * The one shared sequence of segment files. Zeroed ahead, so that a write changes data only and one fdatasync makes it
 * durable without touching the file's metadata. Every segment begins with a
 * directory of all logs, so that older segments can go without taking the logs' names along.
 */
import { join } from 'node:path';
import type { Disk, DiskFile } from '../core/disk.ts';
import { segmentHead, segmentHeadBytes } from './record-format.ts';

/** 8 MiB: small enough for a laptop's `dev`, large enough that rolling is rare. */
export const segmentBytes: number = 8 * 1024 * 1024;

export interface Segment {
  readonly number: number;
  readonly file: DiskFile;
  readonly path: string;
}

export function segmentPath(directory: string, number: number): string {
  return join(directory, `${String(number).padStart(10, '0')}.seg`);
}

export function segmentNumbers(names: readonly string[]): number[] {
  return names
    .filter(name => /^\d{10}\.seg$/.test(name))
    .map(name => Number(name.slice(0, 10)))
    .sort((a, b) => a - b);
}

/** Creates the segment whole under another name first: a segment file that exists is one that was finished. */
export async function createSegment(disk: Disk, directory: string, number: number, bytes: number): Promise<Segment> {
  const path = segmentPath(directory, number);
  const beside = `${path}.new`;
  const file = await disk.open(beside, { create: true });
  const zeros = new Uint8Array(Math.min(bytes, 1024 * 1024));
  for (let at = 0; at < bytes; at += zeros.length)
    await file.write(at, zeros.subarray(0, Math.min(zeros.length, bytes - at)));
  await file.write(0, segmentHead(number));
  await file.sync();
  await disk.rename(beside, path);
  await disk.syncDirectory(directory);
  return { number, file, path };
}

export { segmentHeadBytes };
