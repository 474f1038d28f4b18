/** Reads of partitions that this instance does not hold: asked of one that does, at the same level and session. */
import type { Consistency } from '../contract/method.ts';
import type { Incoming, Reply } from '../core/channel.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { CallMeta, ReplyMeta } from '../core/meta.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Scope, ScopeOptions, Sender } from './keyspace.ts';

export interface RemoteReadsOptions {
  readonly caller: Sender;
  /** Members with a ready replica, best first. */
  readonly holders: (partition: number) => readonly Member[];
  readonly clock: Clock;
  readonly random: Random;
}
export interface RowForm {
  readonly table: string;
  readonly key: string;
}
export interface RangeForm {
  readonly table: string;
  readonly prefix: string;
  readonly limit: number | undefined;
}
interface Answered<T> {
  readonly value: T;
  readonly meta: ReplyMeta;
}

export class RemoteReads {
  readonly #options: RemoteReadsOptions;

  constructor(options: RemoteReadsOptions) {
    this.#options = options;
  }

  async get(partition: number, row: RowForm, scope: ScopeOptions): Promise<Answered<Uint8Array | undefined>> {
    const { value, meta } = await this.#ask('$read', partition, { ...row, partition, degrade: scope.degrade }, scope);
    return { value: (value as Uint8Array | null) ?? undefined, meta };
  }

  async scan(
    partition: number,
    range: RangeForm,
    scope: ScopeOptions,
  ): Promise<Answered<readonly (readonly [string, Uint8Array])[]>> {
    const { value, meta } = await this.#ask('$scan', partition, { ...range, partition, degrade: scope.degrade }, scope);
    return { value: value as readonly (readonly [string, Uint8Array])[], meta };
  }

  /** Watching elsewhere: asks for the row again and again is not watching, so the call has to go where the row is. */
  watch(_partition: number, _row: RowForm, _scope: ScopeOptions): AsyncIterable<Uint8Array> {
    throw new TandemError(
      'UNSUPPORTED',
      'watch needs the row here: give the method a `key` that places it at the row’s partition',
    );
  }

  /** Tries one holder after the other until the deadline. A read is always safe to repeat. */
  async #ask(method: string, partition: number, body: unknown, scope: ScopeOptions): Promise<Answered<unknown>> {
    const { caller, holders, clock, random } = this.#options;
    const { level, session, deadline, signal, traceparent } = scope;
    let last: unknown;
    for (let attempt = 0; clock.monotonic() < deadline && !signal?.aborted; attempt++) {
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
          const reply = await caller.send(member, method, body, { deadline, signal, meta });
          return { value: reply.body, meta: (reply.meta ?? {}) as ReplyMeta };
        } catch (thrown) {
          last = thrown;
          const { code } = TandemError.from(thrown);
          if (!again.has(code)) throw thrown;
        }
      }
      await sleep(clock, 5 + backoffMs(random, attempt, 10, 200), signal);
    }
    throw new TandemError('UNAVAILABLE', `no replica of partition ${partition} answered in time`, {
      cause: last,
      outcome: 'not-done',
    });
  }
}

const again: ReadonlySet<string> = new Set(['UNAVAILABLE', 'INTERRUPTED', 'MOVED', 'CLOSED', 'OVERLOADED']);

/** The other end: answers `$read` and `$scan` from a local replica, as a call's own reads would be. */
export async function answerRead(
  incoming: Incoming,
  read: (
    level: Consistency,
    meta: CallMeta,
  ) => { readonly scope: Pick<Scope, 'replyMeta'>; readonly value: Promise<unknown> },
): Promise<Reply> {
  const meta = (incoming.meta ?? {}) as CallMeta;
  const { scope, value } = read(meta.consistency ?? 'sequential', meta);
  return { body: (await value) ?? null, meta: scope.replyMeta() };
}
