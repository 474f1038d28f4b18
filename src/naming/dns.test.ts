import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, test } from 'node:test';
import { type DecodedPacket, decode } from 'dns-packet';
import { badQueries, message, question } from '../../test/dns-corpus.ts';
import { dnsMember, dnsRegistry } from '../../test/dns-registry.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { openMeter } from '../monitoring/meter.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { type DnsServer, type DnsServerOptions, openDnsServer } from './dns.ts';

type Reply = DecodedPacket & { rcode: string };

const opened: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});
async function serve(clock: Clock = systemClock, options: Partial<DnsServerOptions> = {}): Promise<DnsServer> {
  const registry = dnsRegistry([dnsMember(1), dnsMember(2)]);
  const common = { registry, zone: 'near', random: seededRandom(1), logger: silentLogger, meter: silentMeter, port: 0 };
  const server = await openDnsServer({ ...common, clock, ...options });
  opened.push(server);
  return server;
}
const stock = message({ id: 7 }, question('stock.tandem.internal', 33));
const framed = (bytes: Uint8Array): Buffer => Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 255), bytes]);
interface Client {
  readonly socket: Socket;
  /** The next `count` replies. */
  replies(count: number): Promise<Reply[]>;
}
async function connected(port: number): Promise<Client> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  opened.push({ close: () => socket.destroy() });
  socket.on('error', () => {});
  let bytes = Buffer.alloc(0);
  await once(socket, 'connect');
  return {
    socket,
    async replies(count) {
      const found: Reply[] = [];
      for (;;) {
        while (found.length < count && bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
          const end = 2 + bytes.readUInt16BE(0);
          found.push(decode(bytes.subarray(2, end)) as Reply);
          bytes = bytes.subarray(end);
        }
        if (found.length === count) return found;
        await once(socket, 'readable');
        for (let chunk = socket.read(); chunk; chunk = socket.read()) bytes = Buffer.concat([bytes, chunk as Buffer]);
      }
    },
  };
}
/** Lets what is on its way arrive. */
async function arrived(): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await new Promise(done => setImmediate(done));
}

test('UDP and TCP answer on one port, and are counted; garbage before it changes nothing', async () => {
  const meter = openMeter(systemClock);
  const { port } = await serve(systemClock, { meter });
  const socket = createSocket('udp4');
  opened.push({ close: () => socket.close() });
  for (const { bytes } of badQueries) socket.send(bytes, port, '127.0.0.1');
  socket.send(stock, port, '127.0.0.1');
  let answer: Reply | undefined;
  while (answer?.id !== 7) answer = decode(((await once(socket, 'message')) as [Buffer])[0]) as Reply;
  assert.equal(answer.answers!.length, 2);
  const stream = await connected(port);
  stream.socket.write(framed(stock));
  assert.equal((await stream.replies(1))[0]!.answers!.length, 2);
  const counted = meter.snapshot().filter(({ name }) => name === 'tandem.dns.answers');
  const countOf = (carrier: string, code: string) =>
    counted.find(({ attributes }) => attributes['carrier'] === carrier && attributes['code'] === code);
  assert.ok(countOf('udp', 'FORMERR') && countOf('udp', 'REFUSED') && countOf('tcp', 'NOERROR'));
});

test('many questions on one connection, byte by byte or all at once, are answered in order, also when the client ends its side', async () => {
  const { port } = await serve();
  const slow = await connected(port);
  const some = Buffer.concat([1, 2, 3].map(id => framed(message({ id }, question('stock.tandem.internal', 1)))));
  for (const byte of some) {
    slow.socket.write(Buffer.of(byte));
    await new Promise(done => setImmediate(done));
  }
  assert.deepEqual(
    (await slow.replies(3)).map(({ id }) => id),
    [1, 2, 3],
  );
  const fast = await connected(port);
  const ids = Array.from({ length: 2000 }, (_, index) => index + 1);
  fast.socket.end(Buffer.concat(ids.map(id => framed(message({ id }, question('stock.tandem.internal', 33))))));
  assert.deepEqual(
    (await fast.replies(2000)).map(({ id }) => id),
    ids,
  );
  await once(fast.socket, 'close');
});

test('a length that is no question, and a message that deserves no answer, end the connection', async () => {
  const { port } = await serve();
  for (const bytes of [
    Buffer.of(0, 0),
    Buffer.of(0, 5, 1),
    Buffer.of(255, 255, 0),
    framed(message({ flags: 0x8180 }, question('a', 1))),
  ]) {
    const { socket } = await connected(port);
    socket.write(bytes);
    await once(socket.resume(), 'close');
  }
});

test('a connection without a whole question goes after its time, however it dribbles; one that asks stays', async () => {
  const clock = virtualClock();
  const server = await serve(clock, { idleMs: 10_000 });
  const dribbling = await connected(server.port);
  const asking = await connected(server.port);
  await arrived();
  assert.equal(server.connections, 2);
  for (let round = 0; round < 3; round++) {
    await clock.advance(3000);
    dribbling.socket.write(Buffer.of(round * 40));
    asking.socket.write(framed(stock));
    await asking.replies(1);
  }
  const closed = once(dribbling.socket.resume(), 'close');
  await clock.advance(1500);
  await closed;
  assert.equal(server.connections, 1);
  asking.socket.write(framed(stock));
  await asking.replies(1);
});

test('beyond the most connections the one that is silent for longest goes', async () => {
  const server = await serve(systemClock, { connectionsMax: 3 });
  const first = await connected(server.port);
  const second = await connected(server.port);
  await arrived();
  first.socket.write(framed(stock));
  await first.replies(1);
  await connected(server.port);
  await connected(server.port);
  await once(second.socket.resume(), 'close');
  assert.equal(server.connections, 3);
  first.socket.write(framed(stock));
  await first.replies(1);
});

test('who does not read its answers is not read from, and costs a bounded memory', async () => {
  const meter = openMeter(systemClock);
  const registry = dnsRegistry(Array.from({ length: 300 }, (_, index) => dnsMember(index)));
  const { port } = await serve(systemClock, { meter, registry });
  const { socket } = await connected(port);
  const asked = 3000;
  // 25 KB each: what the system's buffers take is some hundreds of them.
  socket.write(Buffer.concat(Array.from({ length: asked }, () => framed(stock))));
  const answered = (): number => (meter.snapshot()[0] as { value?: number } | undefined)?.value ?? 0;
  for (let before = -1; answered() === 0 || answered() !== before; await new Promise(done => setTimeout(done, 100)))
    before = answered();
  assert.ok(answered() < asked / 2, `${answered()} were answered`);
  const other = await connected(port);
  other.socket.write(framed(stock));
  assert.equal((await other.replies(1))[0]!.answers!.length, 300);
});

test('a port that is taken is said, with what to do', async () => {
  const { port } = await serve();
  await assert.rejects(serve(systemClock, { port }), { code: 'CONFIG', message: /name another address with --dns/ });
});
