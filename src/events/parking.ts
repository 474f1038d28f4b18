/**
 * Keys that wait for a person (`onDead: 'park'`). When an event of such a subscription is given up, its key is parked in the
 * same transaction: the event, and all that come later for that key, lie as rows in the key's partition, in order. A redrive
 * lets the key go on with the event that failed, a discard with the one behind it; what arrives meanwhile joins the end, so
 * order per key holds throughout. All of it is stored, so it survives restarts and moves with the partition's writer.
 */
import { TandemError } from '../core/errors.ts';
import type { SystemPart, SystemTx } from '../state/keyspace.ts';
import type { StoredEvent } from './event.ts';

const heads = '$parked';
const events = '$parked-event';

/** Parked keys of one subscription in one partition. At the bound nothing more is parked: the reader stops, and its lag shows it. */
export const parkedKeysMax = 1024;
/** Events and bytes that wait for one key. */
export const waitingMax = 10_000;
export const waitingBytesMax: number = 16 * 1024 * 1024;

export interface ParkedKey {
  readonly subscription: string;
  readonly key: string;
  /** The delivery that parked it, and the one that was given up last: the same until a redrive fails. */
  readonly began: Delivered;
  readonly dead: Delivered;
  /** Why its event was given up last. */
  readonly error: { readonly code: string; readonly message: string };
  /** When it was given up last (ms of the partition's clock). */
  readonly at: number;
  /** Numbers of the event that comes next and of the next to join. */
  readonly first: number;
  readonly next: number;
  readonly bytes: number;
  /** Counts redrives, so that each is a new delivery. */
  readonly round: number;
  /** It goes on until it is empty or fails again. */
  readonly resumed: boolean;
}

/** Names a delivery. */
export interface Delivered {
  readonly source: string;
  readonly number: number;
}

export interface ResumeForm {
  readonly subscription: string;
  readonly key: string;
  /** Only if this delivery was the last to be given up. */
  readonly dead?: Delivered | undefined;
  /** Drops the event that failed. */
  readonly discard?: boolean | undefined;
  /** Only asks whether the key waits. */
  readonly look?: boolean | undefined;
}

export function parkedKey(rows: Pick<SystemPart, 'get'>, subscription: string, key: string): ParkedKey | undefined {
  return rows.get(heads, headName(subscription, key)) as ParkedKey | undefined;
}

export function parkedKeys(rows: Pick<SystemPart, 'scan'>, subscription: string, limit: number): ParkedKey[] {
  return [...rows.scan(heads, headName(subscription, ''), { limit })].map(([, head]) => head as ParkedKey);
}

/** The event that comes next for a parked key. */
export function nextParked(rows: Pick<SystemPart, 'get'>, head: ParkedKey): StoredEvent | undefined {
  return rows.get(events, eventName(head, head.first)) as StoredEvent | undefined;
}

/** Parks a key with the event that was given up, or notes that it failed again. @throws OVERLOADED */
export function park(
  tx: SystemTx,
  form: { subscription: string; key: string; source: string; number: number; event: StoredEvent },
  error: ParkedKey['error'],
): void {
  const { subscription, key, source, number, event } = form;
  const head = parkedKey(tx, subscription, key);
  if (head) {
    put(tx, { ...head, dead: { source, number }, error, at: tx.now, resumed: false });
    return;
  }
  if ([...tx.scan(heads, headName(subscription, ''), { limit: parkedKeysMax })].length >= parkedKeysMax)
    throw full(`${parkedKeysMax} keys of '${subscription}' are parked in this partition`);
  const fresh: ParkedKey = {
    ...{ subscription, key, began: { source, number }, dead: { source, number }, error, at: tx.now },
    ...{ first: 0, next: 0, bytes: 0, round: 0, resumed: false },
  };
  append(tx, fresh, event);
}

/** Puts an event behind those that wait for its key. False when the key is not parked (any more). @throws OVERLOADED */
export function join(tx: SystemTx, subscription: string, key: string, event: StoredEvent): boolean {
  const head = parkedKey(tx, subscription, key);
  if (!head) return false;
  if (head.next - head.first >= waitingMax || head.bytes + event.body.length > waitingBytesMax)
    throw full(`${head.next - head.first} events wait for key '${key}' of '${subscription}'`);
  append(tx, head, event);
  return true;
}

/** Lets a key go on; repeating it is harmless. False when it is not parked, or by another delivery than the one that is meant. */
export function resume(tx: SystemTx, { subscription, key, dead, discard, look }: ResumeForm): boolean {
  const head = parkedKey(tx, subscription, key);
  if (!head) return false;
  if (dead && (head.dead.source !== dead.source || head.dead.number !== dead.number)) return false;
  if (look) return !head.resumed;
  // It goes on already: another round would handle again what is being handled.
  if (head.resumed) return !discard;
  const resumed = { ...head, round: head.round + 1, resumed: true };
  if (discard) leave(tx, resumed);
  else put(tx, resumed);
  return true;
}

/** Takes the first event away: it is done. True when nothing waits any more; the key is not parked then. */
export function leave(tx: SystemTx, head: ParkedKey): boolean {
  const name = eventName(head, head.first);
  const event = tx.get(events, name) as StoredEvent | undefined;
  tx.delete(events, name);
  const rest = { ...head, first: head.first + 1, bytes: head.bytes - (event?.body.length ?? 0) };
  if (rest.first < rest.next) {
    put(tx, rest);
    return false;
  }
  tx.delete(heads, headName(head.subscription, head.key));
  return true;
}

function append(tx: SystemTx, head: ParkedKey, event: StoredEvent): void {
  tx.put(events, eventName(head, head.next), event);
  put(tx, { ...head, next: head.next + 1, bytes: head.bytes + event.body.length });
}

function put(tx: SystemTx, head: ParkedKey): void {
  tx.put(heads, headName(head.subscription, head.key), head);
}

function full(why: string): TandemError {
  return new TandemError('OVERLOADED', `${why}; redrive or discard them`, { details: { retryAfterMs: 1000 } });
}

function headName(subscription: string, key: string): string {
  return `${subscription}\n${key}`;
}

function eventName({ subscription, key }: ParkedKey, number: number): string {
  return `${subscription}\n${key}\n${number}`;
}
