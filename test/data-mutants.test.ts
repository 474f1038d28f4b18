/**
 * The checkers are only worth what they catch: each test breaks one rule of the data core on purpose, in front of the
 * engine or in its rows, and asks that some seed shows it. The same seeds without a mutant are clean
 * (`simulation.test.ts`). Mutants of events are in `event-mutants.test.ts`, those that need their own world in
 * `log-mutants.test.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TandemError } from '../src/core/errors.ts';
import { seededRandom } from '../src/core/random.ts';
import type { AppendResult, Engine, Entry, Log } from '../src/log/engine.ts';
import { decodeEntry, encodeEntry } from '../src/replication/entry.ts';
import type { Write } from '../src/replication/store.ts';
import { type Mutant, simulateData } from './simulate-data.ts';
import { withStore } from './with-store.ts';

function withLog(engine: Engine, change: (log: Log) => Partial<Log>): Engine {
  const own: Engine = Object.create(engine, { log: { value: { ...engine.log, ...change(engine.log) } } });
  return own;
}

async function caughtBy(mutant: Mutant, expected: RegExp, doublings = 0): Promise<void> {
  const seen: string[] = [];
  for (let seed = 0; seed < 40; seed++) {
    const { wrong } = await simulateData(seed, mutant, undefined, undefined, doublings).catch(error => ({
      wrong: [String(error?.stack ?? error)],
    }));
    const found = wrong.find(text => expected.test(text));
    if (found) return;
    seen.push(...wrong);
  }
  assert.fail(`no seed shows it; seen: ${seen.slice(0, 3).join('\n')}`);
}

const inconsistent = /not linearizable|reads|writes|one order|events|counter|diverged|transactions|bank/;

test('an engine that ignores the expected position is caught', () =>
  caughtBy(
    {
      engine: engine =>
        withLog(engine, log => ({ append: (name, _, bodies, options) => log.append(name, 'any', bodies, options) })),
    },
    inconsistent,
  ));

test('sending the next bundle, and answering, before the last was accepted is caught', () =>
  caughtBy(
    {
      engine: engine =>
        withLog(engine, log => ({
          append: async (name, expected, bodies, options): Promise<AppendResult> => {
            if (expected === 'any' || expected === 0) return log.append(name, expected, bodies, options);
            void log.append(name, expected, bodies, options);
            return { kind: 'appended', position: expected + bodies.length };
          },
        })),
    },
    inconsistent,
  ));

test('acknowledging an append before it is made is caught', () =>
  caughtBy(
    {
      engine: engine => {
        const queues = new Map<string, Promise<unknown>>();
        return withLog(engine, log => ({
          append: async (name, expected, bodies, options): Promise<AppendResult> => {
            if (expected === 'any' || expected === 0) return log.append(name, expected, bodies, options);
            // One after the other, but the answer does not wait.
            const before = queues.get(name);
            const sent = (async () => {
              await before;
              return log.append(name, expected, bodies, options);
            })();
            queues.set(name, sent);
            void sent.catch(() => {});
            return { kind: 'appended', position: expected + bodies.length };
          },
        }));
      },
    },
    inconsistent,
  ));

/** What the process behind this engine has seen of each log. */
function knowing(
  engine: Engine,
  barrier: (log: Log, known: (name: string) => number | undefined) => Log['barrier'],
): Engine {
  const known = new Map<string, number>();
  const learn = (name: string, position: number): void => {
    known.set(name, Math.max(known.get(name) ?? 0, position));
  };
  return withLog(engine, log => ({
    append: async (name, expected, bodies, options) => {
      const result = await log.append(name, expected, bodies, options);
      if (result.kind === 'appended') learn(name, result.position);
      return result;
    },
    read: async (name, from, bytesMax, options) => {
      const entries = await log.read(name, from, bytesMax, options);
      if (entries.length > 0) learn(name, entries.at(-1)!.position);
      return entries;
    },
    async *follow(name, from, signal) {
      for await (const entries of log.follow(name, from, signal)) {
        learn(name, entries.at(-1)!.position);
        yield entries;
      }
    },
    barrier: barrier(log, name => known.get(name)),
  }));
}

