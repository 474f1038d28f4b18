/**
 * A clock that a test moves. Timers run in the order of their time (then of their making), and between two of them the
 * promises and deferred tasks that the first one set off run to their end, so hours pass in milliseconds and the same
 * program with the same seed takes the same steps.
 * It knows microtasks, `defer` and setImmediate. It cannot know of real I/O under way: use the simulated network and
 * disk, or `auto()` with a `busy` that knows.
 */
import assert from 'node:assert/strict';
import { getActiveResourcesInfo } from 'node:process';
import type { Clock, Timer } from '../core/clock.ts';
import { TimerQueue } from './timer-queue.ts';

export interface VirtualClockOptions {
  /** Wall time at the start, ms since 1970. Default: 2026-01-01T00:00Z. */
  readonly wallMs?: number;
  /** Monotonic time at the start, ms. Default: 1000, so that a forgotten 0 is noticed. */
  readonly monotonicMs?: number;
}

export interface AutoOptions {
  /** Says that real work is under way, so time must stand still. Default: some request to the file system, DNS or a socket is open. */
  readonly busy?: () => boolean;
  /** Turns of the event loop in which nothing happened before time jumps. Default: 4. */
  readonly quietTurns?: number;
}

/** The clock of one simulated process, on the time line of its parent. */
export interface ProcessClock extends Clock {
  /** SIGKILL: no timer or deferred task of this clock ever runs again. */
  kill(): void;
  /** SIGSTOP: what falls due meanwhile runs at `resume`, late. */
  pause(): void;
  resume(): void;
  /** Moves this process's wall clock by `ms`, as a bad NTP server would. */
  jumpWall(ms: number): void;
}

