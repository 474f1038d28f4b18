/**
 * From publishing to the subscriber's handler: one publisher that awaits each confirmation, 256 events under way; one
 * subscriber in a process of its own that confirms what it has handled. At load 256 as fast as it goes (events handled per
 * second); at load 2000 so many are published per second, and the figures are ms from publish to handler: there less is
 * better, and a ratio below 1 says that ours is quicker. Ours and RabbitMQ (durable queue, persistent messages, confirms)
 * and BullMQ's Redis (`appendfsync always`) sync before they confirm; JetStream does not. amqplib and bullmq are no
 * dependencies of this repository: `npm install --no-save amqplib bullmq` to include them.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Publisher } from '../src/events/publisher.ts';
import { withApp } from './app.ts';
import { beside, besideRedis, ended, freePort, missing, pause, retried } from './beside.ts';
import { percentile } from './rate.ts';
import type { Bench, Figures } from './run.ts';

const warmUpMs = 2000;
const measuredMs = 3000;
const underWay = 256;
const text = 'x'.repeat(100);
const newEvent = (n: number): { id: string; at: number; text: string } => ({
  id: `id${n % 1000}`,
  at: Date.now(),
  text,
});
type NewEvent = ReturnType<typeof newEvent>;

/** `publish` resolves when confirmed; `seen` gives the delays since it was last asked. */
async function measured(
  load: number,
  publish: (event: NewEvent) => Promise<unknown>,
  seen: () => Promise<readonly number[]>,
): Promise<Figures> {
  let stopped = false;
  let count = 0;
  let open = 0;
  const isPaced = load > underWay;
  const one = async (): Promise<void> => {
    open++;
    await publish(newEvent(count++));
    open--;
  };
  const lane = async (): Promise<void> => {
    while (!stopped) await one();
  };
  const pacer = async (): Promise<void> => {
    for (const startedAt = performance.now(); !stopped; await pause(1)) {
      const due = ((performance.now() - startedAt) * load) / 1000;
      while (count < due && open < underWay) one().catch(() => {});
    }
  };
  const running = isPaced ? [pacer()] : Array.from({ length: underWay }, lane);
  await pause(warmUpMs);
  await seen();
  const from = performance.now();
  await pause(measuredMs);
  const delays = await seen();
  const seconds = (performance.now() - from) / 1000;
  stopped = true;
  await Promise.all(running);
  if (!isPaced) return { perSecond: delays.length / seconds };
  return { p50Ms: Math.max(0.5, percentile(delays, 0.5)), p99Ms: Math.max(0.5, percentile(delays, 0.99)) };
}

const tandem = (load: number): Promise<Figures> =>
  withApp(['receiver'], async ({ caller, engine, host }) => {
    const { clock, random } = host;
    const publisher = new Publisher({ engine, source: 'bench', clock, random });
    const { sent } = await import('./services.ts');
    const publish = (event: NewEvent): Promise<void> =>
      publisher.publish(sent, event, clock.monotonic() + 10_000, undefined);
    const seen = async (): Promise<number[]> => (await caller.call('receiver', 'seen', {})).value as number[];
    await retried(seen);
    const figures = await measured(load, publish, seen);
    await publisher.close(100);
    return figures;
  });

const subscribers: Record<string, (port: number, handle: (event: NewEvent) => void) => Promise<void>> = {
  'jetstream-pull': async (port, handle) => {
    const { stream } = await natsStream(port);
    const messages = await (await stream.consumers.get('bench', 'reader')).consume({ max_messages: underWay });
    void (async () => {
      for await (const message of messages) {
        handle(message.json());
        message.ack();
      }
    })();
  },
  'rabbitmq-durable': async (port, handle) => {
    const channel = await (await rabbit(port)).createChannel();
    await channel.prefetch(underWay);
    await channel.consume('bench', (message: { content: Buffer }) => {
      handle(JSON.parse(message.content.toString()));
      channel.ack(message);
    });
  },
  'bullmq-always': async (port, handle) => {
    const { Worker } = await optional('bullmq');
    const work = async (job: { data: NewEvent }): Promise<void> => handle(job.data);
    new Worker('bench', work, { concurrency: underWay, connection: { host: '127.0.0.1', port } });
  },
};

if (process.argv[2] === '--subscribe') {
  let delays: number[] = [];
  await subscribers[process.argv[3]!]!(Number(process.argv[4]), ({ at }) => void delays.push(Date.now() - at));
  process.on('message', () => {
    process.send!(delays);
    delays = [];
  });
  process.on('disconnect', () => process.exit(0));
  process.send!('ready');
}

