/**
 * Snapshots bound replay: all rows at one position, in chunks that fit a frame, and a manifest that is written last and
 * only after the maker has read the chunks back and found the same digest (data core, rule 22). So what has a manifest is
 * verified, and what is torn has none. Neither side ever has more than a few chunks in memory, nor holds its process up for
 * longer than a thousand rows take, however large the partition is.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Engine } from '../log/engine.ts';
import { pack, unpack } from './codec.ts';
import { Digest } from './digest.ts';
import { type Capture, emptyHead, type Head, type ReplicaStore, type Row } from './store.ts';

export interface SnapshotContext {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly engineTimeoutMs: number;
}
interface Manifest {
  readonly format: 1;
  readonly head: Head;
  readonly chunks: number;
}

const chunkBytes = 2_097_152;
const kept = 2;
/** Chunks on their way here at once. */
const chunksAhead = 4;
/** Rows that are put into a store in one step; others are served in between. */
const stepRows = 1000;
const progressEveryMs = 5000;
/** Snapshots that are tried: more than are kept, since newer ones may come while one is put in. */
const triesMax = 8;

/** Writes and verifies a snapshot; older ones beyond the newest two are removed. Releases the capture. */
export async function writeSnapshot(
  context: SnapshotContext,
  service: string,
  partition: number,
  capture: Capture,
): Promise<void> {
  const { engine } = context;
  const { head } = capture;
  const name = snapshotName(service, partition, head.position);
  let chunks = 0;
  try {
    for (const rows of inChunks(capture.rows)) {
      await engine.blobs.put(`${name}/${number(chunks++, 6)}`, pack(rows), at(context));
    }
  } finally {
    capture.release();
  }
  const manifest: Manifest = { format: 1, head, chunks };
  await check(name, manifest, chunksOf(context, name, manifest), async () => {});
  await engine.blobs.put(`${name}/manifest`, pack(manifest), at(context));
  await prune(context, service, partition);
}

/**
 * Puts the newest snapshot that can be read whole into a store, in place of what is there. Until it is complete the store's
 * head says `installing`: whoever finds that, after a kill, begins anew.
 * @param isWanted Asked before anything is changed.
 * @returns The head; undefined when there is no snapshot, or it is not wanted.
 */
export async function installSnapshot(
  context: SnapshotContext,
  service: string,
  partition: number,
  store: ReplicaStore,
  isWanted: (head: Head) => boolean,
): Promise<Head | undefined> {
  /** Gone meanwhile, as older ones go when newer ones are there, or damaged: neither is tried again. */
  const failed = new Set<number>();
  while (failed.size < triesMax) {
    const positions = await snapshotPositions(context, service, partition);
    const position = positions.reverse().find(each => !failed.has(each));
    if (position === undefined) return undefined;
    const name = snapshotName(service, partition, position);
    try {
      const manifest = manifestOf(name, await context.engine.blobs.get(`${name}/manifest`, at(context)));
      if (!isWanted(manifest.head)) return undefined;
      await install(context, name, manifest, store);
      return manifest.head;
    } catch (thrown) {
      const { code, message } = TandemError.from(thrown);
      if (code !== 'CORRUPT' && code !== 'NOT_FOUND') throw thrown;
      failed.add(position);
      context.logger.error('a snapshot cannot be read; trying another', { name, code, message });
    }
  }
  return undefined;
}

async function install(context: SnapshotContext, name: string, manifest: Manifest, store: ReplicaStore): Promise<void> {
  const { clock, logger } = context;
  const installing: Omit<Head, 'digest'> = { ...emptyHead, installing: true };
  store.replace([], installing);
  let saidAt = clock.monotonic();
  let done = 0;
  await check(name, manifest, chunksOf(context, name, manifest), async rows => {
    for (let from = 0; from < rows.length; from += stepRows) {
      store.commit(rows.slice(from, from + stepRows), installing);
      await sleep(clock, 0);
    }
    done++;
    if (clock.monotonic() - saidAt < progressEveryMs) return;
    saidAt = clock.monotonic();
    logger.info('a replica is being loaded from a snapshot', { name, chunks: manifest.chunks, done });
  });
  const { digest: _, ...head } = manifest.head;
  store.commit([], head);
}

/** Positions of the verified snapshots, oldest first. */
export async function snapshotPositions(
  context: SnapshotContext,
  service: string,
  partition: number,
): Promise<number[]> {
  const names = await context.engine.blobs.list(prefixOf(service, partition), at(context));
  return names
    .filter(name => name.endsWith('/manifest'))
    .map(name => Number(name.slice(prefixOf(service, partition).length).split('/')[0]))
    .sort((a, b) => a - b);
}

