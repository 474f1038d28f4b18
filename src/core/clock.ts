/**
 * Time as a component. Everything that waits, stamps or measures asks a Clock, so that the simulator can run hours in
 * milliseconds and repeat them from a seed. Nothing else in `src/` may touch Date, performance or the timer globals.
 */
export interface Timer {
  /** Stops the timer; harmless when it has fired. */
  cancel(): void;
}

export interface Clock {
  /** Wall time in ms since 1970. May jump; for stamps that people or other machines read. */
  now(): number;
  /** Monotonic time in ms from an arbitrary start. For deadlines and durations. */
  monotonic(): number;
  /** Runs `task` once after `delayMs`. Does not keep the process alive. */
  after(delayMs: number, task: () => void): Timer;
  /** Runs `task` at the end of this turn of the event loop: the place to flush what the turn has gathered. */
  defer(task: () => void): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, Math.max(0, delayMs));
    // Browsers give a number.
    if (typeof timer === 'object') timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  defer: task => void setImmediate(task),
};

/** Resolves after `delayMs`, or at once when `signal` aborts (it never rejects: the caller looks at its signal). */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise(resolve => {
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.after(delayMs, done);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** Repeats `task` every `intervalMs`, measured from the end of one run to the start of the next, until cancelled. */
export function every(clock: Clock, intervalMs: number, task: () => unknown): Timer {
  let stopped = false;
  let timer: Timer;
  const arm = (): void => {
    timer = clock.after(intervalMs, async () => {
      await task();
      if (!stopped) arm();
    });
  };
  arm();
  return {
    cancel: () => {
      stopped = true;
      timer.cancel();
    },
  };
}

/** A wall time (ms since 1970) as people and other machines read it: ISO 8601, UTC. */
export function isoTime(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

/** Wall ms of an ISO 8601 time; undefined when the text is none. */
export function timeOf(text: string): number | undefined {
  const ms = Date.parse(text);
  return Number.isFinite(ms) ? ms : undefined;
}
