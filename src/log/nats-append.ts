/**
 * Entries to a stream: one message, or several as one atomic batch (NATS ADR-50). The guard is the stream's expected last
 * sequence, which the leader judges against what is committed and under way. What may have landed is `unknown`, and never sent
 * again from here: deciding its slot is the caller's (data core, rule 6).
 */
import type { MsgHdrs } from '@nats-io/transport-node';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { AppendResult } from './engine.ts';
import type { NatsLink } from './nats-connection.ts';
import { noLeader, refusal, wrongSequence } from './nats-errors.ts';
import { subjectOf } from './nats-names.ts';
import { type Answered, ask, askUntilTaken } from './nats-request.ts';

export interface NatsContext {
  readonly link: NatsLink;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stopped: AbortSignal;
  /** Largest body that fits a message with its headers. */
  readonly entryBytesMax: number;
}

export interface PublishAnswer {
  readonly seq?: number;
  readonly error?: { readonly err_code?: number; readonly description?: string };
}

/** NATS takes at most so many messages in one atomic batch. */
const batchMax = 1000;
const expectedSequence = 'Nats-Expected-Last-Sequence';

/** @throws TOO_LARGE (not-done) */
export function checkSizes(bodies: readonly Uint8Array[], entryBytesMax: number): void {
  const large = bodies.find(body => body.length > entryBytesMax);
  if (!large && bodies.length <= batchMax) return;
  const message = large
    ? `an entry of ${large.length} bytes is over the limit of ${entryBytesMax}`
    : `${bodies.length} entries are over the limit of ${batchMax} for one append`;
  throw new TandemError('TOO_LARGE', message, { outcome: 'not-done' });
}

/** @throws TOO_LARGE, UNAVAILABLE (not-done) */
export async function appendEntries(
  context: NatsContext,
  log: string,
  expected: number | 'any',
  bodies: readonly Uint8Array[],
  deadline: number,
): Promise<AppendResult> {
  const send = (timeoutMs: number): Promise<Answered> => publish(context, log, expected, bodies, timeoutMs);
  const answered = await askUntilTaken(send, context, deadline);
  if (answered.kind === 'nobody') throw noLeader(log);
  if (answered.kind === 'silence') return { kind: 'unknown', cause: answered.cause };
  const { seq, error } = answered.body as PublishAnswer;
  if (!error && seq !== undefined) return { kind: 'appended', position: seq };
  const code = error?.err_code ?? 0;
  const why = error?.description ?? 'no reason given';
  if (wrongSequence.has(code)) return { kind: 'conflict', tail: Number(/(\d+)\s*$/.exec(why)?.[1] ?? 0) };
  const refused = refusal(code, why, context.link.replicas);
  if (refused) throw refused;
  return { kind: 'unknown', cause: new Error(`NATS ${code}: ${why}`) };
}

/** All messages of a batch but the last go without an answer, which the last one's stands for. */
function publish(
  { link, random }: NatsContext,
  log: string,
  expected: number | 'any',
  bodies: readonly Uint8Array[],
  timeoutMs: number,
): Promise<Answered> {
  const subject = subjectOf(link.address.app, log);
  const last = bodies.length - 1;
  const batchId = last > 0 ? random.id() : undefined;
  const headersOf = (index: number): MsgHdrs | undefined => {
    const guarded = index === 0 && expected !== 'any';
    if (!guarded && batchId === undefined) return undefined;
    const headers = link.headers();
    if (guarded) headers.set(expectedSequence, String(expected));
    if (batchId === undefined) return headers;
    headers.set('Nats-Batch-Id', batchId);
    headers.set('Nats-Batch-Sequence', String(index + 1));
    if (index === last) headers.set('Nats-Batch-Commit', '1');
    return headers;
  };
  if (link.connected) {
    for (let i = 0; i < last; i++) link.connection.publish(subject, bodies[i]!, { headers: headersOf(i)! });
  }
  return ask(link, subject, bodies[last]!, headersOf(last), timeoutMs);
}
