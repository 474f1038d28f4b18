import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, type DecodedPacket, decode } from 'dns-packet';
import { badQueries, goodQueries, message, opt, question } from '../../test/dns-corpus.ts';
import { dnsGateway, dnsMember, dnsRegistry } from '../../test/dns-registry.ts';
import { seededRandom } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';
import { type Carrier, type DnsRegistry, dnsAnswerer } from './dns-answer.ts';
import { addressBytes, labelOf } from './dns-zone.ts';

type Reply = DecodedPacket & { rcode: string; flag_tc: boolean; flag_aa: boolean };
const types = { A: 1, NS: 2, SOA: 6, TXT: 16, AAAA: 28, SRV: 33, AXFR: 252, ANY: 255 };

/** What is answered to one question, judged by another implementation's decoder. */
function answererOf(registry: DnsRegistry, zone = 'near', seed = 1) {
  const answer = dnsAnswerer({ registry, zone, ttlSeconds: 1, random: seededRandom(seed) });
  return (bytes: Uint8Array, from = '10.9.9.9', carrier: Carrier = 'tcp'): Reply => {
    const reply = answer(bytes, from, carrier);
    assert.ok(reply, 'an answer');
    return decode(Buffer.from(reply)) as Reply;
  };
}
const asked = (members: readonly Member[], name: string, type: keyof typeof types, from?: string): Reply =>
  answererOf(dnsRegistry(members))(message({}, question(`${name}.tandem.internal`, types[type])), from);
const data = (answers: readonly Answer[] | undefined): unknown[] =>
  (answers ?? []).map(answer => (answer as { data: unknown }).data);
interface Srv {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}
const services = (reply: Reply): Srv[] => data(reply.answers) as Srv[];

test('nothing malformed is answered with records, nothing throws, and a response never', () => {
  const registry = dnsRegistry([dnsMember(1), dnsGateway(1)]);
  const answer = dnsAnswerer({ registry, zone: 'near', ttlSeconds: 1, random: seededRandom(1) });
  const codes: Record<string, string> = {};
  for (const { name, bytes } of badQueries) {
    const reply = answer(bytes, '10.9.9.9', 'udp');
    if (!reply) {
      codes[name] = 'silence';
      continue;
    }
    const { rcode, answers } = decode(Buffer.from(reply)) as Reply;
    assert.deepEqual(answers, [], name);
    codes[name] = `${rcode}${(reply[3]! & 15) === 0 ? ` ${reply.length > 12 ? 'extended' : ''}` : ''}`;
  }
  const silent = Object.keys(codes).filter(name => codes[name] === 'silence');
  assert.deepEqual(silent, [
    'nothing',
    'one byte',
    'eleven bytes of a header',
    'ones',
    'a response',
    'a response with an error',
  ]);
  const refused = Object.keys(codes).filter(name => codes[name] === 'REFUSED');
  assert.deepEqual(
    refused.filter(name => !/^class|zone transfer|foreign|root|spells|is no text|dots in it/.test(name)),
    [],
  );
  for (const name of [
    'two questions',
    'a pointer to itself',
    'OPT whose length lies',
    'two OPTs',
    'no question',
    'bytes behind the end',
  ])
    assert.equal(codes[name], 'FORMERR', name);
  for (const name of ['opcode NOTIFY', 'opcode UPDATE']) assert.equal(codes[name], 'NOTIMP', name);
});

test('no bytes make it throw', () => {
  const registry = dnsRegistry([dnsMember(1)]);
  const answer = dnsAnswerer({ registry, zone: 'near', ttlSeconds: 1, random: seededRandom(1) });
  const random = seededRandom(5);
  const all = [...goodQueries, ...badQueries].filter(({ bytes }) => bytes.length > 0);
  for (let round = 0; round < 5000; round++) {
    const bytes = Uint8Array.from(all[random.below(all.length)]!.bytes);
    for (let times = 0; times < 3; times++) bytes[random.below(bytes.length)] = random.below(256);
    answer(bytes.subarray(0, 1 + random.below(bytes.length)), '127.0.0.1', 'udp');
    answer(bytes, '127.0.0.1', 'udp');
  }
});