test('answering a refusal or strong read from what is known here, without a barrier, is caught', () =>
  caughtBy(
    {
      engine: engine =>
        knowing(engine, (log, known) => async (name, options) => known(name) ?? (await log.barrier(name, options))),
    },
    /not linearizable/,
  ));

test('sharing a barrier that was sent before the read is caught', () =>
  caughtBy(
    {
      engine: (engine, clock) => {
        const sent = new Map<string, { at: number; tail: Promise<number> }>();
        return knowing(engine, (log, known) => async (name, options) => {
          let last = sent.get(name);
          if (!last || last.at + 50 < clock.monotonic()) {
            last = { at: clock.monotonic(), tail: log.barrier(name, options) };
            sent.set(name, last);
          }
          return Math.max(await last.tail, known(name) ?? 0);
        });
      },
    },
    /not linearizable/,
  ));

test('dropping the request id between the tries of one request is caught', () =>
  caughtBy({ dropRequestIds: true }, inconsistent));

test('a replica that applies entries out of order is caught', () => {
  const random = seededRandom(1);
  return caughtBy(
    {
      store: store => {
        let late: readonly Write[] = [];
        return withStore(store, {
          commit: (writes, head) => {
            const hold = random.next() < 0.02;
            store.commit(hold ? [] : [...writes, ...late], head);
            late = hold ? [...late, ...writes] : [];
          },
        });
      },
    },
    inconsistent,
  );
});

test('a session that drops what it cannot hold without saying so is caught, and one that says so is not', async () => {
  await caughtBy({ session: ({ positions }) => ({ positions: positions.slice(-1) }) }, /reads|your writes/);
  for (let seed = 0; seed < 5; seed++) {
    const honest: Mutant = { session: ({ positions }) => ({ positions: positions.slice(-1), overflowed: true }) };
    assert.deepEqual((await simulateData(seed, honest)).wrong, [], `seed ${seed}`);
  }
});

test('followers that are given entries before they are durable are caught', () => {
  const random = seededRandom(1);
  // What a follower gets besides what is in the log, by log.
  const ghosts = new Map<string, Set<(entry: Entry) => void>>();
  return caughtBy(
    {
      engine: engine =>
        withLog(engine, log => ({
          append: async (name, expected, bodies, options) => {
            if (typeof expected !== 'number' || expected < 5 || random.next() > 0.05) {
              return log.append(name, expected, bodies, options);
            }
            for (const tell of ghosts.get(name) ?? []) tell({ position: expected + 1, body: bodies[0]! });
            throw new TandemError('UNAVAILABLE', 'the disk refused it');
          },
          follow: (name, from, signal) => withGhosts(log.follow(name, from, signal), name, from, signal, ghosts),
        })),
    },
    inconsistent,
  );
});

async function* withGhosts(
  real: AsyncIterable<readonly Entry[]>,
  name: string,
  from: number,
  signal: AbortSignal,
  ghosts: Map<string, Set<(entry: Entry) => void>>,
): AsyncGenerator<readonly Entry[]> {
  let last = from - 1;
  let ghost = Promise.withResolvers<Entry | undefined>();
  const tell = (entry: Entry): void => {
    if (entry.position === last + 1) ghost.resolve(entry);
  };
  const all = ghosts.get(name) ?? new Set();
  ghosts.set(name, all.add(tell));
  signal.addEventListener('abort', () => ghost.resolve(undefined), { once: true });
  const entries = real[Symbol.asyncIterator]();
  try {
    let next = entries.next();
    for (;;) {
      const came = await Promise.race([next, ghost.promise]);
      if (came === undefined) return;
      if ('position' in came) {
        ghost = Promise.withResolvers();
        yield [came];
        continue;
      }
      if (came.done) return;
      last = came.value.at(-1)!.position;
      next = entries.next();
      yield came.value;
    }
  } finally {
    all.delete(tell);
    await entries.return?.();
  }
}

