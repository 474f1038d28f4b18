// Names as others use them, with real processes: `dig`, HAProxy that finds gateways and instances by SRV while they come
// and go, and a member of the app that must hear of each within 250 ms.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { systemHost } from '../src/app/host.ts';
import { linkDialer } from '../src/communication/link-dialer.ts';
import { TandemError } from '../src/core/errors.ts';
import type { Member } from '../src/failure-detection/beat.ts';
import { reachEngine } from '../src/log/reach-engine.ts';
import { openRegistry } from '../src/naming/open-registry.ts';
import type { Registry } from '../src/naming/registry.ts';
import { type AppState, folderWith, prints, ran, root, stateOf, tandem, until } from './running-app.ts';

const folder = folderWith();
const data = join(folder, 'data');
const example = join(root, 'examples/07-naming');
const run = promisify(execFile);
const closers: (() => unknown)[] = [];
const installed = (program: string): boolean =>
  ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'].some(path => existsSync(join(path, program)));
const host = systemHost({ id: 'watcher', write: () => {}, level: 'silent' });
const { clock, random, logger, meter, transports } = host;

interface Facts {
  readonly gatewayUrl: string;
  readonly dns: string;
  readonly engine: string;
}
let facts: Facts;
/** Hears what every caller hears. */
let registry: Registry;
const state = (): AppState => stateOf(data)!;
const ready = (): Member[] =>
  registry.instances('hello').filter(({ beat, verdict }) => beat.ready && !beat.draining && verdict === 'alive');

before(async () => {
  const app = tandem([
    'up',
    join(root, 'examples/01-hello/hello.ts'),
    '--data',
    data,
    '--port',
    '0',
    '--dns',
    '127.0.0.1:0',
    '--scale',
    'hello=2',
  ]);
  await prints(app, /hello ×2|hello\s/);
  facts = (await until(
    'the app to be up',
    () => (stateOf(data)?.facts as Partial<Facts> | undefined)?.dns && stateOf(data)!.facts,
  )) as Facts;
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = await reachEngine({ dialer, address: facts.engine, name: 'watcher', clock, random, logger });
  const describe = async (address: string, deadline: number) =>
    (await dialer.dial(address).call('$describe', null, { deadline })).body as never;
  const opened = openRegistry({ bus: engine.bus, describe, clock, random, logger });
  registry = opened;
  closers.push(async () => {
    opened.close();
    await engine.close();
    await dialer.close();
  });
  await until('the instances to be heard', () => ready().length === 2 && !registry.learning());
});
after(async () => {
  for (const close of closers.reverse()) await close();
});

const digHint = installed('dig') ? false : 'install it: apt-get install bind9-dnsutils';

test('dig gets what it asks for, over UDP and TCP, and a clear no', { skip: digHint }, async () => {
  const [, dnsHost, port] = /^(.*):(\d+)$/.exec(facts.dns)!;
  const dig = async (...args: string[]): Promise<string> =>
    (await run('dig', [`@${dnsHost}`, '-p', port!, '+tries=1', '+time=2', '+norecurse', ...args])).stdout;
  const [one] = ready() as [Member];
  const instance = `${one.beat.id}.hello.tandem.internal`;
  const gatewayPort = new URL(facts.gatewayUrl).port;
  const srv = /hello\.tandem\.internal\.\s+1\s+IN\s+SRV\s+0 6400 \d+ hello-\d-\w+\.hello\.tandem\.internal\./;
  const expected: readonly (readonly [args: string, ...answers: RegExp[]])[] = [
    [
      'hello.tandem.internal',
      /NOERROR/,
      /flags: qr aa;.* ANSWER: 1/,
      /\s1\s+IN\s+A\s+127\.0\.0\.1/,
      /EDNS: version: 0.*udp: 1232/,
    ],
    ['hello.tandem.internal SRV', /ANSWER: 2.*ADDITIONAL: 3/, srv],
    ['+tcp hello.tandem.internal SRV', /ANSWER: 2/, srv, /\(TCP\)/],
    ['+noedns _hello._tcp.tandem.internal SRV', /ANSWER: 2.*ADDITIONAL: 2/],
    ['+bufsize=512 hello.tandem.internal SRV', /ANSWER: 2/],
    ['+edns=1 +noednsnegotiation hello.tandem.internal', /BADVERS/],
    ['hello.tandem.internal AAAA', /NOERROR/, /ANSWER: 0, AUTHORITY: 1/, /SOA/],
    [`${instance} TXT`, /"txtvers=1" "id=hello-\d-\w+" "service=hello" "version=\w+" "zone=local"/],
    [`${instance} A`, /127\.0\.0\.1/],
    ['_http._tcp.gateway.tandem.internal SRV', /ANSWER: 2/, new RegExp(`SRV\\s+0 6400 ${gatewayPort} gateway-`)],
    ['tandem.internal SOA', /SOA\s+naming\.tandem\.internal\. hostmaster\.tandem\.internal\. \d+ 60 10 600 1/],
    ['tandem.internal NS', /NS\s+naming\.tandem\.internal\./],
    ['hello.tandem.internal ANY', /ANSWER: 2/, srv],
    ['nothing.tandem.internal', /NXDOMAIN/, /flags: qr aa;/, /AUTHORITY: 1/, /tandem\.internal\.\s+1\s+IN\s+SOA/],
    ['example.org', /REFUSED/],
    ['version.bind CH TXT', /REFUSED/],
    ['tandem.internal AXFR', /Transfer failed/],
  ];
  const answers = await Promise.all(expected.map(([args]) => dig(...args.split(' '))));
  expected.forEach(([args, ...patterns], index) => {
    for (const pattern of patterns) assert.match(answers[index]!, pattern, `dig ${args}`);
  });
});