/** Hands on all rows. @throws CORRUPT when they do not add up to the digest that was kept with each commit. */
async function check(
  name: string,
  manifest: Manifest,
  chunks: AsyncIterable<readonly Row[]>,
  take: (rows: readonly Row[]) => Promise<void>,
): Promise<void> {
  const digest = new Digest(emptyHead.digest);
  for await (const rows of chunks) {
    for (const row of rows) digest.add(row[0], row[1], row[2]);
    await take(rows);
  }
  if (digest.toString() !== manifest.head.digest)
    throw new TandemError('CORRUPT', `snapshot ${name} has digest ${digest}, its replica had ${manifest.head.digest}`);
}

/** In order; the next ones are on their way meanwhile. */
async function* chunksOf(context: SnapshotContext, name: string, { chunks }: Manifest): AsyncGenerator<readonly Row[]> {
  const ahead: Promise<Uint8Array>[] = [];
  for (let next = 0; next < chunks || ahead.length > 0; ) {
    while (next < chunks && ahead.length < chunksAhead) {
      const chunk = context.engine.blobs.get(`${name}/${number(next++, 6)}`, at(context));
      chunk.catch(() => {}); // it may fail while an earlier one is waited for
      ahead.push(chunk);
    }
    yield rowsOf(name, await ahead.shift()!);
  }
}

function rowsOf(name: string, bytes: Uint8Array): readonly Row[] {
  const rows = readable(name, bytes);
  if (Array.isArray(rows) && rows.every(isRow)) return rows;
  throw new TandemError('CORRUPT', `a chunk of snapshot ${name} does not hold rows`);
}

function isRow(row: unknown): row is Row {
  return Array.isArray(row) && typeof row[0] === 'string' && typeof row[1] === 'string' && row[2] instanceof Uint8Array;
}

/** @throws CORRUPT, UNSUPPORTED */
function manifestOf(name: string, bytes: Uint8Array): Manifest {
  const manifest = readable(name, bytes) as Manifest | null | undefined;
  if (typeof manifest?.format !== 'number') throw new TandemError('CORRUPT', `snapshot ${name} has no manifest`);
  if (manifest.format === 1) return manifest;
  throw new TandemError('UNSUPPORTED', `snapshot format ${manifest.format}; this version reads 1`);
}

function readable(name: string, bytes: Uint8Array): unknown {
  try {
    return unpack(bytes);
  } catch (cause) {
    throw new TandemError('CORRUPT', `a part of snapshot ${name} cannot be decoded`, { cause });
  }
}

/** All of a partition's, which nobody will load again. */
export async function deleteSnapshots(context: SnapshotContext, service: string, partition: number): Promise<void> {
  const names = await context.engine.blobs.list(prefixOf(service, partition), at(context));
  // Manifests first: what is torn has none.
  for (const name of [...names].sort((a, b) => Number(b.endsWith('/manifest')) - Number(a.endsWith('/manifest'))))
    await context.engine.blobs.delete(name, at(context));
}

async function prune(context: SnapshotContext, service: string, partition: number): Promise<void> {
  const positions = await snapshotPositions(context, service, partition);
  const oldest = positions.slice(-kept)[0] ?? 0;
  for (const name of await context.engine.blobs.list(prefixOf(service, partition), at(context))) {
    const position = Number(name.slice(prefixOf(service, partition).length).split('/')[0]);
    if (position < oldest) await context.engine.blobs.delete(name, at(context));
  }
}

function* inChunks(rows: Iterable<Row>): Iterable<Row[]> {
  let chunk: Row[] = [];
  let bytes = 0;
  for (const row of rows) {
    chunk.push(row);
    bytes += row[0].length + row[1].length + row[2].length + 16;
    if (bytes < chunkBytes) continue;
    yield chunk;
    chunk = [];
    bytes = 0;
  }
  if (chunk.length > 0) yield chunk;
}

function prefixOf(service: string, partition: number): string {
  return `snapshot/${service}/${partition}/`;
}
function snapshotName(service: string, partition: number, position: number): string {
  return prefixOf(service, partition) + number(position, 16);
}
function number(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}
function at(context: SnapshotContext): { deadline: number } {
  return { deadline: context.clock.monotonic() + context.engineTimeoutMs };
}
