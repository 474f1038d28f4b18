/**
 * The checkers are only worth what they catch: each test breaks one rule of the data core on purpose, in front of the
 * engine, and asks that some seed shows it. The same seeds without a mutant are clean (`simulation.test.ts`).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AppendResult, Engine, Log } from '../src/log/engine.ts';
import { decodeEntry, encodeEntry } from '../src/replication/entry.ts';
import { type Mutant, simulateData } from './simulate-data.ts';

function withLog(engine: Engine, change: (log: Log) => Partial<Log>): Engine {
  const own: Engine = Object.create(engine, { log: { value: { ...engine.log, ...change(engine.log) } } });
  return own;
}

async function caughtBy(mutant: Mutant, expected: RegExp): Promise<void> {
  const seen: string[] = [];
  for (let seed = 0; seed < 40; seed++) {
    const { wrong } = await simulateData(seed, mutant).catch(error => ({ wrong: [String(error?.stack ?? error)] }));
    const found = wrong.find(text => expected.test(text));
    if (found) return;
    seen.push(...wrong);
  }
  assert.fail(`no seed shows it; seen: ${seen.slice(0, 3).join('\n')}`);
}

const inconsistent = /not linearizable|reads|writes|one order|events|counter|diverged/;

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

test('an entry of another that is put into the window of each append costs nothing but time', async () => {
  // No mutant: what the chain refuses must not change any result.
  let intruded = 0;
  for (let seed = 0; seed < 15; seed++) {
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
  assert.ok(intruded > 50, `only ${intruded} foreign entries`);
});

/** An entry like one of ours, by someone who did not see the one before it. */
function foreign(body: Uint8Array): Uint8Array {
  const entry = decodeEntry(body);
  return encodeEntry({ ...entry, parent: 'f'.repeat(32), author: 'stranger', claims: false, resignsTo: undefined });
}