test('a program without Tandem finds the gateways by SRV, and nginx by their address', {
  skip: installed('nginx') ? false : 'install it: apt-get install nginx-light',
}, async t => {
  const found = await run(process.execPath, [join(example, 'find.ts'), facts.dns, '/hello/you']);
  assert.equal(found.stdout, `${facts.gatewayUrl} says "Hello, you!"\n`);
  const [port] = (await freePorts(1)) as [number];
  const gatewayPort = new URL(facts.gatewayUrl).port;
  const changes = {
    '127.0.0.1:5300': facts.dns,
    ':3000': `:${gatewayPort}`,
    '127.0.0.1:8082': `127.0.0.1:${port}`,
    // Folders that any user may write to.
    'access_log off;': `access_log off; ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(each => `${each}_temp_path ${each};`).join(' ')}`,
  };
  const file = configured('nginx.conf', changes);
  const nginx = spawn('nginx', ['-p', folder, '-c', file, '-g', 'daemon off; master_process off;'], {
    stdio: 'ignore',
  });
  const gone = new Promise(resolve => nginx.once('close', resolve));
  t.after(async () => {
    nginx.kill('SIGKILL');
    await gone;
  });
  const get = () => fetch(`http://127.0.0.1:${port}/hello/you`, { signal: AbortSignal.timeout(5000) });
  const response = await until('nginx to listen', () => get().catch(() => undefined), 5000);
  assert.deepEqual([response.status, await response.text()], [200, '"Hello, you!"']);
});

/** From `since` (performance.now) until the registry says so. */
async function heardAfter(since: number, what: string, holds: () => boolean): Promise<number> {
  await registry.until(holds, what, clock.monotonic() + 10_000);
  return performance.now() - since;
}

