/**
 * One entry of a partition's log: effects, not commands, so replicas of different code versions cannot diverge (design 5).
 * Each names its parent by hash: a log that was re-created or mixed up does not fit. Format changes count `entryFormat` up;
 * a replica that cannot read an entry stops, it never skips (data core, rules 2, 7, 15, 16, 19, 20, 25).
 */
import { hash } from 'node:crypto';
import { TandemError } from '../core/errors.ts';
import { pack, unpack } from './codec.ts';
import type { Write } from './store.ts';

/** Highest format that this code reads, and the one it writes. */
export const entryFormat = 1;

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
}

export interface LogEntry {
  /** Chain hash of the entry before; empty for genesis. */
  readonly parent: string;
  /** Who wrote it, and under which epoch: for people and for speed, never for safety. */
  readonly author: string;
  readonly epoch: number;
  readonly time: number;
  readonly genesis?: Genesis | undefined;
  /** The author becomes the writer, with the entry's epoch. */
  readonly claims?: boolean | undefined;
  /** The writer steps down in favour of this instance (may be empty). */
  readonly resignsTo?: string | undefined;
  readonly writes: readonly Write[];
  readonly emitted: readonly Emitted[];
}

/** The entry as bytes: an array, so that field names cost nothing. */
export function encodeEntry(entry: LogEntry): Uint8Array {
  const genesis = entry.genesis;
  return pack([
    entryFormat,
    entry.parent,
    entry.author,
    entry.epoch,
    entry.time,
    genesis ? [genesis.incarnation, genesis.service, genesis.partition, genesis.partitions] : null,
    entry.claims ?? false,
    entry.resignsTo ?? null,
    entry.writes.map(([table, key, value]) => [table, key, value ?? null]),
    entry.emitted.map(event => [event.topic, event.partitions, event.key, event.body, event.traceparent ?? null]),
  ]);
}

/** @throws UNSUPPORTED for a newer format, CORRUPT for what is no entry at all. */
export function decodeEntry(bytes: Uint8Array): LogEntry {
  const parts = readParts(bytes);
  if (parts[0] !== entryFormat) {
    throw new TandemError(
      'UNSUPPORTED',
      `log entry of format ${String(parts[0])}; this version reads up to ${entryFormat}: update tandem on this instance`,
    );
  }
  const [, parent, author, epoch, time, genesis, claims, resignsTo, writes, emitted] = parts as [
    number,
    string,
    string,
    number,
    number,
    [string, string, number, number] | null,
    boolean,
    string | null,
    [string, string, Uint8Array | null][],
    [string, number, string, Uint8Array, string | null][],
  ];
  return {
    parent,
    author,
    epoch,
    time,
    genesis: genesis
      ? { incarnation: genesis[0], service: genesis[1], partition: genesis[2], partitions: genesis[3] }
      : undefined,
    claims,
    resignsTo: resignsTo ?? undefined,
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
  const whole =
    Array.isArray(parts) &&
    (parts[0] !== entryFormat || (parts.length === 10 && Array.isArray(parts[8]) && Array.isArray(parts[9])));
  if (!whole) throw new TandemError('CORRUPT', 'a log entry has an unknown shape');
  return parts as unknown[];
}
