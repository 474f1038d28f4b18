/**
 * The engine as its interface promises it, and not one bit kinder: one shared memory behind delays, with appends whose
 * answer is lost whether they landed or not, appends that land long after their caller gave up, and times in which it
 * cannot be reached. What stands on an engine is tested against this one first: whatever fails here is not the driver.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Random } from '../core/random.ts';
import type { AppendResult, Engine, Entry, Log } from '../log/engine.ts';

export interface EngineModelOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Each way takes up to this. Default: 2. */
  readonly delayMsMax?: number;
  /** Chance that the answer of an append is lost. Default: 0. */
  readonly lostAnswerChance?: number;
  /** Whether a barrier takes a position of its own, as on NATS. Default: no. */
  readonly barrierAppends?: boolean;
}

export interface EngineModel {
  /** The engine as one process sees it; pass that process's clock, so that it ends with it. */
  connect(clock: Clock): Engine;
  /** From now on nothing is answered, and of what is under way any part lands. */
  stop(): void;
  start(): void;
  /** Losing answers ends here, for a calm end of a test. */
  setLostAnswerChance(chance: number): void;
  /** The log is gone, as after a start on an empty directory; with `bodies` another has its name. */
  replace(log: string, bodies?: readonly Uint8Array[]): void;
  /** All entries of a log, the trimmed ones too, for checkers. */
  entries(log: string): readonly Uint8Array[];
  readonly logs: readonly string[];
  /** Appends that landed though their caller was told `unknown`. */
  readonly landedUnknown: number;
}

interface Stored {
  readonly bodies: Uint8Array[];
  readonly incarnation: string;
  /** First position kept. */
  first: number;
}

