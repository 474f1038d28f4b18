/**
 * Read-modify-write of random rows on a NATS cluster of three servers that sync before they acknowledge, against single
 * messages published to the same kind of cluster: to one stream with eight subjects, and to eight streams. Ours is a method that
 * an instance runs, called from another process, over 64 partitions (streams) and over eight; theirs are bare publishes with acknowledgement of a body as large as an effect.
 */
import { findNatsServer, startNats } from '../test/nats-servers.ts';
import { withApp } from './app.ts';
import { retried } from './beside.ts';
import { randomFrom, rate } from './rate.ts';
import type { Bench } from './run.ts';

const keys = 100_000;
const random = randomFrom(1);
const streamCount = 8;
const body = new Uint8Array(100).fill(7);

async function onCluster<T>(work: (address: string, ports: readonly number[]) => Promise<T>): Promise<T> {
  const found = findNatsServer();
  if ('missing' in found) throw Object.assign(new Error(found.missing), { code: 'ERR_MODULE_NOT_FOUND' });
  const cluster = await startNats(found.path, 3);
  try {
    return await work(
      cluster.address(),
      cluster.servers.map(({ port }) => port),
    );
  } finally {
    await cluster.close();
  }
}

const tandem =
  (service: 'items' | 'few') =>
  (load: number): Promise<number> =>
    onCluster(address =>
      withApp(
        [service],
        async ({ caller }) => {
          await retried(() => caller.call(service, 'add', { key: 'first' }));
          return rate(load, () => caller.call(service, 'add', { key: `key${Math.floor(random() * keys)}` }));
        },
        address,
      ),
    );

const publish =
  (streams: number) =>
  (load: number): Promise<number> =>
    onCluster(async (_, ports) => {
      const [{ connect }, { jetstream, jetstreamManager }] = await Promise.all([
        import('@nats-io/transport-node'),
        import('@nats-io/jetstream'),
      ]);
      const connection = await connect({ servers: ports.map(port => `127.0.0.1:${port}`) });
      const manager = await jetstreamManager(connection);
      for (let at = 0; at < streams; at++) {
        const subjects = streams === 1 ? ['bench.*'] : [`bench.${at}`];
        await retried(() => manager.streams.add({ name: `bench${at}`, subjects, num_replicas: 3 }));
      }
      const stream = jetstream(connection);
      for (let at = 0; at < streamCount; at++) await retried(() => stream.publish(`bench.${at}`, body));
      const result = await rate(load, lane => stream.publish(`bench.${lane % streamCount}`, body));
      await connection.close();
      return result;
    });

export const bench: Bench = {
  ours: ['tandem-64-partitions', 'tandem-8-partitions'],
  rounds: 3,
  loads: [256],
  subjects: {
    'tandem-64-partitions': tandem('items'),
    'tandem-8-partitions': tandem('few'),
    'publish-one-stream': publish(1),
    'publish-eight-streams': publish(streamCount),
  },
};
