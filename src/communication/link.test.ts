import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Answerer, Channel, SendOptions } from '../core/channel.ts';
import { systemClock } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { linkDialer } from './link-dialer.ts';
import { type LinkServer, openLinkServer } from './link-server.ts';
import { memoryTransport } from './memory.ts';
import { tcpTransport } from './tcp.ts';
import type { Connection, Transport } from './transport.ts';

interface Opened {
  server: LinkServer;
  channel: Channel;
  dial(): Channel;
  close(): Promise<void>;
}

async function open(answer: Answerer, transport: Transport = memoryTransport(), clock = systemClock): Promise<Opened> {
  const address = transport.scheme === 'tcp' ? 'tcp://127.0.0.1:0' : 'memory://server';
  const parts = { transports: [transport], clock, random: seededRandom(1), logger, meter };
  const server = await openLinkServer({ ...parts, address, answer });
  const dialer = linkDialer(parts);
  return {
    server,
    channel: dialer.dial(server.address),
    dial: () => dialer.dial(server.address),
    close: async () => {
      await dialer.close();
      await server.close();
    },
  };
}

const within = (ms = 5000, clock = systemClock): SendOptions => ({ deadline: clock.monotonic() + ms });
const never = (): Promise<never> => new Promise(() => {});

it('fails at once with UNAVAILABLE and the address when nobody listens', async () => {
  const dialer = linkDialer({
    transports: [tcpTransport()],
    clock: systemClock,
    random: seededRandom(1),
    logger,
    meter,
  });
  const call = dialer.dial('tcp://127.0.0.1:1').call('a.b', 1, within());
  await assert.rejects(call, { code: 'UNAVAILABLE', outcome: 'not-done', message: /tcp:\/\/127\.0\.0\.1:1/ });
  await dialer.close();
});

it('hands errors over with code, outcome, details and declared data', async () => {
  const { channel, close } = await open(({ method }) => {
    if (method === 'declared') throw new DeclaredError('outOfStock', 409, { left: 2 });
    throw new TandemError('MOVED', 'elsewhere', { details: { to: 'x' } });
  });
  await assert.rejects(channel.call('declared', 0, within()), { code: 'outOfStock', status: 409, data: { left: 2 } });
  await assert.rejects(channel.call('moved', 0, within()), {
    code: 'MOVED',
    outcome: 'not-done',
    details: { to: 'x' },
  });
  await close();
});

it('ends a call at its deadline, and tells the handler, under a virtual clock', async () => {
  const clock = virtualClock();
  let aborted: unknown;
  const answer: Answerer = async ({ signal }) => {
    signal.addEventListener('abort', () => {
      aborted = signal.reason;
    });
    return never();
  };
  const { channel } = await open(answer, memoryTransport(), clock);
  const call = assert.rejects(channel.call('slow', 0, within(200, clock)), {
    code: 'DEADLINE_EXCEEDED',
    outcome: 'unknown',
  });
  await clock.advance(300);
  await call;
  assert.ok(aborted instanceof TandemError);
});

it('cancels the handler when the caller gives up', async () => {
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  const { channel, close } = await open(async ({ signal }) => {
    signal.addEventListener('abort', () => aborted.resolve());
    started.resolve();
    return never();
  });
  const abort = new AbortController();
  const call = assert.rejects(channel.call('slow', 0, { ...within(), signal: abort.signal }), { code: 'CANCELED' });
  await started.promise;
  abort.abort();
  await call;
  await aborted.promise;
  await close();
});

it('fails open calls with INTERRUPTED when the server is cut off, and the next dial connects anew', async () => {
  const transport = tcpTransport();
  const cut: Connection[] = [];
  const watched: Transport = {
    ...transport,
    listen: (address, accept) =>
      transport.listen(address, connection => {
        cut.push(connection);
        accept(connection);
      }),
  };
  const started = Promise.withResolvers<void>();
  const { channel, dial, close } = await open(({ method }) => {
    if (method === 'fast') return { body: 'ok' };
    started.resolve();
    return never();
  }, watched);
  const call = assert.rejects(channel.call('slow', 0, within()), { code: 'INTERRUPTED', outcome: 'unknown' });
  await started.promise;
  cut[0]!.destroy();
  await call;
  await assert.rejects(channel.call('fast', 0, within()), { code: 'UNAVAILABLE' });
  assert.deepEqual(await dial().call('fast', 0, within()), { body: 'ok' });
  await close();
});

it('refuses calls beyond the limit of a connection with OVERLOADED', async () => {
  const { channel, server } = await open(never);
  const calls = Array.from({ length: limits.callsPerConnectionMax }, () => channel.call('slow', 0, within()));
  for (const call of calls) call.catch(() => {});
  await assert.rejects(channel.call('slow', 0, within()), { code: 'OVERLOADED', outcome: 'not-done' });
  await Promise.all([channel.close(), server.close()]);
});

