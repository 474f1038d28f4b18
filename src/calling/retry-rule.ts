/**
 * Whether a failed try may be repeated. Certainly not done and worth repeating: yes. Fate unknown: only when the method
 * is idempotent (its request id makes a second run harmless). Everything else is the answer.
 */
import { DeclaredError, TandemError } from '../core/errors.ts';

/** `free`: never ran, so repeating adds no load worth counting. `budget`: takes a retry from the budget. */
export type RetryKind = 'never' | 'free' | 'budget';

export function retryKind(thrown: unknown, idempotent: boolean): RetryKind {
  if (thrown instanceof DeclaredError || !(thrown instanceof TandemError)) return 'never';
  const { code, outcome } = thrown;
  if (outcome === 'not-done') {
    if (code === 'UNAVAILABLE' || code === 'MOVED' || code === 'CLOSED') return 'free';
    return code === 'OVERLOADED' ? 'budget' : 'never';
  }
  if (!idempotent) return 'never';
  const mayHelp =
    code === 'INTERRUPTED' || code === 'DEADLINE_EXCEEDED' || code === 'UNAVAILABLE' || code === 'OVERLOADED';
  return mayHelp ? 'budget' : 'never';
}

/** Whether no answer came at all: it was not reached, its line broke, or it took too long. */
export function isSilence({ code }: TandemError): boolean {
  return code === 'UNAVAILABLE' || code === 'INTERRUPTED' || code === 'DEADLINE_EXCEEDED';
}

/** Whether the line or the process went away under the call. */
export function isBroken(thrown: unknown): boolean {
  return thrown instanceof TandemError && thrown.code === 'INTERRUPTED';
}

/** Least wait that an overloaded callee asks for. */
export function retryAfterMs(thrown: unknown): number {
  const asked = thrown instanceof TandemError && thrown.code === 'OVERLOADED' ? thrown.details?.retryAfterMs : 0;
  return typeof asked === 'number' && asked > 0 ? Math.min(asked, 10_000) : 0;
}

/** One error for all tries: when an earlier one may have been done, so may the whole call. */
export function worstOf(last: unknown, doubtful: TandemError | undefined): unknown {
  if (!doubtful || !(last instanceof TandemError) || last.outcome === 'unknown') return last;
  const { code, message, details } = last;
  return new TandemError(code, `${message}; an earlier try ended as ${doubtful.code}`, {
    outcome: 'unknown',
    cause: doubtful,
    ...(details && { details }),
  });
}