test('HAProxy finds gateways and instances by SRV: none of its requests fails while they join, leave and are killed', {
  skip: installed('haproxy') ? false : 'install it: apt-get install haproxy',
  timeout: 60_000,
}, async t => {
  const [http, link] = (await freePorts(2)) as [number, number];
  const changes = {
    '127.0.0.1:5300': facts.dns,
    '127.0.0.1:8080': `127.0.0.1:${http}`,
    '127.0.0.1:8081': `127.0.0.1:${link}`,
  };
  const config = configured('haproxy.cfg', changes);
  const haproxy = spawn('haproxy', ['-db', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  haproxy.stderr.setEncoding('utf8').on('data', text => {
    said += text;
  });
  const gone = new Promise(resolve => haproxy.once('close', resolve));
  t.after(async () => {
    haproxy.kill('SIGKILL');
    await gone;
  });
  const get = () => fetch(`http://127.0.0.1:${http}/hello/x`, { signal: AbortSignal.timeout(5000) });
  await until('HAProxy to have found a gateway', async () => (await get().catch(() => undefined))?.ok, 10_000).catch(
    cause => {
      throw new Error(`${cause.message}\n${said}`);
    },
  );
  await until('HAProxy to have found an instance', () => ping(link).catch(() => false), 10_000);

  let stopped = false;
  const served = { http: new Map<string, number>(), link: new Map<string, number>() };
  const failed: string[] = [];
  let repeated = 0;
  const httpLane = async (): Promise<void> => {
    while (!stopped) {
      const response = await get().catch((cause: Error) => cause);
      if (response instanceof Error) failed.push(`HTTP ${response.message}`);
      else {
        const text = await response.text();
        if (response.ok) count(served.http, response.headers.get('tandem-instance')!);
        else failed.push(`HTTP ${response.status} ${text}`);
      }
      await new Promise(done => setTimeout(done, 2));
    }
  };
  // A client of the link tries again what certainly did not happen, or may happen twice: a ping may.
  const linkLane = async (): Promise<void> => {
    while (!stopped) {
      for (let tries = 1; ; tries++) {
        const id = await ping(link).catch(cause => TandemError.from(cause));
        if (typeof id === 'string') {
          count(served.link, id);
          break;
        }
        repeated++;
        if (tries >= 3) {
          failed.push(`link ${id.message}`);
          break;
        }
      }
      await new Promise(done => setTimeout(done, 10));
    }
  };
  const load = Promise.all([httpLane(), httpLane(), httpLane(), linkLane(), linkLane()]);
  t.after(async () => {
    stopped = true;
    await load;
  });

  // One joins: it has traffic within seconds.
  const former = new Set(ready().map(({ beat }) => beat.id));
  const scaled = ran(['scale', 'hello=3', '--data', data]);
  await registry.until(() => ready().length === 3, 'a third instance', clock.monotonic() + 15_000);
  const joined = ready().find(({ beat }) => !former.has(beat.id))!.beat.id;
  const joinedAt = performance.now();
  await until('the new one to have traffic', () => served.link.has(joined) && served.http.has(joined), 5000);
  const trafficMs = performance.now() - joinedAt;
  await scaled;

  // One instance and one gateway are killed: known at once, and no request fails for it.
  const [victim, gateway] = ['instance', 'gateway'].map(role => state().processes.find(each => each.role === role)!);
  const member = registry.members().find(({ beat }) => beat.pid === victim!.pid)!;
  let killedAt = performance.now();
  process.kill(victim!.pid, 'SIGKILL');
  const deadMs = await heardAfter(killedAt, 'the death of an instance', () => member.verdict === 'dead');
  const door = registry.members().find(({ beat }) => beat.pid === gateway!.pid)!;
  killedAt = performance.now();
  process.kill(gateway!.pid, 'SIGKILL');
  const doorMs = await heardAfter(killedAt, 'the death of a gateway', () => door.verdict === 'dead');
  await registry.until(() => ready().length === 3, 'its successor', clock.monotonic() + 15_000);
  const successor = ready().find(({ beat }) => !former.has(beat.id) && beat.id !== joined)!.beat.id;
  await until('its successor to have traffic', () => served.link.has(successor) && served.http.has(successor), 5000);

  // Two leave as planned: out of rotation before they end.
  const leaving = ran(['scale', 'hello=1', '--data', data]);
  await registry.until(() => ready().length === 1, 'two to leave', clock.monotonic() + 15_000);
  await leaving;
  served.http.clear();
  served.link.clear();
  const last = ready()[0]!.beat.id;
  await until(
    'traffic at the one that is left',
    () => (served.link.get(last) ?? 0) > 20 && (served.http.get(last) ?? 0) > 50,
    5000,
  );

  stopped = true;
  await load;
  assert.deepEqual([...new Set(failed)].slice(0, 5), [], `${failed.length} requests failed; HAProxy said:\n${said}`);
  assert.deepEqual([[...served.http.keys()], [...served.link.keys()]], [[last], [last]]);
  t.diagnostic(`new instance had traffic ${Math.round(trafficMs)} ms after it was heard; ${repeated} pings repeated`);
  t.diagnostic(`deaths known after ${Math.round(deadMs)} and ${Math.round(doorMs)} ms`);
  // It takes 40 to 90 ms, on a machine that is busy with other tests more; by silence it would be about a second.
  assert.ok(Math.min(deadMs, doorMs) < 500 && Math.max(deadMs, doorMs) < 800, `after ${deadMs} and ${doorMs} ms`);
});

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

/** A connection of its own to whom the door leads to, who says its id. */
async function ping(port: number): Promise<string> {
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  try {
    const { body } = await dialer
      .dial(`tcp://127.0.0.1:${port}`)
      .call('$ping', null, { deadline: clock.monotonic() + 3000 });
    return String(body);
  } finally {
    await dialer.close();
  }
}

/** A configuration of the example, at other ports. */
function configured(name: string, changes: Readonly<Record<string, string>>): string {
  let text = readFileSync(join(example, name), 'utf8');
  for (const [from, to] of Object.entries(changes)) {
    assert.ok(text.includes(from), `${name} has ${from}`);
    text = text.replaceAll(from, to);
  }
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** Free when they were asked for; held at once, so that they differ. */
async function freePorts(wanted: number): Promise<number[]> {
  const servers = Array.from({ length: wanted }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      server =>
        new Promise<number>(resolve =>
          server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)),
        ),
    ),
  );
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))));
  return ports;
}