it('refuses what it cannot carry, and the connection lives on', async () => {
  const { channel, close } = await open(({ body }) => ({ body }));
  await assert.rejects(channel.call('echo', JSON.parse('{"__proto__":1}'), within()), { code: 'INVALID' });
  await assert.rejects(channel.call('echo', 'x'.repeat(limits.frameBytesMax), within()), { code: 'TOO_LARGE' });
  const body = { text: 'é'.repeat(50_000), list: [1.5, -1, -40_000, 2 ** 40, null, true], empty: {} };
  assert.deepEqual(await channel.call('echo', body, within()), { body });
  await close();
});

it('lets what runs finish on close, and new calls get CLOSED', async () => {
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const { server, channel } = await open(async () => {
    started.resolve();
    await gate.promise;
    return { body: 'done' };
  });
  const call = channel.call('slow', 0, within());
  await started.promise;
  const closing = server.close(5000);
  await new Promise(resolve => setImmediate(resolve));
  await assert.rejects(channel.call('slow', 0, within()), { code: 'CLOSED', outcome: 'not-done' });
  gate.resolve();
  assert.deepEqual(await call, { body: 'done' });
  await closing;
});

it('holds a stream back while its reader is slow, and ends its source when the reader leaves', async () => {
  let made = 0;
  const ended = Promise.withResolvers<void>();
  const { channel, close } = await open(async function* () {
    try {
      for (;;) {
        made++;
        yield Buffer.alloc(65_536);
      }
    } finally {
      ended.resolve();
    }
  } as unknown as Answerer);
  let read = 0;
  for await (const _ of channel.stream('endless', 0, within())) {
    if (++read === 1) for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve));
    assert.ok(made - read <= 12, `${made} made, ${read} read`);
    if (read === 20) break;
  }
  await ended.promise;
  await close();
});

it('carries items of the caller', async () => {
  const { channel, close } = await open(async function* ({ items }: { items: AsyncIterable<number> }) {
    for await (const item of items) yield item * 2;
  } as unknown as Answerer);
  async function* numbers(): AsyncIterable<number> {
    for (let i = 0; i < 1000; i++) yield i;
  }
  let sum = 0;
  for await (const item of channel.stream('double', 0, within(), numbers())) sum += item as number;
  assert.equal(sum, 999_000);
  await close();
});

it('answers once, with meta, a call that sends items', async () => {
  const { channel, close } = await open(async ({ items }) => {
    let sum = 0;
    for await (const item of items as AsyncIterable<number>) sum += item;
    return { body: sum, meta: { instance: 'a' } };
  });
  async function* numbers(last: number): AsyncIterable<number> {
    for (let i = 0; i <= last; i++) yield i;
  }
  assert.deepEqual(await channel.call('sum', 0, within(), numbers(999)), {
    body: 499_500,
    meta: { instance: 'a' },
  });
  async function* broken(): AsyncIterable<number> {
    yield 1;
    throw new TandemError('INVALID', 'no number');
  }
  await assert.rejects(channel.call('sum', 0, within(), broken()), { code: 'INVALID', message: 'no number' });
  await close();
});

it('tells the handler of a call whose deadline its own process saw first', async () => {
  let told: AbortSignal | undefined;
  const { channel, close } = await open(({ signal }) => {
    told = signal;
    throw new TandemError('DEADLINE_EXCEEDED', 'it did not answer in time');
  });
  await assert.rejects(channel.call('slow', 0, within()), { code: 'DEADLINE_EXCEEDED' });
  assert.equal(told?.aborted, true);
  await close();
});

it('names the versions when none is common', async () => {
  const transport = memoryTransport();
  await transport.listen('memory://future', connection => {
    connection.onData = () => connection.write(Buffer.from('0000000b0100000000544e444d0709', 'hex'));
  });
  const dialer = linkDialer({ transports: [transport], clock: systemClock, random: seededRandom(1), logger, meter });
  const call = dialer.dial('memory://future').call('a.b', 0, within());
  await assert.rejects(call, { code: 'UNSUPPORTED', outcome: 'not-done', message: /versions 7 to 9/ });
  await dialer.close();
});

it('survives garbage, before and after the hello, in pieces of any size', async () => {
  const transport = memoryTransport();
  const { channel, close } = await open(({ body }) => ({ body }), transport);
  const random = seededRandom(42);
  const hello = Buffer.from('0000000b0100000000544e444d0101', 'hex');
  for (let round = 0; round < 300; round++) {
    const stranger = transport.connect('memory://server');
    const garbage = Buffer.from(Array.from({ length: 1 + random.below(200) }, () => random.below(256)));
    if (round % 3 > 0 && garbage.length >= 4) garbage.writeUInt32BE(random.below(150), 0);
    const bytes = round % 2 ? Buffer.concat([hello, garbage]) : garbage;
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + random.below(7);
      stranger.write(bytes.subarray(at, at + size));
      at += size;
    }
    await new Promise(resolve => setImmediate(resolve));
    stranger.destroy();
  }
  assert.deepEqual(await channel.call('echo', 'alive', within()), { body: 'alive' });
  await close();
});
