/**
 * Durable appends of 100 bytes, acknowledged, with so many under way at once, each server in a process of its own. Ours
 * answers after fdatasync; so does Redis with `appendfsync always`; JetStream R1 answers from the page cache (its default
 * syncs every two minutes), so the comparison is in its favour. Peers are started here, on ports of the system's choice, in
 * temporary directories; one that is not installed is left out.
 */
import { linkDialer } from '../src/communication/link-dialer.ts';
import { tcpTransport } from '../src/communication/tcp.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { connectEngine } from '../src/log/remote-engine.ts';
import { beside, besideRedis, freePort, retried } from './beside.ts';
import { rate } from './rate.ts';
import type { Bench } from './run.ts';

const body = Buffer.alloc(100, 'x');

async function tandem(load: number): Promise<number> {
  const address = `tcp://127.0.0.1:${await freePort()}`;
  const server = new URL('./append-engine.ts', import.meta.url).pathname;
  return beside(
    process.execPath,
    directory => [...process.execArgv, server, directory, address],
    async () => {
      const dialer = linkDialer({ transports: [tcpTransport()], clock, random, logger, meter });
      const engine = connectEngine({ dialer, address, clock, random, logger });
      const append = async (lane: number): Promise<void> => {
        const result = await engine.log.append(`log/${lane % 8}`, 'any', [body], {
          deadline: clock.monotonic() + 5000,
        });
        if (result.kind !== 'appended') throw new Error(`append: ${result.kind}`);
      };
      await retried(() => append(0));
      const result = await rate(load, append);
      await engine.close();
      await dialer.close();
      return result;
    },
  );
}

async function jetstream(load: number): Promise<number> {
  const [{ connect }, { jetstream: open, jetstreamManager }] = await Promise.all([
    import('@nats-io/transport-node'),
    import('@nats-io/jetstream'),
  ]);
  const port = await freePort();
  return beside(
    'nats-server',
    directory => ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory],
    async () => {
      const connection = await retried(() => connect({ servers: `127.0.0.1:${port}`, reconnect: false }));
      const manager = await retried(() => jetstreamManager(connection));
      await manager.streams.add({ name: 'bench', subjects: ['bench.*'] });
      const stream = open(connection);
      const result = await rate(load, lane => stream.publish(`bench.${lane % 8}`, body));
      await connection.close();
      return result;
    },
  );
}

const redis = (load: number): Promise<number> =>
  besideRedis(true, client => rate(load, lane => client.xadd(`log:${lane % 8}`, '*', 'b', body)));

export const bench: Bench = {
  ours: ['tandem'],
  rounds: 3,
  loads: [64, 1024],
  subjects: { tandem, 'jetstream-r1': jetstream, 'redis-always': redis },
};