test('what is missing is NXDOMAIN, what has no record of a type is empty; both with the SOA, to be kept for a second', () => {
  const members = [dnsMember(1)];
  for (const [name, type, code] of [
    ['nothing', 'A', 'NXDOMAIN'],
    ['stock-9-x.stock', 'A', 'NXDOMAIN'],
    ['stock', 'AAAA', 'NOERROR'],
    ['gateway', 'SRV', 'NOERROR'],
    ['_tcp', 'SRV', 'NOERROR'],
  ] as const) {
    const reply = asked(members, name, type);
    assert.deepEqual([reply.rcode, reply.answers!.length, reply.flag_aa], [code, 0, true], name);
    const [soa] = reply.authorities as { type: string; name: string; ttl: number; data: { minimum: number } }[];
    assert.deepEqual([soa?.type, soa?.name, soa?.ttl, soa?.data.minimum], ['SOA', 'tandem.internal', 1, 1], name);
  }
});

test('who has not heard of everybody yet fails, instead of saying that there is no such name', () => {
  const registry = dnsRegistry([dnsMember(1)], []);
  registry.isLearning = true;
  const ask = answererOf(registry);
  const code = (name: string): string => ask(message({}, question(`${name}.tandem.internal`, 1))).rcode;
  assert.deepEqual([code('orders'), code('gateway'), code('stock')], ['SERVFAIL', 'SERVFAIL', 'NOERROR']);
  registry.isLearning = false;
  assert.deepEqual([code('orders'), code('gateway')], ['NXDOMAIN', 'NOERROR']);
});

test('A and SRV name the ready only, with port, weight and a TTL of a second; the target has an address', () => {
  const members = [
    dnsMember(1),
    dnsMember(2, { weight: 2.5 }),
    dnsMember(3, {}, 'slow'),
    dnsMember(4, { ready: false }),
    dnsMember(5, { draining: true }),
    dnsMember(6, {}, 'stuck'),
    dnsMember(7, {}, 'dead'),
    dnsMember(8, { address: 'unix:///run/stock.sock' }),
    dnsMember(9, { address: 'tcp://0.0.0.0:4009' }),
    dnsMember(10, { address: 'tcp://[::]:4010' }),
  ];
  assert.deepEqual(data(asked(members, 'stock', 'A').answers), ['127.0.0.1'], 'each address once');
  for (const name of ['stock', '_stock._tcp']) {
    const reply = asked(members, name, 'SRV');
    assert.deepEqual(
      services(reply)
        .map(({ port, weight }) => [port, weight])
        .sort(),
      [
        [4001, 6400],
        [4002, 16_000],
        [4003, 640],
      ],
    );
    assert.ok(reply.answers!.every(answer => 'ttl' in answer && answer.ttl === 1));
    assert.equal(reply.additionals!.length, 3);
    const [{ target }] = services(reply) as [Srv];
    assert.deepEqual(data(asked(members, target.replace('.tandem.internal', ''), 'A').answers), ['127.0.0.1']);
  }
});

test('weights above what 16 bits hold keep their proportion', () => {
  const reply = asked([dnsMember(1, { weight: 100 }), dnsMember(2, { weight: 50 })], 'stock', 'SRV');
  assert.deepEqual(
    services(reply)
      .map(({ weight }) => weight)
      .sort(),
    [32_768, 65_535],
  );
});

test("the asker's zone comes first: that of its host, else of the server", () => {
  const members = [
    dnsMember(1, { zone: 'far', address: 'tcp://10.0.0.1:4001' }),
    dnsMember(2, { zone: 'near', address: 'tcp://10.0.0.2:4002' }),
    dnsMember(3, { zone: 'far', address: 'tcp://10.0.0.3:4003' }),
  ];
  const order = (from: string): string =>
    services(asked(members, 'stock', 'SRV', from))
      .map(({ priority, port }) => `${port}:${priority}`)
      .join(' ');
  assert.match(order('10.9.9.9'), /^4002:0 400[13]:10 400[13]:10$/);
  assert.match(order('10.0.0.3'), /^400[13]:0 400[13]:0 4002:10$/);
  assert.equal(data(asked(members, 'stock', 'A').answers)[0], '10.0.0.2');
});

test('each address comes first about equally often, also for who asks for A and AAAA in turn', () => {
  const members = [1, 2, 3, 4].map(index => dnsMember(index, { address: `tcp://10.0.0.${index}:4000` }));
  const ask = answererOf(dnsRegistry(members));
  const first = new Map<unknown, number>();
  for (let round = 0; round < 400; round++) {
    const [address] = data(ask(message({}, question('stock.tandem.internal', types.A))).answers);
    first.set(address, (first.get(address) ?? 0) + 1);
    ask(message({}, question('stock.tandem.internal', types.AAAA)));
  }
  assert.equal(first.size, 4);
  for (const count of first.values()) assert.ok(count > 60 && count < 140, `${[...first]}`);
});