export function engineModel(options: EngineModelOptions): EngineModel {
  const { random, delayMsMax = 2, barrierAppends = false } = options;
  let lostAnswerChance = options.lostAnswerChance ?? 0;
  let up = true;
  let landedUnknown = 0;
  const logs = new Map<string, Stored>();
  const blobs = new Map<string, Uint8Array>();
  const subscribers = new Set<{
    subject: string;
    receive: (subject: string, body: Uint8Array) => void;
    clock: Clock;
  }>();
  const connectionListeners = new Set<(connected: boolean) => void>();
  const appended = new Set<() => void>();

  const delayMs = (): number => random.next() * delayMsMax;
  const tailOf = (log: string): number => logs.get(log)?.bodies.length ?? 0;
  const land = (log: string, expected: number | 'any', bodies: readonly Uint8Array[]): AppendResult => {
    const tail = tailOf(log);
    if (expected !== 'any' && expected !== tail) return { kind: 'conflict', tail };
    let stored = logs.get(log);
    if (!stored) {
      stored = { bodies: [], incarnation: random.id(), first: 1 };
      logs.set(log, stored);
    }
    stored.bodies.push(...bodies);
    for (const wake of [...appended]) wake();
    return { kind: 'appended', position: stored.bodies.length };
  };

  const connect = (clock: Clock): Engine => {
    let closed = false;
    /** There and back; the step runs at the engine. @throws UNAVAILABLE at the deadline while it is down. */
    const ask = async <T>(deadline: number, step: () => T): Promise<T> => {
      if (closed) throw new TandemError('CLOSED', 'the engine was closed');
      await sleep(clock, delayMs());
      while (!up) {
        if (clock.monotonic() >= deadline) throw new TandemError('UNAVAILABLE', 'the engine cannot be reached');
        await sleep(clock, Math.min(20, Math.max(1, deadline - clock.monotonic())));
      }
      const answer = step();
      await sleep(clock, delayMs());
      return answer;
    };
    const stored = (log: string): Stored => {
      const found = logs.get(log);
      if (!found) throw new TandemError('NOT_FOUND', `there is no log ${log}`);
      return found;
    };
    const slice = (log: string, from: number, bytesMax: number): Entry[] => {
      const entries: Entry[] = [];
      const found = logs.get(log);
      if (found && from < found.first) throw new TandemError('NOT_FOUND', `${log} begins at ${found.first}`);
      for (let position = from, bytes = 0; position <= tailOf(log) && bytes < bytesMax; position++) {
        const body = found!.bodies[position - 1]!;
        bytes += body.length;
        entries.push({ position, body });
      }
      return entries;
    };

    const log: Log = {
      async append(name, expected, bodies, { deadline }) {
        if (closed) throw new TandemError('CLOSED', 'the engine was closed');
        const lost = random.next() < lostAnswerChance;
        // from here on the request is on its way and lands, or not, whatever becomes of its sender
        return new Promise(resolve => {
          const unknown = (landed: boolean): void => {
            if (landed) landedUnknown++;
            options.clock.after(delayMs() + (up ? 5 : 50), () =>
              clock.defer(() => resolve({ kind: 'unknown', cause: new Error('the answer was lost') })),
            );
          };
          const late = lost && random.next() < 0.3 ? Math.max(0, deadline - clock.monotonic()) * random.next() * 2 : 0;
          options.clock.after(delayMs() + late, () => {
            if (!up || (lost && random.next() < 0.4)) return unknown(false);
            const result = land(name, expected, bodies);
            if (lost) return unknown(result.kind === 'appended');
            options.clock.after(delayMs(), () => clock.defer(() => resolve(result)));
          });
        });
      },
      barrier: (name, { deadline }) =>
        ask(deadline, () => {
          // On NATS a log can be there before its first entry: then a barrier comes first.
          if (barrierAppends && (logs.has(name) || random.next() < 0.5)) land(name, 'any', [new Uint8Array(0)]);
          return tailOf(name);
        }),
      read: (name, from, bytesMax, { deadline }) => ask(deadline, () => slice(name, from, bytesMax)),
      async *follow(name, from, signal) {
        let next = from;
        while (!signal.aborted && !closed) {
          if (tailOf(name) < next - 1) throw new TandemError('LOG_LOST', `${name} ends before ${next - 1}`);
          const batch = up ? slice(name, next, 65_536) : [];
          if (batch.length > 0) {
            await sleep(clock, delayMs(), signal);
            if (signal.aborted) return;
            next += batch.length;
            yield batch;
            continue;
          }
          const woken = Promise.withResolvers<void>();
          appended.add(woken.resolve);
          signal.addEventListener('abort', () => woken.resolve(), { once: true });
          // a look now and then, in case the engine was down when the entry came
          const timer = clock.after(up ? 1000 : 20, woken.resolve);
          await woken.promise;
          timer.cancel();
          appended.delete(woken.resolve);
        }
      },
      begin: (name, first, { deadline }) =>
        ask(deadline, () => {
          if (logs.has(name)) throw new TandemError('CONFLICT', `there is a log '${name}' already`);
          const before = Array.from({ length: first - 1 }, () => new Uint8Array(0));
          logs.set(name, { bodies: before, incarnation: random.id(), first });
        }),
      trim: (name, before, { deadline }) =>
        ask(deadline, () => {
          const found = stored(name);
          found.first = Math.max(found.first, Math.min(before, found.bodies.length + 1));
        }),
      info: (name, { deadline }) =>
        ask(deadline, () => {
          const { incarnation, first, bodies } = stored(name);
          const bytes = bodies.reduce((sum, body) => sum + body.length, 0);
          return { incarnation, first, tail: bodies.length, bytes };
        }),
      list: (prefix, { deadline }) =>
        ask(deadline, () => [...logs.keys()].filter(name => name.startsWith(prefix)).sort()),
    };

    return {
      log,
      bus: {
        publish(subject, body) {
          if (!up || closed) return;
          for (const subscriber of subscribers) {
            if (!matches(subscriber.subject, subject)) continue;
            subscriber.clock.after(delayMs(), () => {
              if (subscribers.has(subscriber)) subscriber.receive(subject, body);
            });
          }
        },
        subscribe(subject, receive) {
          const subscriber = { subject, receive, clock };
          subscribers.add(subscriber);
          return () => void subscribers.delete(subscriber);
        },
        get connected() {
          return up && !closed;
        },
        onConnection(listener) {
          const guarded = (connected: boolean): void => clock.defer(() => listener(connected));
          connectionListeners.add(guarded);
          return () => void connectionListeners.delete(guarded);
        },
      },
      blobs: {
        put: (name, bytes, { deadline }) => ask(deadline, () => void blobs.set(name, bytes.slice())),
        get: (name, { deadline }) =>
          ask(deadline, () => {
            const bytes = blobs.get(name);
            if (!bytes) throw new TandemError('NOT_FOUND', `there is no blob ${name}`);
            return bytes.slice();
          }),
        delete: (name, { deadline }) => ask(deadline, () => void blobs.delete(name)),
        list: (prefix, { deadline }) =>
          ask(deadline, () => [...blobs.keys()].filter(name => name.startsWith(prefix)).sort()),
      },
      capabilities: {
        driver: 'model',
        entryBytesMax: limits.entryBytesMax,
        acknowledged: 'in the memory of the simulation',
        barrierAppends,
      },
      close: async () => {
        closed = true;
        for (const wake of [...appended]) wake();
      },
    };
  };

  const setUp = (now: boolean): void => {
    if (up === now) return;
    up = now;
    for (const listener of [...connectionListeners]) listener(now);
  };
  return {
    connect,
    stop: () => setUp(false),
    start: () => setUp(true),
    setLostAnswerChance(chance) {
      lostAnswerChance = chance;
    },
    replace(log, bodies) {
      logs.delete(log);
      if (bodies) logs.set(log, { bodies: [...bodies], incarnation: random.id(), first: 1 });
      for (const wake of [...appended]) wake();
    },
    entries: log => logs.get(log)?.bodies ?? [],
    get logs() {
      return [...logs.keys()].sort();
    },
    get landedUnknown() {
      return landedUnknown;
    },
  };
}

function matches(pattern: string, subject: string): boolean {
  return pattern.endsWith('.>') ? subject.startsWith(pattern.slice(0, -1)) : pattern === subject;
}