/** Measures with the subscriber of a peer in its own process. */
async function withSubscriber(
  peer: string,
  port: number,
  load: number,
  publish: (event: NewEvent) => Promise<unknown>,
): Promise<Figures> {
  const child = fork(fileURLToPath(import.meta.url), ['--subscribe', peer, String(port)]);
  const next = (): Promise<readonly number[]> =>
    new Promise((resolve, reject) => {
      child.once('message', message => resolve(message as readonly number[]));
      child.once('exit', code => reject(new Error(`the subscriber of ${peer} ended with ${code}`)));
    });
  try {
    await next();
    child.setMaxListeners(0);
    return await measured(load, publish, () => {
      const answer = next();
      child.send('seen');
      return answer;
    });
  } finally {
    child.removeAllListeners('exit');
    await ended(child);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: packages that this repository does not depend on
async function optional(name: string): Promise<any> {
  try {
    return await import(name);
  } catch {
    throw missing(name);
  }
}

async function natsStream(port: number): Promise<{
  stream: import('@nats-io/jetstream').JetStreamClient;
  manager: import('@nats-io/jetstream').JetStreamManager;
  close(): Promise<void>;
}> {
  const [{ connect }, { jetstream, jetstreamManager }] = await Promise.all([
    import('@nats-io/transport-node'),
    import('@nats-io/jetstream'),
  ]);
  const connection = await retried(() => connect({ servers: `127.0.0.1:${port}`, reconnect: false }));
  const manager = await retried(() => jetstreamManager(connection));
  return { stream: jetstream(connection), manager, close: () => connection.close() };
}

async function jetstreamPull(load: number): Promise<Figures> {
  const port = await freePort();
  const args = (directory: string): string[] => ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory];
  return beside('nats-server', args, async () => {
    const { stream, manager, close } = await natsStream(port);
    await manager.streams.add({ name: 'bench', subjects: ['bench.*'] });
    const explicit = 'explicit' as import('@nats-io/jetstream').AckPolicy;
    await manager.consumers.add('bench', { durable_name: 'reader', ack_policy: explicit, max_ack_pending: 1024 });
    const publish = (event: NewEvent): Promise<unknown> => stream.publish('bench.one', JSON.stringify(event));
    const figures = await withSubscriber('jetstream-pull', port, load, publish);
    await close();
    return figures;
  });
}

// biome-ignore lint/suspicious/noExplicitAny: a package that this repository does not depend on
async function rabbit(port: number): Promise<any> {
  const amqplib = await optional('amqplib');
  return retried(() => amqplib.connect(`amqp://127.0.0.1:${port}`), 600);
}

async function rabbitmq(load: number): Promise<Figures> {
  await optional('amqplib');
  const [port, distPort, namesPort] = [await freePort(), await freePort(), await freePort()];
  const environment = {
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_NODENAME: `bench${port}@localhost`,
    RABBITMQ_MNESIA_BASE: 'DIRECTORY/mnesia',
    RABBITMQ_LOG_BASE: 'DIRECTORY/log',
    RABBITMQ_ENABLED_PLUGINS_FILE: 'DIRECTORY/plugins',
    RABBITMQ_PID_FILE: 'DIRECTORY/pid',
    ERL_EPMD_PORT: String(namesPort),
    HOME: 'DIRECTORY',
  };
  // Debian's own command wants to be another user; this one is what it calls. Erlang's name server would outlive it.
  return beside(
    'epmd',
    () => ['-address', '127.0.0.1', '-port', String(namesPort)],
    () =>
      beside(
        '/usr/lib/rabbitmq/bin/rabbitmq-server',
        () => [],
        async () => {
          const connection = await rabbit(port);
          const channel = await connection.createConfirmChannel();
          await channel.assertQueue('bench', { durable: true });
          const publish = (event: NewEvent): Promise<void> =>
            new Promise((done, failed) => {
              const body = Buffer.from(JSON.stringify(event));
              channel.sendToQueue('bench', body, { persistent: true }, (error: unknown) =>
                error ? failed(error) : done(),
              );
            });
          const figures = await withSubscriber('rabbitmq-durable', port, load, publish);
          await connection.close();
          return figures;
        },
        environment,
      ),
  );
}

const bullmq = async (load: number): Promise<Figures> => {
  const { Queue } = await optional('bullmq');
  return besideRedis(true, async client => {
    const port = client.options.port!;
    const queue = new Queue('bench', { connection: { host: '127.0.0.1', port } });
    const figures = await withSubscriber('bullmq-always', port, load, event =>
      queue.add('event', event, { removeOnComplete: true }),
    );
    await queue.close();
    return figures;
  });
};

export const bench: Bench = {
  ours: ['tandem'],
  rounds: 3,
  loads: [256, 2000],
  subjects: { tandem, 'jetstream-pull': jetstreamPull, 'rabbitmq-durable': rabbitmq, 'bullmq-always': bullmq },
};