test('TXT says what an instance is, as key=value', () => {
  const reply = asked([dnsMember(1, { weight: 2, node: 'n7' })], 'stock-1-x.stock', 'TXT');
  const texts = (data(reply.answers)[0] as Buffer[]).map(String);
  assert.deepEqual(texts, [
    'txtvers=1',
    'id=stock-1-x',
    'service=stock',
    'version=h1',
    'zone=near',
    'node=n7',
    'weight=2',
  ]);
});

test('a gateway stands for its doors, not for its link; each kind of door has a name', () => {
  const members = [
    dnsGateway(1, { doors: ['http://10.0.0.1:3000', 'https://10.0.0.1:3443'], address: 'tcp://10.0.0.1:5000' }),
    dnsGateway(2, { doors: ['http://[fd00::2]:3000'], address: 'tcp://[fd00::2]:5000' }),
    dnsGateway(3, { ready: false }),
  ];
  const ports = (name: string): number[] =>
    services(asked(members, name, 'SRV'))
      .map(({ port }) => port)
      .sort();
  assert.deepEqual(ports('gateway'), [3000, 3000]);
  assert.deepEqual(ports('_http._tcp.gateway'), [3000, 3000]);
  assert.deepEqual(ports('_https._tcp.gateway'), [3443]);
  assert.deepEqual(data(asked(members, 'gateway', 'A').answers), ['10.0.0.1']);
  assert.deepEqual(data(asked(members, 'gateway', 'AAAA').answers), ['fd00::2']);
  assert.deepEqual(data(asked(members, 'gateway-2-x.gateway', 'AAAA').answers), ['fd00::2']);
});

test('names of services with a dot, and ids that are no label, can be asked for', () => {
  const long = `stock.v2-1-${'a'.repeat(60)}-x9`;
  const members = [
    dnsMember(1, { id: 'stock.v2-1-x', service: 'stock.v2' }),
    dnsMember(2, { id: long, service: 'stock.v2' }),
  ];
  const reply = asked(members, '_stock.v2._tcp', 'SRV');
  assert.deepEqual(
    services(reply)
      .map(({ target }) => target)
      .sort(),
    [`${labelOf(long)}.stock.v2.tandem.internal`, 'stock-v2-1-x.stock.v2.tandem.internal'].sort(),
  );
  assert.ok(labelOf(long).length <= 63 && labelOf(long).endsWith('-x9'));
  assert.equal(asked(members, 'v2', 'A').rcode, 'NOERROR', 'there are names below it');
});

test('an instance behind a host name is named by it in SRV, and has no address', () => {
  const members = [dnsMember(1, { address: 'tcp://db7.example.org:4001' })];
  assert.equal(services(asked(members, 'stock', 'SRV'))[0]!.target, 'db7.example.org');
  assert.deepEqual(asked(members, 'stock', 'A').answers, []);
});

test('a beat with names that no message can carry spoils no answer about others', () => {
  const members = [
    dnsMember(1),
    dnsMember(2, { id: '' }),
    dnsMember(3, { id: 'stock-3-\u0000.\u00e9' }),
    dnsMember(4, { address: `tcp://${'a'.repeat(70)}.org:4004` }),
    dnsMember(5, { address: 'tcp://a..b:4005' }),
    dnsMember(6, { service: 'a..b' }),
    dnsMember(7, { service: 'x'.repeat(300) }),
    dnsGateway(8, { doors: ['nonsense', `http://${'b'.repeat(300)}:80`] }),
  ];
  assert.deepEqual(
    services(asked(members, 'stock', 'SRV'))
      .map(({ port }) => port)
      .sort(),
    [4001, 4003],
  );
  assert.deepEqual(asked(members, 'gateway', 'SRV').answers, []);
});

