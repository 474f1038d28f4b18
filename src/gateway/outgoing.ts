/** The part of `calling` that a gateway uses, so that it can be driven by anything that answers so. */

import type { Session } from '../calling/session.ts';
import type { AnswerMeta } from '../contract/call.ts';
import type { Priority } from '../core/channel.ts';
import type { CallMeta } from '../core/meta.ts';

export interface OutgoingCall {
  readonly deadline: number;
  /** The same as a span: instead of the method's own timeout, which would end a stream. */
  readonly timeoutMs: number;
  readonly consistency?: CallMeta['consistency'];
  readonly requestId: string;
  readonly born?: number;
  readonly session: Session;
  readonly signal: AbortSignal;
  readonly priority: Priority;
  readonly hedgeMs?: number;
  readonly traceparent?: string;
  readonly caller: NonNullable<CallMeta['caller']>;
  /** Go in with the input. Who has taken none may be followed by another. */
  readonly items?: AsyncIterable<unknown> & { readonly isStarted: boolean };
}

export interface GatewayCaller {
  call(
    service: string,
    method: string,
    input: unknown,
    options: OutgoingCall,
  ): Promise<{ readonly value: unknown; readonly meta: AnswerMeta }>;
  stream(service: string, method: string, input: unknown, options: OutgoingCall): AsyncIterable<unknown>;
}
