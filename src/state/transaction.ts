/**
 * One run of one transaction body (data core, rules 2, 3, 15): synchronous, against rows that may turn out stale, leaving
 * nothing behind but a list of effects. It may be run several times; each run starts from nothing.
 */
import { TandemError } from '../core/errors.ts';
import { checkPlain } from '../core/plain-data.ts';
import type { Emitted } from '../replication/entry.ts';
import type { Write } from '../replication/store.ts';
import type { RequestKey } from './keyspace.ts';
import { Overlay, type RawTx, type Rows } from './overlay.ts';
import { findRequest, storeRequest } from './request-ids.ts';

export interface Task {
  readonly request: RequestKey | undefined;
  readonly body: (tx: RawTx) => unknown;
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  resolve(value: unknown, position: number): void;
  reject(error: unknown): void;
  /** Runs so far. */
  runs: number;
  settled: boolean;
}

/** What a run came to. With no writes and no events it is a read, and must be answered like a strong one (rule 4). */
export interface Outcome {
  readonly value: unknown;
  readonly error: unknown;
  readonly failed: boolean;
  readonly writes: readonly Write[];
  readonly emitted: readonly Emitted[];
  /** Its request id is stored, and its window counts from then (ms of the partition's clock). */
  readonly keptFrom?: number | undefined;
  /** It is the stored outcome of an earlier try. */
  readonly stored?: boolean;
}

export function runTransaction(task: Task, below: Rows, time: number, windowMs: number): Outcome {
  const { request } = task;
  if (request) {
    const found = findRequest(below, request, time, windowMs);
    if (found)
      return {
        value: found.value,
        error: found.error,
        failed: found.error !== undefined,
        writes: [],
        emitted: [],
        stored: true,
      };
  }
  const rows = new Overlay(below);
  const emitted: Emitted[] = [];
  task.runs++;
  let value: unknown;
  try {
    value = task.body({ rows, now: time, emit: event => void emitted.push(event) });
    if (isThenable(value)) {
      value.then(undefined, () => {});
      throw new TandemError(
        'INVALID',
        'a transaction body is synchronous, but it returned a promise: do I/O before or after it',
      );
    }
  } catch (error) {
    return { value: undefined, error, failed: true, writes: [], emitted: [] };
  }
  if (rows.writes().length === 0 && emitted.length === 0)
    return { value, error: undefined, failed: false, writes: [], emitted };
  let keptFrom: number | undefined;
  try {
    if (request) {
      checkPlain(value, 'the result of a transaction');
      keptFrom = storeRequest(rows, request, time, value);
    }
  } catch (error) {
    return { value: undefined, error, failed: true, writes: [], emitted: [] };
  }
  return { value, error: undefined, failed: false, writes: rows.writes(), emitted, keptFrom };
}

/** Bytes that an outcome adds to an entry, rounded up. */
export function outcomeBytes(outcome: Outcome): number {
  let bytes = 0;
  for (const [table, key, value] of outcome.writes)
    bytes += 3 * (table.length + key.length) + (value?.length ?? 0) + 16;
  for (const event of outcome.emitted) bytes += 3 * (event.topic.length + event.key.length) + event.body.length + 96;
  return bytes;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
