/**
 * Snapshots bound replay: all rows at one position, in chunks that fit a frame, and a manifest that is written last and
 * only after the maker has read the chunks back and found the same digest (data core, rule 22). So what has a manifest is
 * verified, and what is torn has none.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Engine } from '../log/engine.ts';
import { pack, unpack } from './codec.ts';
import { Digest } from './digest.ts';
import { type Capture, emptyHead, type Head, type Row } from './store.ts';

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
  await load(context, name, manifest);
  await engine.blobs.put(`${name}/manifest`, pack(manifest), at(context));
  await prune(context, service, partition);
}

/** The newest snapshot that can be read whole. */
export async function latestSnapshot(
  context: SnapshotContext,
  service: string,
  partition: number,
): Promise<{ head: Head; rows: Row[] } | undefined> {
  for (const position of (await snapshotPositions(context, service, partition)).reverse()) {
    const name = snapshotName(service, partition, position);
    try {
      const manifest = unpack(await context.engine.blobs.get(`${name}/manifest`, at(context))) as Manifest;
      if (manifest.format !== 1) throw new TandemError('UNSUPPORTED', `snapshot format ${String(manifest.format)}`);
      return { head: manifest.head, rows: await load(context, name, manifest) };
    } catch (thrown) {
      const { code, message } = TandemError.from(thrown);
      if (code !== 'CORRUPT' && code !== 'NOT_FOUND') throw thrown;
      context.logger.error('a snapshot cannot be read; trying the one before', { name, code, message });
    }
  }
  return undefined;
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

/** @throws CORRUPT when the rows do not add up to the digest that was kept with each commit. */
async function load(context: SnapshotContext, name: string, manifest: Manifest): Promise<Row[]> {
  const rows: Row[] = [];
  const digest = new Digest(emptyHead.digest);
  for (let chunk = 0; chunk < manifest.chunks; chunk++) {
    const part = unpack(await context.engine.blobs.get(`${name}/${number(chunk, 6)}`, at(context))) as Row[];
    for (const row of part) {
      digest.add(row[0], row[1], row[2]);
      rows.push(row);
    }
  }
  if (digest.toString() !== manifest.head.digest) {
    throw new TandemError('CORRUPT', `snapshot ${name} has digest ${digest}, its replica had ${manifest.head.digest}`);
  }
  return rows;
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