test('the zone has SOA and NS; ANY is answered with one set', () => {
  const members = [dnsMember(1), dnsMember(2, { id: 'naming-x', role: 'naming', doors: ['dns://10.0.0.7:53'] })];
  const ask = answererOf(dnsRegistry(members));
  const apex = (type: number): Reply => ask(message({}, question('tandem.internal', type)));
  assert.equal(apex(types.SOA).answers![0]!.type, 'SOA');
  assert.deepEqual(data(apex(types.NS).answers), ['naming.tandem.internal']);
  assert.deepEqual(data(apex(types.NS).additionals), ['10.0.0.7']);
  assert.deepEqual(
    asked(members, 'stock', 'ANY').answers!.map(({ type }) => type),
    ['SRV'],
  );
  assert.equal(apex(types.AXFR).rcode, 'REFUSED');
});

test('the question comes back as it was spelt', () => {
  const bytes = message({}, question('StOcK.taNDem.INTernal', 1));
  const reply = answererOf(dnsRegistry([dnsMember(1)]))(bytes);
  assert.equal(reply.questions![0]!.name, 'StOcK.taNDem.INTernal');
  assert.equal(reply.answers![0]!.name, 'StOcK.taNDem.INTernal');
});

test('EDNS is answered by EDNS: our size, a later version refused, DO copied; without it none', () => {
  const ask = answererOf(dnsRegistry([dnsMember(1)]));
  const edns = (version: number): Reply =>
    ask(message({ counts: [1, 0, 0, 1] }, question('stock.tandem.internal', 1), opt(4096, version)));
  const optOf = (reply: Reply) =>
    reply.additionals!.find(({ type }) => type === 'OPT') as unknown as Record<string, unknown>;
  assert.equal(optOf(edns(0))['udpPayloadSize'], 1232);
  assert.equal(edns(0).answers!.length, 1);
  assert.deepEqual(
    [optOf(edns(1))['extendedRcode'], optOf(edns(1))['ednsVersion'], edns(1).answers!.length],
    [1, 0, 0],
  );
  assert.equal(optOf(ask(message({}, question('stock.tandem.internal', 1)))), undefined);
});

test('a datagram holds what the asker takes, cut answers are flagged, and TCP has all', () => {
  const members = Array.from({ length: 200 }, (_, index) => dnsMember(index));
  const registry = dnsRegistry(members);
  const answer = dnsAnswerer({ registry, zone: 'near', ttlSeconds: 1, random: seededRandom(1) });
  const sizes = (from: string, carrier: Carrier, payload?: number): [number, number, boolean, number] => {
    const bytes =
      payload === undefined
        ? message({}, question('stock.tandem.internal', 33))
        : message({ counts: [1, 0, 0, 1] }, question('stock.tandem.internal', 33), opt(payload));
    const reply = answer(bytes, from, carrier)!;
    const { answers, additionals, flag_tc } = decode(Buffer.from(reply)) as Reply;
    return [reply.length, answers!.length, flag_tc, additionals!.length];
  };
  for (const [from, payload, most] of [
    ['10.0.0.1', undefined, 512],
    ['10.0.0.1', 100, 512],
    ['10.0.0.1', 65_535, 1232],
    ['127.0.0.1', 65_535, 8192],
    ['127.0.0.1', undefined, 512],
  ] as const) {
    const [length, count, truncated] = sizes(from, 'udp', payload);
    assert.ok(length <= most && length > most - 100, `${length} of ${most}`);
    assert.ok(truncated && count > 3, `${count} answers`);
  }
  assert.deepEqual(sizes('10.0.0.1', 'tcp').slice(1), [200, false, 200]);
  // Additional records are left out before answers, without the flag.
  registry.set(members.slice(0, 12));
  const [, count, truncated, additionals] = sizes('10.0.0.1', 'udp', 750);
  assert.deepEqual([count, truncated], [12, false]);
  assert.ok(additionals > 1 && additionals < 13, `${additionals}`);
});

test('addresses of both families become bytes', () => {
  const hex = (host: string): string | undefined => {
    const bytes = addressBytes(host);
    return bytes && Buffer.from(bytes).toString('hex');
  };
  assert.equal(hex('10.0.0.255'), '0a0000ff');
  assert.equal(hex('::1'), `${'0'.repeat(31)}1`);
  assert.equal(hex('fd00::2:3'), 'fd000000000000000000000000020003');
  assert.equal(hex('::ffff:10.0.0.1'), '00000000000000000000ffff0a000001');
  assert.equal(hex('1:2:3:4:5:6:7:8'), '00010002000300040005000600070008');
  assert.deepEqual([hex('fe80::1%eth0'), hex('db7.example.org')], [undefined, undefined]);
});
