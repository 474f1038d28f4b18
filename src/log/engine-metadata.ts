/**
 * `engine.json`: the format of the directory and its incarnation. The incarnation says "everything acknowledged is still
 * here"; it changes when that cannot be proven: after a repair, with `os` durability after another boot, or when the file is a
 * copy of the one that was written here: then the directory was moved over a copy, or put back from one that may be older.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';

export const directoryFormat = 1;

interface Metadata {
  readonly format: number;
  readonly incarnation: string;
  /** Of the machine's boot, where the page cache was trusted. */
  readonly bootId: string | undefined;
  /** Of this file, where the disk tells it from a copy. */
  readonly place?: string | undefined;
}

export interface MetadataOptions {
  readonly directory: string;
  readonly disk: Disk;
  readonly random: Random;
  readonly durability?: 'fsync' | 'os';
}

/** @throws CONFIG when the directory is of a newer format or cannot be written; CORRUPT when the file is not readable. */
export async function openMetadata(options: MetadataOptions): Promise<Metadata & { readonly copied: boolean }> {
  const { directory, disk, random, durability } = options;
  const path = join(directory, 'engine.json');
  const known = (await disk.list(directory)).includes('engine.json')
    ? parse(path, await readText(disk, path))
    : undefined;
  const bootId = durability === 'os' ? bootIdOf(random) : undefined;
  if (known && known.format > directoryFormat) {
    throw new TandemError(
      'CONFIG',
      `${directory} has data of format ${known.format}, this Tandem reads up to ${directoryFormat}; use the version that wrote it, or newer`,
    );
  }
  const place = known && (await disk.place?.(path));
  const copied = known?.place !== undefined && place !== undefined && known.place !== place;
  const trusted = known && !copied && (known.bootId === undefined || known.bootId === bootId);
  const metadata: Metadata = {
    format: directoryFormat,
    incarnation: trusted ? known.incarnation : random.id(),
    bootId,
  };
  if (!trusted || known.bootId !== bootId || known.place !== place) await saveMetadata(disk, directory, metadata);
  return { ...metadata, copied };
}

export async function saveMetadata(disk: Disk, directory: string, metadata: Metadata): Promise<void> {
  const beside = join(directory, 'engine.json.new');
  try {
    const file = await disk.open(beside, { create: true });
    try {
      await file.truncate(0);
      const placed: Metadata = { ...metadata, place: await disk.place?.(beside) };
      await file.write(0, Buffer.from(`${JSON.stringify(placed, undefined, 2)}\n`));
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(beside, join(directory, 'engine.json'));
    await disk.syncDirectory(directory);
  } catch (cause) {
    throw new TandemError(
      'CONFIG',
      `${directory} cannot be written: ${(cause as Error).message}; mend its rights or free some space, or choose another with --data`,
      { cause },
    );
  }
}

async function readText(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path);
  try {
    return Buffer.from(await file.read(0, file.size)).toString('utf8');
  } finally {
    await file.close();
  }
}

function parse(path: string, text: string): Metadata {
  try {
    const metadata = JSON.parse(text) as Metadata;
    if (typeof metadata.format === 'number' && typeof metadata.incarnation === 'string') return metadata;
  } catch {
    // Falls through to the same refusal.
  }
  throw new TandemError('CORRUPT', `${path} is not readable; restore it from a backup, or run \`tandem log repair\``);
}

/** The kernel's id of this boot; elsewhere every start counts as a new boot, which is safe and merely changes the incarnation. */
function bootIdOf(random: Random): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return random.id();
  }
}
