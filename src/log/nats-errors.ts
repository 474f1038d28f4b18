/** What goes wrong on NATS, in our codes: its own numbers, and which refusals say for certain that nothing was stored. */
import { TandemError } from '../core/errors.ts';

export const streamNotFound = 10_059;
export const noMessage = 10_037;

/** The guard said no. The leader judges it before it proposes, so even one that was deposed says the truth about this append. */
export const wrongSequence: ReadonlySet<number> = new Set([10_071, 10_164]);
/** An account's or a stream's storage, or batches that are under way, are at their limit; a batch came apart. */
const full: ReadonlySet<number> = new Set([10_002, 10_047, 10_176, 10_210]);
const tooLarge: ReadonlySet<number> = new Set([10_054, 10_199]);
/** The server's storage is at its limit: said before anything is stored on a single server, but maybe after the proposal on a cluster. */
const insufficient = 10_023;

/**
 * The error for a refusal that left nothing behind; undefined when it may have, as with 10077 (`store closed` of one replica,
 * while the others store the entry).
 */
export function refusal(code: number, why: string, replicas: number): TandemError | undefined {
  if (tooLarge.has(code)) return new TandemError('TOO_LARGE', `NATS: ${why}`, { outcome: 'not-done' });
  if (full.has(code) || (code === insufficient && replicas === 1))
    return new TandemError('UNAVAILABLE', `NATS: ${why}`, { outcome: 'not-done' });
  return undefined;
}

/** The library's API errors carry NATS's own number. */
export function apiCode(cause: unknown): number | undefined {
  const { code, name } = cause as { code?: number; name?: string };
  if (name === 'StreamNotFoundError') return streamNotFound;
  return typeof code === 'number' ? code : undefined;
}

export function noLog(log: string): TandemError {
  return new TandemError('NOT_FOUND', `there is no log ${log}`, { outcome: 'not-done' });
}

export function trimmed(log: string, first: number): TandemError {
  return new TandemError('NOT_FOUND', `${log} begins at ${first}: what was before is trimmed`, { outcome: 'not-done' });
}

export function noLeader(log: string): TandemError {
  return new TandemError('UNAVAILABLE', `${log} has no leader on NATS at the moment`, { outcome: 'not-done' });
}

export function unavailable(log: string, why: string | undefined, cause?: unknown): TandemError {
  return new TandemError('UNAVAILABLE', `${log}: ${why ?? 'NATS gave no reason'}`, { cause, outcome: 'not-done' });
}

export function late(log: string, cause?: unknown): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', `${log}: NATS did not answer in time`, { cause, outcome: 'not-done' });
}

/** For work that leaves nothing doubtful behind: a look, a read, a stream made. */
export function asUnavailable(log: string): (cause: unknown) => never {
  return cause => {
    if (cause instanceof TandemError && cause.code !== 'DEADLINE_EXCEEDED') throw cause;
    throw unavailable(log, cause instanceof Error ? cause.message : String(cause), cause);
  };
}
