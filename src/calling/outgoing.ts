/** A call as the rooms above ask for it, and its answer. */

import type { BalanceForm, Strategy } from '../contract/balance.ts';
import type { AnswerMeta } from '../contract/call.ts';
import type { Consistency } from '../contract/method.ts';
import type { Priority, Reply, SendOptions } from '../core/channel.ts';
import type { Closable } from '../core/lifecycle.ts';
import type { CallMeta } from '../core/meta.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Registry } from '../naming/registry.ts';
import type { Session } from './session.ts';

export interface OutgoingCall {
  /** The parent's deadline, local monotonic ms; the call ends at the earlier of this and its own timeout. */
  readonly deadline?: number | undefined;
  /** Instead of the method's own timeout. */
  readonly timeoutMs?: number | undefined;
  readonly consistency?: Consistency | undefined;
  /** Default: a fresh one, born now. */
  readonly requestId?: string | undefined;
  readonly born?: number | undefined;
  /** Sent along, and advanced by the answer. */
  readonly session?: Session | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Of what the call is made for. It goes as `optional` when either this or the method is, else as `critical` when either is. */
  readonly priority?: Priority | undefined;
  readonly fallback?: (() => unknown) | undefined;
  /** A second try elsewhere after this long; only for idempotent methods. */
  readonly hedgeMs?: number | undefined;
  readonly traceparent?: string | undefined;
  readonly caller?: CallMeta['caller'] | undefined;
  /** Of `stream`: go in beside the input. While none was taken, the call may be tried again. */
  readonly items?: (AsyncIterable<unknown> & { readonly isStarted: boolean }) | undefined;
}

export interface Called {
  readonly value: unknown;
  readonly meta: AnswerMeta;
}

export interface Caller extends Closable {
  readonly registry: Registry;
  /** @throws DeclaredError, or TandemError whose outcome covers all tries together. */
  call(service: string, method: string, input: unknown, options?: OutgoingCall): Promise<Called>;
  /** Items of a streaming method; tried again elsewhere only before the first item. `items` goes in, for methods that take a stream. */
  stream(service: string, method: string, input: unknown, options?: OutgoingCall): AsyncIterable<unknown>;
  /** One direct try at one process, for system methods and forwards. */
  send(member: Member, method: string, body: unknown, options: SendOptions): Promise<Reply>;
  /** Keeps a link to it, so that the registry hears at once when it dies. Cheap to repeat, and to be repeated: a link that was lost is made anew. */
  watch(member: Member): void;
  /** Switches how the instances of a service are picked, live; undefined: as the service says. */
  setStrategy(service: string, strategy: Strategy | undefined): void;
  /** How they are picked: what the service says of itself, and what was switched by hand. */
  strategyOf(service: string): { readonly own: BalanceForm; readonly switched: Strategy | undefined };
}
