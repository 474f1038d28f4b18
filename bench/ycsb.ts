/**
 * The six workloads of YCSB (Cooper et al., 2010) over 100,000 records of 1 KB, 64 operations under way: A half updates,
 * B 5 % updates, C reads, D reads of what is new and 5 % inserts, E short scans and 5 % inserts, F half read-modify-writes.
 * Keys by zipf (0.99, scattered), in D the newest most often. Ours: methods of one instance called over the link, reads at
 * `sequential`, writes answered when on disk. Redis: `appendfsync always`, GET and SET of strings by ioredis; for E one
 * sorted set per group of 100 keys and MGET; for F a script. Ours keeps such a group in one partition by its key
 * (`group/number`), so a scan asks one place. `memoryMb` is what the loaded servers hold (RSS), less is better.
 */
import { readFileSync } from 'node:fs';
import { partitionOf } from '../src/partitioning/hash.ts';
import { withApp } from './app.ts';
import { besideRedis } from './beside.ts';
import { randomFrom, rate, zipfian } from './rate.ts';
import type { Bench, Figures } from './run.ts';

const records = 100_000;
const groupSize = 100;
const scanMax = 50;
const text = 'x'.repeat(1000);
const random = randomFrom(1);

interface Store {
  read(key: string): Promise<unknown>;
  update(key: string): Promise<unknown>;
  insert(key: string): Promise<unknown>;
  scan(group: string, after: string, limit: number): Promise<unknown>;
  modify(key: string): Promise<unknown>;
}

const groupOf = (n: number): string => `u${Math.floor(n / groupSize)}`;
const keyOf = (n: number): string => `${groupOf(n)}/${String(n).padStart(9, '0')}`;

async function workloads(load: number, store: Store): Promise<Record<string, number>> {
  let count = records;
  const rank = zipfian(records, random);
  /** Popular records lie anywhere, not side by side. */
  const any = (): string => keyOf((rank() * 7919) % records);
  const insert = (): Promise<unknown> => store.insert(keyOf(count++));
  const mix = (share: number, often: () => Promise<unknown>, else_: () => Promise<unknown>): Promise<number> =>
    rate(load, () => (random() < share ? often() : else_()));
  const read = (): Promise<unknown> => store.read(any());
  const update = (): Promise<unknown> => store.update(any());
  const scan = (): Promise<unknown> => {
    const key = any();
    return store.scan(key.slice(0, key.indexOf('/')), key, 1 + Math.floor(random() * scanMax));
  };
  return {
    A: await mix(0.5, read, update),
    B: await mix(0.95, read, update),
    C: await mix(1, read, update),
    // Not the very last ones: they may still be on their way.
    D: await mix(0.95, () => store.read(keyOf(count - 200 - (rank() % (count - 200)))), insert),
    E: await mix(0.95, scan, insert),
    F: await mix(0.5, read, () => store.modify(any())),
  };
}

function memoryMb(pids: readonly number[]): number {
  let pages = 0;
  for (const pid of pids) pages += Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
  return (pages * 4096) / 1_048_576;
}

const tandem = (load: number): Promise<Figures> =>
  withApp(['items'], async ({ caller, pids }) => {
    const call = (method: string, input: unknown): Promise<unknown> => caller.call('items', method, input);
    for (let n = 0; n < records; n += groupSize) {
      const keys = Array.from({ length: groupSize }, (_, i) => keyOf(n + i));
      if (partitionOf(keys[0]!, 64) !== partitionOf(keys[1]!, 64)) throw new Error('a group lies in one partition');
      await call('fill', { key: keys[0], keys, text });
    }
    const loadedMb = memoryMb(pids);
    const figures = await workloads(load, {
      read: key => call('sequential', { key }),
      update: key => call('put', { key, text }),
      insert: key => call('put', { key, text }),
      scan: (key, after, limit) => call('rows', { key, after, limit }),
      modify: key => call('add', { key }),
    });
    return { ...figures, memoryMb: loadedMb };
  });

const script = `local value = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], value .. '')
return #value`;

const redis = (load: number): Promise<Figures> =>
  besideRedis(true, async client => {
    client.defineCommand('modify', { numberOfKeys: 1, lua: script });
    const { modify } = client as unknown as { modify(key: string): Promise<number> };
    const insert = (key: string): Promise<unknown> =>
      Promise.all([client.set(key, text), client.zadd(key.slice(0, key.indexOf('/')), 0, key)]);
    for (let n = 0; n < records; n += groupSize)
      await Promise.all(Array.from({ length: groupSize }, (_, i) => insert(keyOf(n + i))));
    const pid = Number(/process_id:(\d+)/.exec(await client.info('server'))![1]);
    const loadedMb = memoryMb([pid]);
    const figures = await workloads(load, {
      read: key => client.get(key),
      update: key => client.set(key, text),
      insert,
      scan: async (group, after, limit) => {
        const keys = await client.zrangebylex(group, `(${after}`, '+', 'LIMIT', 0, limit);
        return keys.length > 0 ? client.mget(keys) : [];
      },
      modify: key => modify.call(client, key),
    });
    return { ...figures, memoryMb: loadedMb };
  });

export const bench: Bench = {
  ours: ['tandem'],
  rounds: 3,
  loads: [64],
  subjects: { tandem, 'redis-always': redis },
};
