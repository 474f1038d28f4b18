/**
 * One entry of a partition's log: effects, not commands, so replicas of different code versions cannot diverge (design 5).
 * Each names its parent by hash: a log that was re-created or mixed up does not fit. Format changes count `entryFormatRead` (failure-detection) up;
 * a replica that cannot read an entry stops, it never skips (data core, rules 2, 7, 15, 16, 19, 20, 25).
 */
import { hash } from 'node:crypto';
import { TandemError } from '../core/errors.ts';
import { pack, unpack } from './codec.ts';
import type { Write } from './store.ts';

/** What needs no more than this is written in it, so that older code reads it (rule 25). */
const plainFormat = 1;
/** A seal, and the genesis of what comes after one. */
export const sealFormat = 4;

export interface Emitted {
  readonly topic: string;
  readonly partitions: number;
  readonly key: string;
  readonly body: Uint8Array;
  readonly traceparent: string | undefined;
}

export interface Genesis {
  readonly incarnation: string;
  readonly service: string;
  readonly partition: number;
  readonly partitions: number;
  /** The sealed log that this one goes on from; undefined for the first logs of a service. */
  readonly predecessor?: Predecessor | undefined;
}

/** Where a log goes on from (rule 23): up to its seal the other log was this one's past. */
export interface Predecessor {
  /** Its name with its incarnation, as sessions and outbox stamps carry it. */
  readonly label: string;
  /** Of the seal entry. */
  readonly position: number;
  readonly hash: string;
  /** Labels of those that it went on from itself, the newest first. */
  readonly ancestors: readonly string[];
}

/** The last entry of a log (rule 23): what comes after it counts for nothing. */
export interface Seal {
  /** Incarnations of the logs of its two successors, so that whoever begins them begins the same. */
  readonly incarnations: readonly [lower: string, upper: string];
}

export interface LogEntry {
  /** Chain hash of the entry before; empty for genesis. */
  readonly parent: string;
  /** Who wrote it, and under which epoch: for people and for speed, never for safety. */
  readonly author: string;
  readonly epoch: number;
  readonly time: number;
  readonly genesis?: Genesis | undefined;
  /** The author becomes the writer, with the entry's epoch; nobody, where it names no author. */
  readonly claims?: boolean | undefined;
  /** Of a claim: where the log is kept (incarnation.ts). */
  readonly medium?: string | undefined;
  /** The writer steps down in favour of this instance (may be empty). */
  readonly resignsTo?: string | undefined;
  readonly seal?: Seal | undefined;
  readonly writes: readonly Write[];
  readonly emitted: readonly Emitted[];
}

/** The entry as bytes: an array, so that field names cost nothing. */
export function encodeEntry(entry: LogEntry): Uint8Array {
  const { genesis, seal } = entry;
  const before = genesis?.predecessor;
  const parts: unknown[] = [
    seal || before ? sealFormat : plainFormat,
    entry.parent,
    entry.author,
    entry.epoch,
    entry.time,
    genesis ? [genesis.incarnation, genesis.service, genesis.partition, genesis.partitions] : null,
    entry.claims ? (entry.medium ?? true) : false,
    entry.resignsTo ?? null,
    entry.writes.map(([table, key, value]) => [table, key, value ?? null]),
    entry.emitted.map(event => [event.topic, event.partitions, event.key, event.body, event.traceparent ?? null]),
  ];
  if (seal || before) {
    parts.push(seal?.incarnations ?? null);
    parts.push(before ? [before.label, before.position, before.hash, before.ancestors] : null);
  }
  return pack(parts);
}

/** @throws UNSUPPORTED for a newer format, CORRUPT for what is no entry at all. */
export function decodeEntry(bytes: Uint8Array): LogEntry {
  const parts = readParts(bytes);
  if (parts[0] !== plainFormat && parts[0] !== sealFormat) {
    throw new TandemError(
      'UNSUPPORTED',
      `log entry of format ${String(parts[0])}; this version reads ${plainFormat} and ${sealFormat}: update tandem on this instance`,
    );
  }
  const [, parent, author, epoch, time, genesis, claims, resignsTo, writes, emitted, seal, before] = parts as [
    number,
    string,
    string,
    number,
    number,
    [string, string, number, number] | null,
    boolean | string,
    string | null,
    [string, string, Uint8Array | null][],
    [string, number, string, Uint8Array, string | null][],
    ([string, string] | null)?,
    ([string, number, string, string[]] | null)?,
  ];
  return {
    parent,
    author,
    epoch,
    time,
    genesis: genesis
      ? {
          incarnation: genesis[0],
          service: genesis[1],
          partition: genesis[2],
          partitions: genesis[3],
          predecessor: before
            ? { label: before[0], position: before[1], hash: before[2], ancestors: before[3] }
            : undefined,
        }
      : undefined,
    claims: claims !== false,
    medium: typeof claims === 'string' ? claims : undefined,
    resignsTo: resignsTo ?? undefined,
    seal: seal ? { incarnations: seal } : undefined,
    writes: writes.map(([table, key, value]) => [table, key, value ?? undefined] as const),
    emitted: emitted.map(([topic, partitions, key, body, traceparent]) => ({
      topic,
      partitions,
      key,
      body,
      traceparent: traceparent ?? undefined,
    })),
  };
}

/** The chain hash of an entry: sha-256 over its bytes, which hold the parent's; cut to 128 bits. */
export function chainHash(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex').slice(0, 32);
}

function readParts(bytes: Uint8Array): unknown[] {
  let parts: unknown;
  try {
    parts = unpack(bytes);
  } catch (cause) {
    throw new TandemError('CORRUPT', 'a log entry cannot be decoded', { cause });
  }
  const lengths: Readonly<Record<number, number>> = { [plainFormat]: 10, [sealFormat]: 12 };
  const length = Array.isArray(parts) ? lengths[parts[0] as number] : undefined;
  const whole =
    Array.isArray(parts) &&
    (length === undefined || (parts.length === length && Array.isArray(parts[8]) && Array.isArray(parts[9])));
  if (!whole) throw new TandemError('CORRUPT', 'a log entry has an unknown shape');
  return parts as unknown[];
}