/** What an instance reads of the logs, with some entries changed or left out. */
function reading(engine: Engine, change: (log: string, entry: Entry) => Entry | undefined): Engine {
  const through = (log: string, entries: readonly Entry[]): readonly Entry[] =>
    entries.flatMap(entry => change(log, entry) ?? []);
  return withLog(engine, log => ({
    read: async (name, from, bytesMax, options) => through(name, await log.read(name, from, bytesMax, options)),
    async *follow(name, from, signal) {
      for await (const entries of log.follow(name, from, signal)) yield through(name, entries);
    },
  }));
}

test('an instance that does not know what a seal is, and writes to a sealed log, is caught', () =>
  caughtBy(
    {
      engine: (engine, _, process) => {
        if (!process.startsWith('node1-')) return engine;
        return reading(engine, (log, entry) => {
          if (log.startsWith('catalog/')) return entry.position === 1 ? entry : undefined;
          if (!log.startsWith('state/') || entry.body.length === 0) return entry;
          const decoded = decodeEntry(entry.body);
          return decoded.seal ? { ...entry, body: encodeEntry({ ...decoded, seal: undefined }) } : entry;
        });
      },
    },
    inconsistent,
    1,
  ));

test('request ids that stay behind when a partition is divided are caught', () =>
  caughtBy(
    {
      store: store =>
        withStore(store, {
          commit: (writes, head) => {
            // Those of entries, not of a snapshot: copies that began in one way and the other differ then.
            const isDivided = head.of !== undefined && !head.installing;
            store.commit(isDivided ? writes.filter(([table]) => !table.startsWith('$request')) : writes, head);
          },
        }),
    },
    inconsistent,
    1,
  ));

test('taking over without a fresh epoch costs nothing but time', async () => {
  // No mutant: an epoch is a hint of who writes. Safety is in the append.
  const claimed: number[] = [];
  for (let seed = 0; seed < 8; seed++) {
    const { wrong, accepted } = await simulateData(seed, {
      store: store => withStore(store, { head: () => ({ ...store.head, epoch: 0 }) }),
      engine: engine =>
        withLog(engine, log => ({
          append: (name, expected, bodies, options) => {
            const entry = name.startsWith('state/') ? decodeEntry(bodies[0]!) : undefined;
            if (entry?.claims) claimed.push(entry.epoch);
            return log.append(name, expected, bodies, options);
          },
        })),
    });
    assert.deepEqual(wrong, [], `seed ${seed}`);
    assert.ok(accepted > 50);
  }
  assert.ok(
    claimed.length > 16 && claimed.every(epoch => epoch === 1),
    'each taker claimed the epoch of the one before',
  );
});

test('an entry of another that is put into the window of each append costs nothing but time', async () => {
  // No mutant: what the chain refuses must not change any result.
  let intruded = 0;
  for (let seed = 0; seed < 8; seed++) {
    const { wrong, accepted } = await simulateData(seed, {
      engine: engine => {
        let appends = 0;
        return withLog(engine, log => ({
          append: async (name, expected, bodies, options) => {
            if (typeof expected === 'number' && expected > 3 && ++appends % 5 === 0) {
              intruded++;
              await log.append(name, expected, [foreign(bodies[0]!)], options);
            }
            return log.append(name, expected, bodies, options);
          },
        }));
      },
    });
    assert.deepEqual(wrong, [], `seed ${seed}`);
    assert.ok(accepted > 50);
  }
  assert.ok(intruded > 25, `only ${intruded} foreign entries`);
});

/** An entry like one of ours, by someone who did not see the one before it. */
function foreign(body: Uint8Array): Uint8Array {
  const entry = decodeEntry(body);
  return encodeEntry({ ...entry, parent: 'f'.repeat(32), author: 'stranger', claims: false, resignsTo: undefined });
}
