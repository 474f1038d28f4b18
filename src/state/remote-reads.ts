/** Reads of partitions that this instance does not hold: asked of one that does, at the same level and session. */
import type { Reply } from '../core/channel.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { CallMeta, ReplyMeta } from '../core/meta.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';
import { murmur3 } from '../partitioning/hash.ts';
import type { Scope, ScopeOptions, Sender } from './keyspace.ts';
import { type PageOf, pageBytesMax, pageRowsMax, type Range } from './queries.ts';

export interface RemoteReadsOptions {
  readonly caller: Sender;
  /** Members with a ready replica, best first. */
  readonly holders: (partition: number) => readonly Member[];
  /** Reads the partition map anew: someone knows a newer one. */
  readonly learn: () => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
}
export interface RowForm {
  readonly table: string;
  readonly key: string;
}
/** What travels: `key` for `$read` and `$watch`, `prefix` for `$scan`. */
export interface RemoteForm {
  readonly partition: number;
  readonly table: string;
  readonly key?: string;
  readonly prefix?: string;
  readonly index?: string | undefined;
  readonly after?: string | undefined;
  readonly limit?: number | undefined;
  readonly degrade?: 'eventual' | undefined;
  /** For `$watch`: print of the row that the watcher has; answered when the row differs. */
  readonly known?: string;
}
/** The partition of a row as it is known now: asked anew for each try. */
type Place = () => number;

interface Answered<T> {
  readonly value: T;
  readonly meta: ReplyMeta;
}

export class RemoteReads {
  readonly #options: RemoteReadsOptions;

  constructor(options: RemoteReadsOptions) {
    this.#options = options;
  }

  async get(place: Place, row: RowForm, scope: ScopeOptions): Promise<Answered<Uint8Array | undefined>> {
    const { value, meta } = await this.#ask('$read', place, { ...row, degrade: scope.degrade }, scope);
    return { value: (value as Uint8Array | null) ?? undefined, meta };
  }

  /** @throws MOVED when `isDivided` says that the partition is no more. */
  async scan(
    partition: number,
    range: Range,
    scope: ScopeOptions,
    isDivided: () => boolean,
  ): Promise<Answered<PageOf<Uint8Array>>> {
    const body = { ...range, degrade: scope.degrade };
    const { value, meta } = await this.#ask('$scan', () => partition, body, scope, isDivided);
    return { value: value as PageOf<Uint8Array>, meta };
  }

  /**
   * One question waits at a holder until the row differs from what the watcher has, and is asked again after each answer:
   * state, not history (rule 13), no queue anywhere, and any holder can go on where another ended. Ends when `signal` aborts.
   */
  async *watch(place: Place, row: RowForm, scope: ScopeOptions): AsyncGenerator<Answered<Uint8Array>> {
    const { clock, random } = this.#options;
    let known = '';
    for (let failures = 0; !scope.signal?.aborted && clock.monotonic() < scope.deadline; ) {
      const deadline = Math.min(scope.deadline, clock.monotonic() + watchMs);
      try {
        const body = { ...row, degrade: scope.degrade, known };
        const { value, meta } = await this.#ask('$watch', place, body, { ...scope, deadline });
        failures = 0;
        const bytes = (value as Uint8Array | null) ?? undefined;
        if (printOf(bytes) === known) continue;
        known = printOf(bytes);
        if (bytes) yield { value: bytes, meta };
      } catch (thrown) {
        if (scope.signal?.aborted) return;
        const { code } = TandemError.from(thrown);
        if (!again.has(code) && code !== 'DEADLINE_EXCEEDED') throw thrown;
        await sleep(clock, backoffMs(random, failures++, 50, 1000), scope.signal);
      }
    }
  }

