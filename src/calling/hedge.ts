/**
 * A second try elsewhere when the first is slow; the first answer wins and the other is cancelled (Dean, Barroso,
 * "The Tail at Scale", 2013). Both carry the same request id, so even a write that ran twice took effect once.
 */
import type { Clock } from '../core/clock.ts';

export type HedgedTry<T> = (signal: AbortSignal) => Promise<T>;

/** @param second Undefined result: there is nowhere else to go, the first goes on alone. */
export function hedged<T>(
  clock: Clock,
  hedgeMs: number,
  signal: AbortSignal | undefined,
  first: HedgedTry<T>,
  second: HedgedTry<T>,
): Promise<T> {
  const controllers = [new AbortController(), new AbortController()];
  const abort = (): void => {
    for (const controller of controllers) controller.abort(signal?.reason);
  };
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  return new Promise<T>((resolve, reject) => {
    let open = 1;
    let settled = false;
    const settle = (): void => {
      settled = true;
      timer.cancel();
      signal?.removeEventListener('abort', abort);
    };
    const run = (index: number, attempt: HedgedTry<T>): void => {
      attempt(controllers[index]!.signal).then(
        value => {
          if (settled) return;
          settle();
          controllers[1 - index]!.abort();
          resolve(value);
        },
        cause => {
          open--;
          if (settled || open > 0) return;
          settle();
          reject(cause);
        },
      );
    };
    const timer = clock.after(hedgeMs, () => {
      if (settled) return;
      open++;
      run(1, second);
    });
    run(0, first);
  });
}
