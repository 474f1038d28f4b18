/**
 * Reads of random rows out of a million, so many under way at once. Inside an instance, as a handler reads through
 * `ctx.tables` (a scope of its own for each read, as each call has one), at each level; from another process, as a method
 * call that answers the row; and GET of a Redis without persistence, by ioredis. Whoever asks gets an object each time.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { Session } from '../src/calling/session.ts';
import type { Consistency } from '../src/contract/method.ts';
import type { Keyspace } from '../src/state/keyspace.ts';
import { insideInstance, withApp } from './app.ts';
import { besideRedis } from './beside.ts';
import { randomFrom, rate } from './rate.ts';
import type { Bench } from './run.ts';

const rows = 1_000_000;
const row = { text: 'x'.repeat(80), count: 0 };
const rowsPerFill = 2000;
const partitions = 64;
const random = randomFrom(1);
const anyKey = (): string => `key${Math.floor(random() * rows)}`;

/** Keys by partition, in portions that fit a transaction. */
export function* portions(count: number, partitionOf: (key: string) => number): Generator<string[]> {
  const byPartition = Array.from({ length: partitions }, (): string[] => []);
  for (let n = 0; n < count; n++) {
    const key = `key${n}`;
    const list = byPartition[partitionOf(key)]!;
    list.push(key);
    if (list.length === rowsPerFill) yield list.splice(0);
  }
  for (const list of byPartition) if (list.length > 0) yield list;
}

async function fillInside(keyspace: Keyspace): Promise<void> {
  await writable(keyspace);
  for (const keys of portions(rows, key => keyspace.partitionOf(key))) {
    const scope = keyspace.scope({
      ...scopeOf(keyspace, keys[0]!, 'eventual', new Session()),
      request: { id: keys[0]! },
    });
    await scope.transact(tx => {
      const table = (tx as unknown as Record<string, { put(key: string, value: unknown): void }>)['items']!;
      for (const key of keys) table.put(key, row);
    });
  }
}

/** This instance takes over what nobody writes yet. */
async function writable(keyspace: Keyspace): Promise<void> {
  while (!keyspace.held().every(partition => keyspace.isWriter(partition))) await wait(20);
}

function scopeOf(
  keyspace: Keyspace,
  key: string,
  level: Consistency,
  session: Session,
): Parameters<Keyspace['scope']>[0] {
  const deadline = performance.now() + 10_000;
  return { partition: keyspace.partitionOf(key), level, session, deadline, request: { id: '' } };
}

function inside(level: Consistency): (load: number) => Promise<number> {
  return load =>
    insideInstance('items', async keyspace => {
      await fillInside(keyspace);
      // Each lane is a client that has seen something: its session holds the positions of what it read.
      const sessions = Array.from({ length: load }, () => new Session());
      return rate(load, async lane => {
        const key = anyKey();
        const scope = keyspace.scope(scopeOf(keyspace, key, level, sessions[lane]!));
        if ((await scope.tables['items']!.get(key)) === undefined) throw new Error(`${key} is not there`);
      });
    });
}

const overLink = (load: number): Promise<number> =>
  withApp(['items'], async ({ caller }) => {
    const { partitionOf } = await import('../src/partitioning/hash.ts');
    for (const keys of portions(rows, key => partitionOf(key, partitions)))
      await caller.call('items', 'fill', { key: keys[0], keys, text: row.text });
    return rate(load, async () => {
      const key = anyKey();
      const { value } = await caller.call('items', 'eventual', { key });
      if (value === null) throw new Error(`${key} is not there`);
    });
  });

const redis = (load: number): Promise<number> =>
  besideRedis(false, async client => {
    const text = JSON.stringify(row);
    for (let n = 0; n < rows; n += rowsPerFill)
      await client.mset(Array.from({ length: rowsPerFill * 2 }, (_, i) => (i % 2 ? text : `key${n + i / 2}`)));
    return rate(load, async () => JSON.parse((await client.get(anyKey()))!));
  });

export const bench: Bench = {
  ours: ['eventual', 'sequential', 'strong', 'eventual-link'],
  rounds: 3,
  loads: [64, 512],
  subjects: {
    eventual: inside('eventual'),
    sequential: inside('sequential'),
    strong: inside('strong'),
    'eventual-link': overLink,
    ioredis: redis,
  },
};
