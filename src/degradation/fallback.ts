/**
 * What is answered when the real answer cannot be had: the transcript when the video will not play. Only failures of the
 * system fall back; an error that the contract declares is an answer, and a mistake of the caller stays one.
 */
import { catalogue, DeclaredError, TandemError } from '../core/errors.ts';

export interface Answered<T> {
  readonly value: T;
  /** True when the fallback answered. */
  readonly degraded: boolean;
}

/** Whether a fallback may answer in place of this failure. */
export function mayFallBack(thrown: unknown): boolean {
  if (thrown instanceof DeclaredError) return false;
  const { code } = TandemError.from(thrown);
  if (code === 'CANCELED') return false;
  return catalogue[code].status >= 500 || code === 'OVERLOADED';
}

/** @throws What `work` threw, when no fallback may answer; a failing fallback throws its own error. */
export async function withFallback<T>(
  work: () => Promise<T>,
  fallback: (() => T | Promise<T>) | undefined,
): Promise<Answered<T>> {
  try {
    return { value: await work(), degraded: false };
  } catch (thrown) {
    if (!fallback || !mayFallBack(thrown)) throw thrown;
    return { value: await fallback(), degraded: true };
  }
}
