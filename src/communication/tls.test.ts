import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { Channel } from '../core/channel.ts';
import { systemClock as clock } from '../core/clock.ts';
import type { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { type Authority, openAuthority, opensslMissing } from './certificates.test.ts';
import { linkDialer } from './link-dialer.ts';
import { openLinkServer } from './link-server.ts';
import { tlsTransport } from './tls.ts';
import { transportSuite } from './transport.contract-suite.ts';

const options = { skip: opensslMissing };
let authority: Authority;
let good: string;
const random = seededRandom(1);

before(() => {
  if (opensslMissing) return;
  authority = openAuthority();
  good = authority.issue({ name: 'good' });
});
after(() => authority?.[Symbol.dispose]());

if (!opensslMissing)
  transportSuite('tls', () => ({
    transport: tlsTransport({ directory: good, clock, logger: silentLogger }),
    address: 'tls://127.0.0.1:0',
  }));

interface Records {
  readonly logger: Logger;
  readonly said: string[];
}

function recorder(): Records {
  const said: string[] = [];
  const say = (message: string, fields: object = {}): void => void said.push(`${message} ${JSON.stringify(fields)}`);
  return { logger: { ...silentLogger, info: say, warn: say, error: say }, said };
}

async function serve(
  directory: string,
  { logger }: Records,
  time = clock,
): Promise<{ address: string; close(): Promise<void> }> {
  const transports = [tlsTransport({ directory, clock: time, logger })];
  const address = 'tls://127.0.0.1:0';
  return openLinkServer({ transports, address, answer: ({ body }) => ({ body }), clock, random, logger, meter });
}

function dialer(directory: string, { logger }: Records): { dial(address: string): Channel; close(): unknown } {
  const transports = [tlsTransport({ directory, clock, logger })];
  return linkDialer({ transports, clock, random: seededRandom(1), logger, meter });
}

const ask = (channel: Channel): Promise<string> =>
  channel.call('echo', 'asked', { deadline: clock.monotonic() + 5000 }).then(
    ({ body }) => String(body),
    (error: TandemError) => `${error.code} ${error.outcome}: ${error.message}`,
  );

/** Records of the other end come a moment later. */
async function says({ said }: Records, words: RegExp): Promise<void> {
  for (let tries = 0; tries < 200 && !words.test(said.join('\n')); tries++)
    await new Promise(resolve => setTimeout(resolve, 10));
  assert.match(said.join('\n'), words);
}

test(
  'who shows no fit certificate is refused with a record at both ends, and a good client beside it notices nothing',
  options,
  async () => {
    using stranger = openAuthority('another authority');
    const cases: [name: string, directory: string, here: RegExp, there: RegExp][] = [
      [
        'another authority',
        stranger.issue({ name: 'stranger' }),
        /self-signed certificate in certificate chain/,
        /tls:\/\/127\.0\.0\.1:\d+.*does not accept our own/,
      ],
      [
        'expired',
        authority.issue({ name: 'old', expired: true }),
        /our certificate expired on/,
        /CN=old.*CERT_HAS_EXPIRED/,
      ],
    ];
    // Believes our authority, but shows a certificate of another.
    const mixed = stranger.issue({ name: 'mixed' });
    cpSync(join(good, 'ca.crt'), join(mixed, 'ca.crt'));
    cases.push(['not of our authority', mixed, /our certificate is not issued by ca\.crt/, /CN=mixed.*UNABLE_TO_/]);
    for (const [name, directory, here, there] of cases) {
      const [server, client, other] = [recorder(), recorder(), recorder()];
      const { address, close } = await serve(good, server);
      const friend = dialer(good, other);
      const kept = friend.dial(address);
      assert.equal(await ask(kept), 'asked');
      const own = dialer(directory, client);
      const told = await ask(own.dial(address));
      assert.match(told, /^UNAVAILABLE not-done: cannot reach tls:/, name);
      assert.match(told, here, name);
      assert.match(client.said.join('\n'), here, `${name}: the record of the one refused`);
      await says(server, there);
      assert.equal(friend.dial(address), kept, 'its connection lives on');
      assert.equal(await ask(kept), 'asked');
      assert.deepEqual(other.said, []);
      await own.close();
      await friend.close();
      await close();
    }
  },
);

test(
  'who shows no certificate, or speaks no TLS, never reaches the link; records of strangers are few',
  options,
  async () => {
    const server = recorder();
    const { address, close } = await serve(good, server);
    const port = Number(address.split(':').at(-1));
    const beganMs = clock.monotonic();
    for (let times = 0; times < 20; times++) {
      const bare = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
      bare.on('error', () => {});
      bare.on('secureConnect', () => bare.write('0000000b0100000000544e444d0101'));
      let answered = 0;
      bare.on('data', bytes => {
        answered += bytes.length;
      });
      await once(bare, 'close');
      assert.equal(answered, 0);
      const plain = connectTcp(port, '127.0.0.1', () => plain.write('GET / HTTP/1.1\r\n\r\n'));
      plain.on('error', () => {});
      plain.resume();
      await once(plain, 'close');
    }
    assert.match(server.said.join('\n'), /shows no certificate/);
    const seconds = (clock.monotonic() - beganMs) / 1000;
    assert.ok(server.said.length <= 2 + seconds, `${server.said.length} records of 40 strangers`);
    const friend = dialer(good, recorder());
    assert.equal(await ask(friend.dial(address)), 'asked');
    await friend.close();
    await close();
  },
);

test('a server whose certificate is for another host, or is expired, is not spoken to', options, async () => {
  const cases: [directory: string, here: RegExp][] = [
    [authority.issue({ name: 'elsewhere', for: 'IP:10.9.9.9' }), /127\.0\.0\.1.*10\.9\.9\.9/],
    [authority.issue({ name: 'late', expired: true }), /certificate has expired/],
  ];
  for (const [directory, here] of cases) {
    const client = recorder();
    const { address, close } = await serve(directory, recorder());
    const own = dialer(good, client);
    assert.match(await ask(own.dial(address)), here);
    assert.match(client.said.join('\n'), here);
    await own.close();
    await close();
  }
});

test(
  'certificates that are renewed on disk count from the next connection on; unfit ones are recorded and not used',
  options,
  async () => {
    const directory = authority.issue({ name: 'first' });
    const server = recorder();
    const time = virtualClock();
    const { address, close } = await serve(directory, server, time);
    const port = Number(address.split(':').at(-1));
    const shown = async (): Promise<string> => {
      await time.advance(2000);
      const files = ['ca.crt', 'tls.crt', 'tls.key'].map(name => join(good, name));
      const [ca, cert, key] = await Promise.all(
        files.map(file => import('node:fs/promises').then(fs => fs.readFile(file))),
      );
      const socket = connectTls({ port, host: '127.0.0.1', ca: ca!, cert: cert!, key: key! });
      await once(socket, 'secureConnect');
      const { subject } = socket.getPeerCertificate();
      socket.destroy();
      return String(subject.CN);
    };
    const friend = dialer(good, recorder());
    const kept = friend.dial(address);
    assert.equal(await ask(kept), 'asked');
    assert.equal(await shown(), 'first');
    cpSync(authority.issue({ name: 'second' }), directory, { recursive: true });
    assert.equal(await shown(), 'second');
    writeFileSync(join(directory, 'tls.crt'), 'no certificate');
    assert.equal(await shown(), 'second');
    assert.match(server.said.join('\n'), /new ones are not fit.*tls\.crt is not valid PEM/);
    rmSync(join(directory, 'tls.crt'));
    assert.equal(await shown(), 'second');
    assert.equal(await ask(kept), 'asked');
    await friend.close();
    await close();
  },
);

test('a directory that is not fit is refused at the start, with the file that is wrong', options, () => {
  const open = (directory: string) => () => tlsTransport({ directory, clock, logger: silentLogger });
  assert.throws(open('/nowhere'), { code: 'CONFIG', message: /\/nowhere\/ca\.crt is not there; the directory holds/ });
  const mixed = authority.issue({ name: 'mixed' });
  cpSync(join(good, 'tls.key'), join(mixed, 'tls.key'));
  assert.throws(open(mixed), { code: 'CONFIG', message: /tls\.key is not the key of tls\.crt/ });
});
