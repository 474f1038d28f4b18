/**
 * One request and what became of it. The client library queues what is published while it is disconnected and sends it much
 * later, so nothing is given to it then; what was under way is in doubt, and not sent again from here.
 */
import type { MsgHdrs } from '@nats-io/transport-node';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { NatsLink } from './nats-connection.ts';

export type Answered =
  | { readonly kind: 'answer'; readonly body: unknown }
  /** Nobody took it: no stream has this subject, or its leader is not there. Nothing was done. */
  | { readonly kind: 'nobody' }
  | { readonly kind: 'silence'; readonly cause: unknown };

/** @throws UNAVAILABLE (not-done) while there is no connection. */
export async function ask(
  link: NatsLink,
  subject: string,
  body: Uint8Array,
  headers: MsgHdrs | undefined,
  timeoutMs: number,
): Promise<Answered> {
  checkConnected(link);
  const timeout = Math.max(1, Math.ceil(timeoutMs));
  try {
    const reply = await link.connection.request(subject, body, { timeout, ...(headers ? { headers } : {}) });
    return { kind: 'answer', body: reply.json() };
  } catch (cause) {
    return isNobody(cause) ? { kind: 'nobody' } : { kind: 'silence', cause };
  }
}

/** Another server mostly answers within this. It also keeps who asks again at once from starving the loop that reconnects. */
const reconnectMs = 300;

/** Waits a moment for a connection that was lost. @throws UNAVAILABLE (not-done) */
export async function untilConnected(link: NatsLink, clock: Clock, deadline: number): Promise<void> {
  if (link.connected) return;
  const over = new AbortController();
  const stop = link.onConnection(connected => connected && over.abort());
  await sleep(clock, Math.max(1, Math.min(reconnectMs, deadline - clock.monotonic())), over.signal);
  stop();
  checkConnected(link);
}

/** @throws UNAVAILABLE (not-done) */
function checkConnected(link: NatsLink): void {
  if (!link.connected) throw new TandemError('UNAVAILABLE', 'NATS cannot be reached', { outcome: 'not-done' });
}

/** The server says at once when nobody listens to a subject. */
export function isNobody(cause: unknown): boolean {
  const { name, message, cause: inner } = cause as Error;
  return (
    name === 'NoRespondersError' ||
    (inner as Error | undefined)?.name === 'NoRespondersError' ||
    /no responders/i.test(message)
  );
}

export interface Patience {
  readonly link: NatsLink;
  readonly clock: Clock;
  readonly random: Random;
  readonly stopped: AbortSignal;
}

/**
 * Asks again while nobody takes it, which is certain to have done nothing: a stream that was just made, or lost its leader, has
 * none for a moment. Gives 'nobody' when the deadline comes first, or `over` says that waiting is no use.
 */
export async function askUntilTaken(
  send: (timeoutMs: number) => Promise<Answered>,
  { link, clock, random, stopped }: Patience,
  deadline: number,
  over: () => Promise<boolean> = () => Promise.resolve(false),
): Promise<Answered> {
  for (let attempt = 0; ; attempt++) {
    await untilConnected(link, clock, deadline);
    const answered = await send(deadline - clock.monotonic());
    if (answered.kind !== 'nobody') return answered;
    // The first look is at once, and then ever more rarely: it costs as much as asking again.
    if ((attempt & (attempt + 1)) === 0 && (await over())) return answered;
    await sleep(clock, 5 + backoffMs(random, attempt, 10, 250), stopped);
    if (stopped.aborted || clock.monotonic() >= deadline) return answered;
  }
}

/** Waits for a promise of the library's, but not beyond the deadline. @throws DEADLINE_EXCEEDED (unknown). */
export async function within<T>(work: Promise<T>, deadline: number, clock: Clock, what: string): Promise<T> {
  const over = new AbortController();
  const late = sleep(clock, Math.max(0, deadline - clock.monotonic()), over.signal).then(() => {
    throw new TandemError('DEADLINE_EXCEEDED', `${what}: NATS did not answer in time`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
    work.catch(() => {});
  }
}
