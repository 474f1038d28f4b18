/** What a caller hears of work that was not answered, or cannot begin, and whether it may have been done. */
import { TandemError } from '../core/errors.ts';

export function tooLate(): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', 'the deadline passed before the transaction was sent', {
    outcome: 'not-done',
  });
}

export function unknownFate(why: string): TandemError {
  return new TandemError(
    'DEADLINE_EXCEEDED',
    `${why} before the fate of the transaction was known; repeat with the same request id`,
  );
}

export function contended(runs: number): TandemError {
  return new TandemError('OVERLOADED', `the transaction lost against other writers ${runs} times`, {
    details: { retryAfterMs: 100 },
  });
}

export function notInTime(service: string, cause: TandemError | undefined): TandemError {
  return new TandemError(
    'UNAVAILABLE',
    `the data of '${service}' could not catch up in time: is the engine running? Look at its records (tandem logs engine)`,
    { cause },
  );
}
