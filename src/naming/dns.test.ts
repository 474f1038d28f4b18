import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { test } from 'node:test';
import { type DecodedPacket, decode, encode } from 'dns-packet';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';
import { answerPacket, openDnsServer } from './dns.ts';
import { answerQuestion } from './dns-answers.ts';

function member(index: number, ready = true): Member {
  return {
    beat: {
      id: `stock-${index}-x`,
      role: 'instance',
      service: 'stock',
      node: 'n',
      zone: 'z',
      weight: 1,
      pid: 1,
      address: `tcp://127.0.0.1:${4000 + index}`,
      startedAt: 1,
      sequence: 1,
      sentAt: 1,
      ready,
      draining: false,
      mainLoopSilentMs: 0,
      load: { inflight: 0, cpu: 0, memoryBytes: 0, loopDelayMs: 0 },
      descriptorHash: 'h',
      partitions: [],
      entryFormat: 1,
    },
    verdict: 'alive',
    since: 0,
    clockAheadMs: 0,
  };
}
const registryOf = (members: Member[]) => ({
  instances: (service: string) => (service === 'stock' ? members : []),
  members: () => members,
  services: () => ['stock'],
});

/** Sends datagrams over real UDP and waits for the answer to the last. */
async function ask(port: number, ...datagrams: Uint8Array[]): Promise<DecodedPacket & { rcode: string }> {
  const socket = createSocket('udp4');
  try {
    const answer = Promise.withResolvers<Buffer>();
    socket.on('message', answer.resolve);
    socket.on('error', answer.reject);
    for (const datagram of datagrams) socket.send(datagram, port, '127.0.0.1');
    return decode(await answer.promise) as DecodedPacket & { rcode: string };
  } finally {
    socket.close();
  }
}
const query = (name: string, type: 'A' | 'SRV' | 'AAAA') =>
  encode({ type: 'query', id: 77, flags: 0x100, questions: [{ name, type }] });

test('an unknown name is NXDOMAIN, a foreign one is refused, garbage gets no answer and kills nothing', async () => {
  const server = await openDnsServer({ registry: registryOf([member(1)]), logger: silentLogger, port: 0 });
  try {
    assert.equal((await ask(server.port, query('nothing.tandem.internal', 'A'))).rcode, 'NXDOMAIN');
    assert.equal((await ask(server.port, query('example.org', 'A'))).rcode, 'REFUSED');
    const answered = await ask(server.port, Uint8Array.of(1, 2, 3), query('stock.tandem.internal', 'A'));
    assert.equal(answered.answers!.length, 1);
  } finally {
    await server.close();
  }
});

test('A and SRV name the ready instances only, with port and short TTL', async () => {
  const members = [member(1), member(2), member(3, false)];
  const server = await openDnsServer({ registry: registryOf(members), logger: silentLogger, port: 0 });
  try {
    const a = await ask(server.port, query('stock.tandem.internal', 'A'));
    assert.deepEqual(
      a.answers!.map(answer => (answer as { data: unknown }).data),
      ['127.0.0.1'],
    );
    const srv = await ask(server.port, query('_Stock._tcp.tandem.internal', 'SRV'));
    const answers = srv.answers as { ttl: number; data: { port: number; target: string } }[];
    assert.deepEqual(answers.map(({ data }) => data.port).sort(), [4001, 4002]);
    assert.ok(answers.every(({ ttl }) => ttl <= 2));
    const target = await ask(server.port, query(answers[0]!.data.target, 'A'));
    assert.equal((target.answers![0] as { data: unknown }).data, '127.0.0.1');
  } finally {
    await server.close();
  }
});

test('weights of machines stand in SRV records, and a slow instance counts a tenth', () => {
  const [usual, strong, slow] = [member(1), member(2), member(4)] as const;
  const heard = [usual, { ...strong, beat: { ...strong.beat, weight: 2.5 } }, { ...slow, verdict: 'slow' as const }];
  const { answers } = answerQuestion(registryOf(heard), { name: 'stock.tandem.internal', type: 'SRV' }, 1);
  assert.deepEqual(
    answers.map(answer => (answer as { data: { weight: number } }).data.weight),
    [10, 25, 1],
  );
});

test('a type that is not kept is an empty answer, not NXDOMAIN', async () => {
  const server = await openDnsServer({ registry: registryOf([member(1)]), logger: silentLogger, port: 0 });
  try {
    const reply = await ask(server.port, query('stock.tandem.internal', 'AAAA'));
    assert.deepEqual([reply.rcode, reply.answers!.length], ['NOERROR', 0]);
  } finally {
    await server.close();
  }
});

test('what does not fit a datagram is cut and flagged', () => {
  const members = Array.from({ length: 60 }, (_, index) => member(index));
  const bytes = answerPacket(query('stock.tandem.internal', 'SRV'), question =>
    answerQuestion(registryOf(members), question, 1),
  )!;
  assert.ok(bytes.length <= 512);
  const reply = decode(Buffer.from(bytes)) as DecodedPacket & { flag_tc: boolean };
  assert.equal(reply.flag_tc, true);
  assert.ok(reply.answers!.length > 0);
});

test('no bytes make it throw', () => {
  const random = seededRandom(5);
  const good = query('stock.tandem.internal', 'SRV');
  for (let i = 0; i < 5000; i++) {
    const bytes =
      i % 2 ? Uint8Array.from({ length: random.below(60) }, () => random.below(256)) : Uint8Array.from(good);
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256);
    answerPacket(bytes, question => answerQuestion(registryOf([member(1)]), question, 1));
  }
});
