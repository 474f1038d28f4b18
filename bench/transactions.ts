/**
 * Read-modify-write of random rows, each answered when it is on disk. Ours is a method that an instance runs (schema,
 * context, request id and all), called from another process over the link. Peers are asked for less: etcd for a bare put,
 * Redis (`appendfsync always`) for a script that reads and writes one row. All over 100,000 keys.
 */
import { withApp } from './app.ts';
import { beside, besideRedis, freePort, retried } from './beside.ts';
import { etcdClient } from './etcd.ts';
import { randomFrom, rate } from './rate.ts';
import type { Bench } from './run.ts';

const keys = 100_000;
const random = randomFrom(1);
const anyKey = (): string => `key${Math.floor(random() * keys)}`;

const tandem = (load: number): Promise<number> =>
  withApp(['items'], async ({ caller }) => {
    await retried(() => caller.call('items', 'add', { key: 'first' }));
    return rate(load, () => caller.call('items', 'add', { key: anyKey() }));
  });

const etcd = async (load: number): Promise<number> => {
  const [port, peerPort] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const args = (directory: string): string[] => [
    ...['--data-dir', `${directory}/data`, '--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
    ...['--initial-cluster', `default=${peerUrl}`, '--log-level', 'error'],
  ];
  return beside('etcd', args, async () => {
    const client = await etcdClient(`127.0.0.1:${port}`);
    await retried(() => client.put('first', 'x'));
    const result = await rate(load, () => client.put(anyKey(), '{"text":"","count":1}'));
    client.close();
    return result;
  });
};

const script = `local before = redis.call('GET', KEYS[1])
local count = 1
if before then count = tonumber(before) + 1 end
redis.call('SET', KEYS[1], count)
return count`;

const redis = (load: number): Promise<number> =>
  besideRedis(true, client => {
    client.defineCommand('addOne', { numberOfKeys: 1, lua: script });
    const { addOne } = client as unknown as { addOne(key: string): Promise<number> };
    return rate(load, () => addOne.call(client, anyKey()));
  });

export const bench: Bench = {
  ours: ['tandem'],
  rounds: 3,
  loads: [256],
  subjects: { tandem, etcd, 'redis-always': redis },
};
