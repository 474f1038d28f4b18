/** HTTP in, the real caller and a real link over TCP, an answer out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openCaller } from '../calling/open-caller.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { openLinkServer } from '../communication/link-server.ts';
import { tcpTransport } from '../communication/tcp.ts';
import { systemClock as clock } from '../core/clock.ts';
import { DeclaredError } from '../core/errors.ts';
import { Closers } from '../core/lifecycle.ts';
import { silentLogger as logger } from '../core/logger.ts';
import type { CallMeta } from '../core/meta.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { systemRandom as random } from '../core/random.ts';
import { silentTracer as tracer } from '../core/tracer.ts';
import type { Member } from '../failure-detection/beat.ts';
import { fakeRegistry, openTestGateway, stockDescriptor } from './fixture.test.ts';

test('a request crosses gateway, caller and link and comes back', async () => {
  const closers = new Closers();
  const parts = { transports: [tcpTransport()], clock, random, logger, meter };
  const metas: CallMeta[] = [];
  const server = await openLinkServer({
    ...parts,
    address: 'tcp://127.0.0.1:0',
    answer: async incoming => {
      metas.push(incoming.meta as CallMeta);
      if (incoming.method === 'stock.reserve') throw new DeclaredError('outOfStock', 409, { left: 1 });
      if (incoming.method === 'stock.live')
        return (async function* () {
          yield 1;
          yield 2;
        })();
      const session = { positions: [['state/stock/0', 4]] as const };
      return { body: incoming.body, meta: { instance: 'stock-1', level: 'sequential', session } };
    },
  });
  closers.add('server', () => server.close(0));
  const dialer = linkDialer(parts);
  closers.add('dialer', () => dialer.close());
  const member = {
    verdict: 'alive',
    since: 0,
    clockAheadMs: 0,
    beat: {
      id: 'stock-1',
      role: 'instance',
      service: 'stock',
      node: 'n',
      zone: 'z',
      weight: 1,
      pid: 1,
      address: server.address,
      startedAt: 1,
      sequence: 1,
      sentAt: 1,
      ready: true,
      draining: false,
      mainLoopSilentMs: 0,
      load: { inflight: 0, cpu: 0, memoryBytes: 0, loopDelayMs: 0 },
      descriptorHash: stockDescriptor.hash,
      partitions: [],
      entryFormat: 1,
    },
  } satisfies Member;
  const registry = {
    ...fakeRegistry([stockDescriptor]),
    version: 1,
    members: () => [member],
    instances: () => [member],
    member: () => member,
    learning: () => false,
    descriptorOf: () => stockDescriptor,
  };
  const caller = openCaller({ registry, dialer, clock, random, logger, meter, tracer });
  closers.add('caller', () => caller.close());
  const gateway = await openTestGateway(() => undefined, { registry, caller });
  closers.add('gateway', () => gateway.close(0));
  try {
    const all = await fetch(`${gateway.url}/stock/all?limit=3`, { headers: { 'tandem-consistency': 'sequential' } });
    assert.deepEqual(await all.json(), { limit: 3 });
    assert.equal(all.headers.get('tandem-instance'), 'stock-1');
    const token = all.headers.get('tandem-session')!;
    await (await fetch(`${gateway.url}/stock/all`, { headers: { 'tandem-session': token } })).text();
    assert.deepEqual(metas.at(-1)?.session?.positions, [['state/stock/0', 4]]);
    const headers = { 'content-type': 'application/json' };
    const refused = await fetch(`${gateway.url}/stock/a/reserve`, { method: 'POST', headers, body: '{"qty":1}' });
    assert.equal(refused.status, 409);
    assert.deepEqual(((await refused.json()) as { data: unknown }).data, { left: 1 });
    assert.equal(
      await (await fetch(`${gateway.url}/stock/a/live`)).text(),
      'data: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n',
    );
  } finally {
    await closers.close();
  }
});
