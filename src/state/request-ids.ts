/**
 * Requests happen once (data core, rules 15 and 17): the id of a transaction is stored with its effects and its result in
 * the same entry, and looked up inside the transaction. Ids are forgotten by logged deletes only, so that all replicas forget
 * alike: those with a birth time once nothing that old would still be run, those of event deliveries below a logged floor. When
 * to forget is kept by the entry, not by the id: one row for all that an entry stores.
 */
import { TandemError } from '../core/errors.ts';
import { pack, unpack } from '../replication/codec.ts';
import { sortable } from './due.ts';
import type { RequestKey } from './keyspace.ts';
import type { Overlay, Rows } from './overlay.ts';

const requests = '$request';
const byTime = '$request-time';
const deliveries = '$delivery';
const floors = '$floor';
/** Ids forgotten per entry: more than come in with a usual one, few enough to stay unnoticed. */
const forgottenPerEntry = 256;
/** Between two looks at what has grown old, when the last one left nothing. */
const forgetPauseMs = 1000;
/** Ids are kept up to so much longer than they must be, so that those of one entry are kept alike. */
const keptStepMs = 1000;

/** Longest request id in bytes: it is the key of a row. */
const idBytesMax = 512;

/** @throws INVALID for one that no store could keep. */
export function checkRequestId(id: string): void {
  if (Buffer.byteLength(id) <= idBytesMax && id.isWellFormed()) return;
  throw new TandemError(
    'INVALID',
    `an idempotency key, with the step of its transaction, is text of at most ${idBytesMax} bytes; use its hash`,
  );
}

/** What a request has already come to; undefined when it is new. */
export interface Found {
  readonly value: unknown;
  readonly error: TandemError | undefined;
}

export function findRequest(rows: Rows, request: RequestKey, time: number, windowMs: number): Found | undefined {
  const { delivery } = request;
  if (delivery) {
    const floor = rows.get(floors, delivery.source);
    if (floor && delivery.number <= (unpack(floor) as number)) return { value: undefined, error: undefined };
    const row = rows.get(deliveries, deliveryKey(delivery.source, delivery.number, request.id));
    return row ? { value: (unpack(row) as [unknown])[0], error: undefined } : undefined;
  }
  const row = rows.get(requests, request.id);
  if (row) {
    const [inputHash, , value] = unpack(row) as [string, number, unknown];
    if (inputHash === (request.inputHash ?? '')) return { value, error: undefined };
    const message = `request id '${request.id}' was used before with another input; use a new one for a new request`;
    return { value: undefined, error: new TandemError('CONFLICT', message) };
  }
  if (request.born !== undefined && request.born < time - windowMs) {
    const message = `request id '${request.id}' is older than the ${Math.round(windowMs / 1000)} s in which repeats are recognised`;
    return { value: undefined, error: new TandemError('EXPIRED', message) };
  }
  return undefined;
}

/**
 * Stores the id beside the effects, by the later of birth and commit, so a fast clock at the caller cannot make it forgotten
 * too soon. Gives the time from which its window counts (ms of the partition's clock); undefined where a floor decides.
 */
export function storeRequest(rows: Overlay, request: RequestKey, time: number, value: unknown): number | undefined {
  const { delivery } = request;
  if (delivery) {
    rows.set(deliveries, deliveryKey(delivery.source, delivery.number, request.id), pack([value]));
    return undefined;
  }
  const keptFrom = Math.max(time, request.born ?? 0);
  rows.set(requests, request.id, pack([request.inputHash ?? '', keptFrom, value]));
  return keptFrom;
}

/** The ids that one entry stores, by when they are to be forgotten. */
export class StoredIds {
  readonly #byStep = new Map<number, string[]>();

  add(id: string, keptFrom: number): void {
    const step = Math.ceil(keptFrom / keptStepMs);
    const ids = this.#byStep.get(step);
    if (ids) ids.push(id);
    else this.#byStep.set(step, [id]);
  }

  /** Puts what `forgetOld` goes by into the entry at `position`. */
  write(rows: Overlay, position: number): void {
    for (const [step, ids] of this.#byStep) rows.set(byTime, `${sortable(step * keptStepMs)}/${position}`, pack(ids));
  }
}

/**
 * Deletes what is older than the window from `rows` (which become part of the next entry). Gives when to look again: what is
 * stored later also grows old later, so nothing can fall out of the window before.
 */
export function forgetOld(rows: Overlay, time: number, windowMs: number): number {
  const before = sortable(Math.max(0, time - windowMs));
  const old: string[] = [];
  let ids = 0;
  let oldest = time;
  for (const [key, value] of rows.scan(byTime, '', { limit: forgottenPerEntry })) {
    if (key.slice(0, before.length) >= before) {
      oldest = Number(key.slice(0, before.length));
      break;
    }
    if (ids >= forgottenPerEntry) break;
    old.push(key);
    const stored = unpack(value);
    // Each id had a row of its own, with its name in the key, before entries had one for all of theirs.
    for (const id of Array.isArray(stored) ? (stored as string[]) : [key.slice(before.length + 1)]) {
      rows.set(requests, id, undefined);
      ids++;
    }
  }
  for (const key of old) rows.set(byTime, key, undefined);
  if (ids >= forgottenPerEntry || old.length === forgottenPerEntry) return time;
  return Math.max(Math.min(time, oldest) + windowMs, time + forgetPauseMs);
}

export function raiseFloor(rows: Overlay, source: string, number: number): void {
  const before = rows.get(floors, source);
  if (before && (unpack(before) as number) >= number) return;
  rows.set(floors, source, pack(number));
  const forgotten: string[] = [];
  const last = `${source}\n${sortable(number)}`;
  for (const [key] of rows.scan(deliveries, `${source}\n`)) {
    if (key.slice(0, last.length) > last) break;
    forgotten.push(key);
  }
  for (const key of forgotten) rows.set(deliveries, key, undefined);
}

function deliveryKey(source: string, number: number, id: string): string {
  return `${source}\n${sortable(number)}\n${id}`;
}
