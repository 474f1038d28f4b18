/**
 * The rules of events, each broken on purpose in front of what events stand on: some seed must show it. The same seeds
 * without a mutant are clean.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { count, openCluster, seen } from '../src/events/fixture.test.ts';
import type { Engine, Log } from '../src/log/engine.ts';
import type { Keyspace, SystemPart } from '../src/state/keyspace.ts';
import { type EventsMutant, simulateEvents } from './simulate-events.ts';
import { simulateParking, simulateReplay } from './simulate-groups.ts';
import { simulateSchedules } from './simulate-schedules.ts';
import { withStore } from './with-store.ts';

const seeds = 12;

type Simulation = (seed: number, mutant: EventsMutant) => Promise<readonly string[]>;

async function caught(
  mutant: EventsMutant,
  simulate: Simulation = async (seed, given) => (await simulateEvents(seed, given)).wrong,
): Promise<void> {
  const { under, ...kept } = mutant;
  assert(under);
  assert.deepEqual(await simulate(0, kept), []);
  for (let seed = 0; seed < seeds; seed++) if ((await simulate(seed, mutant)).length > 0) return;
  assert.fail(`none of ${seeds} seeds shows it`);
}

function withLog(engine: Engine, change: (log: Log) => Partial<Log>): Engine {
  return Object.create(engine, { log: { value: { ...engine.log, ...change(engine.log) } } });
}

function withKeyspace(keyspace: Keyspace, change: Partial<Keyspace>): Keyspace {
  return new Proxy(keyspace, {
    get: (target, name: keyof Keyspace) => {
      const value = change[name] ?? target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const withSystem = (keyspace: Keyspace, change: (part: SystemPart) => Partial<SystemPart>): Keyspace =>
  withKeyspace(keyspace, {
    system: partition => {
      const part = keyspace.system(partition);
      return { ...part, ...change(part) };
    },
  });

test('a relay that sends the next event before the last one is confirmed is caught', () =>
  caught({
    under: (engine, keyspace) => ({
      keyspace,
      engine: withLog(engine, log => ({
        append: async (name, expected, bodies, options) => {
          if (!name.startsWith('topic/')) return log.append(name, expected, bodies, options);
          const results = await Promise.all(bodies.map(body => log.append(name, 'any', [body], options)));
          return results.find(({ kind }) => kind !== 'appended') ?? results.at(-1)!;
        },
      })),
    }),
  }));

/** Events of one key with a minute in between, after which floors are raised; gives those that took effect. */
async function throughFloors(under?: EventsMutant['under']): Promise<readonly number[]> {
  const cluster = openCluster(count, under && { under });
  const { clock } = cluster;
  await cluster.open('ledger-1-a');
  await clock.advance(2000);
  for (const pauseMs of [61_000, 3000, 3000]) {
    const sent = (await seen(cluster, 'a'))?.count ?? 0;
    for (let n = sent + 1; n <= sent + 3; n++) await clock.complete(cluster.emit({ id: 'a', n }));
    await clock.advance(pauseMs);
  }
  return (await seen(cluster, 'a'))?.order ?? [];
}

test('forgetting delivery ids beyond the cursor is caught', async () => {
  assert.deepEqual(await throughFloors(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const order = await throughFloors((engine, keyspace) => ({
    engine,
    keyspace: withSystem(keyspace, part => ({
      raiseFloor: (source, number, options) => part.raiseFloor(source, number + 5, options),
    })),
  }));
  assert.ok(order.length < 9, 'events below the floor were never handled');
});

test('trimming a state log past what is relayed is caught', () =>
  caught({
    snapshotEntries: 2,
    under: (engine, keyspace) => ({
      engine,
      keyspace: withKeyspace(keyspace, {
        setTrimFloor: (partition, position) => keyspace.setTrimFloor(partition, position + 1000),
      }),
    }),
  }));

test('giving up on an event outside of a transaction of its own id is caught', () =>
  caught({
    under: (engine, keyspace) => ({
      engine,
      keyspace: withSystem(keyspace, part => ({
        transact: (request, body, options) => part.transact(request?.delivery ? undefined : request, body, options),
      })),
    }),
  }));

test('putting an event behind those of its parked key outside of a transaction of its own id is caught', () =>
  caught(
    {
      under: (engine, keyspace) => ({
        engine,
        keyspace: withSystem(keyspace, part => ({
          transact: (request, body, options) => part.transact(request?.delivery ? undefined : request, body, options),
        })),
      }),
    },
    simulateParking,
  ));

test('handling what comes behind a parked event at once is caught', () =>
  caught(
    {
      under: (engine, keyspace) => ({
        engine,
        keyspace: withSystem(keyspace, part => ({
          get: (table, key) => (table === '$parked' && !isResuming() ? undefined : part.get(table, key)),
        })),
      }),
    },
    simulateParking,
  ));

/** Only those who deliver for the first time are blind. */
function isResuming(): boolean {
  return new Error().stack?.includes('resuming.ts') ?? false;
}

test('a replay under the generation of before is caught', () =>
  caught(
    {
      under: (engine, keyspace) => ({
        engine,
        keyspace: withSystem(keyspace, part => ({
          transact: (request, body, options) =>
            part.transact(
              request,
              tx =>
                body({
                  ...tx,
                  put: (table, key, value) =>
                    tx.put(table, key, table === '$cursor' ? { ...(value as object), generation: 1 } : value),
                }),
              options,
            ),
        })),
      }),
    },
    simulateReplay,
  ));

test('a schedule that runs a due time again after a takeover is caught', async () => {
  const seen: string[] = [];
  for (let seed = 1; seed <= 3; seed++) {
    const wrong = await simulateSchedules(seed, {
      // What another's entry moves in the due list stays where it was in this copy.
      store: (store, instance) =>
        withStore(store, {
          commit: (writes, head) => {
            const [known] = store.scan('$schedule', '', { limit: 1 });
            const moved = known !== undefined && head.writer !== instance;
            store.commit(moved ? writes.filter(([table]) => table !== '$schedule' && table !== '$due') : writes, head);
          },
        }),
    });
    if (wrong.some(text => text.startsWith('each:'))) return;
    seen.push(...wrong);
  }
  assert.fail(`no seed shows it; seen: ${seen.join('\n')}`);
});