export interface VirtualClock extends Clock {
  /** Lets `ms` pass: runs what falls due, in order, and lets everything settle after each. */
  advance(ms: number): Promise<void>;
  /** Runs timers until none is left. Fails after 100,000, as it would with anything periodic. */
  runUntilIdle(): Promise<void>;
  /** Lets time pass until `promise` is settled, and gives its result. Fails when no timer is left, or after `maxMs` (default: an hour). */
  complete<T>(promise: Promise<T> | (() => Promise<T>), maxMs?: number): Promise<T>;
  /** Lets promises and deferred tasks run to their end; no time passes. */
  settle(): Promise<void>;
  /** From now on time jumps to the next timer whenever the process is quiet. Returns the stop. */
  auto(options?: AutoOptions): () => void;
  /** A clock on the same time line that can be killed, paused and skewed alone. */
  process(options?: { readonly wallSkewMs?: number }): ProcessClock;
  /** Timers that wait. */
  readonly pending: number;
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

export function virtualClock(options: VirtualClockOptions = {}): VirtualClock {
  const startMs = options.monotonicMs ?? 1000;
  const wallOffsetMs = (options.wallMs ?? Date.UTC(2026, 0, 1)) - startMs;
  const timers = new TimerQueue();
  let nowMs = startMs;
  let deferred = 0;
  let driving = false;

  const defer = (task: () => void): void => {
    deferred++;
    setImmediate(() => {
      deferred--;
      task();
    });
  };
  const after = (delayMs: number, task: () => void): Timer =>
    timers.add(nowMs + Math.max(0, Number.isNaN(delayMs) ? 0 : delayMs), task);

  const settle = async (): Promise<void> => {
    let quiet = 0;
    for (let turns = 0; quiet < 2; turns++) {
      assert(turns < 100_000, 'the program never settles: it defers work without end');
      await turn();
      quiet = deferred === 0 ? quiet + 1 : 0;
    }
  };
  const runNext = async (): Promise<void> => {
    const timer = timers.take();
    if (!timer) return;
    nowMs = Math.max(nowMs, timer.dueMs);
    timer.task();
    await settle();
  };
  /** Only one may move time at once: two would make the order of steps depend on luck. */
  const drive = async <T>(work: () => Promise<T>): Promise<T> => {
    assert(!driving, 'two callers move this clock at once; await the first');
    driving = true;
    try {
      await settle();
      return await work();
    } finally {
      driving = false;
    }
  };

  return {
    now: () => wallOffsetMs + nowMs,
    monotonic: () => nowMs,
    after,
    defer,
    settle,
    get pending() {
      return timers.size;
    },
    advance: ms =>
      drive(async () => {
        const endMs = nowMs + ms;
        while (timers.nextMs <= endMs) await runNext();
        nowMs = endMs;
      }),
    runUntilIdle: () =>
      drive(async () => {
        for (let run = 0; timers.size > 0; run++) {
          assert(run < 100_000, 'timers without end: something is periodic; use advance or complete');
          await runNext();
        }
      }),
    complete: (promise, maxMs = 3_600_000) =>
      drive(async () => {
        const endMs = nowMs + maxMs;
        const outcome = watch(typeof promise === 'function' ? promise() : promise);
        await settle();
        while (!outcome.settled) {
          assert(timers.size > 0, 'the promise waits for something that is no timer: nothing is left to run');
          assert(timers.nextMs <= endMs, `the promise was not settled within ${maxMs} ms of virtual time`);
          await runNext();
        }
        return outcome.promise;
      }),
    auto: (autoOptions = {}) => {
      assert(!driving, 'something else moves this clock already');
      driving = true;
      let stopped = false;
      const busy = autoOptions.busy ?? openRequests;
      const quietTurns = autoOptions.quietTurns ?? 4;
      const run = async (): Promise<void> => {
        for (let quiet = 0; !stopped; ) {
          await turn();
          quiet = deferred === 0 && !busy() ? quiet + 1 : 0;
          if (quiet < quietTurns || stopped || timers.size === 0) continue;
          quiet = 0;
          await runNext();
        }
        driving = false;
      };
      void run();
      return () => {
        stopped = true;
      };
    },
    process: ({ wallSkewMs = 0 } = {}) =>
      processClock({ now: () => wallOffsetMs + nowMs, monotonic: () => nowMs, after, defer }, wallSkewMs),
  };
}

function processClock(parent: Clock, wallSkewMs: number): ProcessClock {
  let skewMs = wallSkewMs;
  let state: 'running' | 'paused' | 'dead' = 'running';
  let held: (() => void)[] = [];
  const guard = (task: () => void, cancelled: () => boolean) => (): void => {
    if (state === 'dead' || cancelled()) return;
    if (state === 'paused') held.push(guard(task, cancelled));
    else task();
  };
  return {
    now: () => parent.now() + skewMs,
    monotonic: () => parent.monotonic(),
    after(delayMs, task) {
      if (state === 'dead') return { cancel() {} };
      let off = false;
      const timer = parent.after(
        delayMs,
        guard(task, () => off),
      );
      return {
        cancel() {
          off = true;
          timer.cancel();
        },
      };
    },
    defer(task) {
      if (state !== 'dead') parent.defer(guard(task, () => false));
    },
    kill() {
      state = 'dead';
      held = [];
    },
    pause() {
      if (state === 'running') state = 'paused';
    },
    resume() {
      if (state !== 'paused') return;
      state = 'running';
      for (const task of held.splice(0)) parent.defer(task);
    },
    jumpWall(ms) {
      skewMs += ms;
    },
  };
}

/** The promise, and whether it is settled; its rejection counts as seen. */
function watch<T>(promise: Promise<T>): { settled: boolean; promise: Promise<T> } {
  const watched = { settled: false, promise };
  const done = (): void => {
    watched.settled = true;
  };
  promise.then(done, done);
  return watched;
}

/** Whether a request to the file system, DNS or a socket is under way. Open but silent sockets and servers do not count. */
function openRequests(): boolean {
  return getActiveResourcesInfo().some(name => /Req|ConnectWrap|WriteWrap|ShutdownWrap/.test(name));
}