  /** Tries one holder after the other until the deadline. A read is always safe to repeat. */
  async #ask(
    method: string,
    place: Place,
    body: object,
    scope: ScopeOptions,
    isDivided?: () => boolean,
  ): Promise<Answered<unknown>> {
    const { caller, holders, learn, clock, random } = this.#options;
    const { level, session, deadline, signal, traceparent } = scope;
    let last: unknown;
    for (let attempt = 0; clock.monotonic() < deadline && !signal?.aborted; attempt++) {
      const partition = place();
      if (isDivided?.()) throw new TandemError('MOVED', `partition ${partition} is divided`);
      const members = holders(partition);
      const member = members[attempt % Math.max(1, members.length)];
      if (member) {
        const form = session.toForm();
        const meta: CallMeta = {
          consistency: level,
          ...(form ? { session: form } : {}),
          ...(traceparent ? { traceparent } : {}),
        };
        try {
          const reply = await caller.send(member, method, { ...body, partition }, { deadline, signal, meta });
          return { value: reply.body, meta: (reply.meta ?? {}) as ReplyMeta };
        } catch (thrown) {
          last = thrown;
          const { code } = TandemError.from(thrown);
          if (!again.has(code)) throw thrown;
          if (code === 'MOVED') {
            await learn().catch(() => {});
            if (place() !== partition) continue;
          }
        }
      }
      await sleep(clock, 5 + backoffMs(random, attempt, 10, 200), signal);
    }
    throw new TandemError('UNAVAILABLE', `no replica of partition ${place()} answered in time`, {
      cause: last,
      outcome: 'not-done',
    });
  }
}

const again: ReadonlySet<string> = new Set(['UNAVAILABLE', 'INTERRUPTED', 'MOVED', 'CLOSED', 'OVERLOADED']);

/** One question of a watcher is open at most so long; the holder answers a little before. */
const watchMs = 10_000;

/** Tells one value of a row from another; empty when there is no row. */
function printOf(bytes: Uint8Array | undefined): string {
  if (!bytes) return '';
  return `${murmur3(bytes, bytes.length, 1).toString(36)}.${murmur3(bytes, bytes.length, 2).toString(36)}.${bytes.length}`;
}

interface Until {
  readonly clock: Clock;
  readonly deadline: number;
  readonly signal: AbortSignal;
}

/** The other end: answers from a local replica, as a call's own reads would be. */
export async function answerRemote(form: RemoteForm, scope: Scope, until: Until): Promise<Reply> {
  const reader = scope.tables[form.table]!;
  if (form.prefix !== undefined) {
    const rows: (readonly [string, unknown])[] = [];
    const { after } = form;
    const limit = Math.min(form.limit ?? pageRowsMax, pageRowsMax);
    const options = { limit, ...(after === undefined ? {} : { after }) };
    const found =
      form.index === undefined
        ? reader.scan(form.prefix, options)
        : reader.find(form.index as never, form.prefix, options);
    let bytes = 0;
    for await (const row of found) {
      rows.push(row);
      bytes += (row[1] as Uint8Array).length;
      if (bytes >= pageBytesMax) break;
    }
    const body: PageOf<unknown> = { rows, more: rows.length === limit || bytes >= pageBytesMax };
    return { body, meta: scope.replyMeta() };
  }
  const key = form.key ?? '';
  let bytes = await reader.get(key);
  if (form.known !== undefined && printOf(bytes as Uint8Array | undefined) === form.known) {
    bytes = await changed(reader.watch(key), form.known, until, bytes);
  }
  return { body: bytes ?? null, meta: scope.replyMeta() };
}

/** The row's next value that differs from `known`, or `unchanged` when it is time to answer. */
async function changed(
  values: AsyncIterable<unknown>,
  known: string,
  until: Until,
  unchanged: unknown,
): Promise<unknown> {
  const { clock, deadline, signal } = until;
  const rows = values[Symbol.asyncIterator]();
  const end = new AbortController();
  const late = sleep(clock, Math.max(0, (deadline - clock.monotonic()) * 0.9), AbortSignal.any([signal, end.signal]));
  try {
    for (;;) {
      const next = await Promise.race([rows.next(), late]);
      if (!next || next.done) return unchanged;
      if (printOf(next.value as Uint8Array) !== known) return next.value;
    }
  } finally {
    end.abort();
    void rows.return?.();
  }
}
