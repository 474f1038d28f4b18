/** An app whose processes speak mutual TLS with each other, as people run it: started, called, looked at, backed up, written to. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Authority, openAuthority, opensslMissing } from '../src/communication/certificates.test.ts';
import { folderWith, prints, ran, tandem } from './running-app.ts';

const notes = `
import { contract, table } from 'tandem';
import * as z from 'zod';
export const notes = contract('notes', {
  put: { http: 'PUT /notes/:id', key: 'id', input: z.object({ id: z.string(), text: z.string() }) },
  get: { http: 'GET /notes/:id', key: 'id', consistency: 'strong', input: z.object({ id: z.string() }), output: z.string().nullable() },
});
export default notes.implement({
  partitions: 2,
  tables: { texts: table(z.string()) },
  methods: {
    put: ({ id, text }, ctx) => ctx.transact(tx => tx.texts.put(id, text)),
    get: async ({ id }, ctx) => (await ctx.tables.texts.get(id)) ?? null,
  },
});
`;

let authority: Authority | undefined;
after(() => authority?.[Symbol.dispose]());

test('tandem up --link-tls: every process speaks mutual TLS with the others, and everything works', {
  skip: opensslMissing,
  timeout: 60_000,
}, async () => {
  authority = openAuthority();
  const folder = folderWith({ 'notes.ts': notes });
  const data = join(folder, 'data');
  const certificates = authority.issue({ name: 'this machine' });

  const environment = { TANDEM_LINK_TLS: certificates };
  const app = tandem(['up', 'notes.ts', '--data', data, '--port', '0', '--json'], { cwd: folder, environment });
  await prints(app, /"kind":"up"/);
  const { gatewayUrl } = JSON.parse(
    app
      .out()
      .split('\n')
      .find(line => line.includes('"kind":"up"'))!,
  ) as {
    gatewayUrl: string;
  };
  const put = await fetch(`${gatewayUrl}/notes/a`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"text":"kept"}',
  });
  assert.equal(put.status, 200, await put.text());
  assert.equal(await (await fetch(`${gatewayUrl}/notes/a`)).json(), 'kept');

  const state = JSON.parse(readFileSync(join(data, 'supervisor.json'), 'utf8')) as {
    processes: { role: string; info: { address?: string } }[];
  };
  const linked = state.processes.filter(({ role }) => role === 'engine' || role === 'instance');
  assert.equal(linked.length, 2);
  for (const { info } of linked) assert.match(info.address!, /^tls:\/\/127\.0\.0\.1:\d+$/);
  // Without TLS nobody is answered: the caller's hello of the link, bare.
  const port = Number(linked[0]!.info.address!.split(':').at(-1));
  const answered = await new Promise<number>(resolve => {
    let bytes = 0;
    const bare = connectTcp(port, '127.0.0.1', () => bare.write(Buffer.from('0000000b0100000000544e444d0101', 'hex')));
    bare.on('data', chunk => {
      // A TLS alert (21) may come, and no frame.
      assert.equal(chunk[0], 21);
      bytes += chunk.length;
    });
    bare.on('error', () => {});
    bare.on('close', () => resolve(bytes));
  });
  assert.ok(answered < 16);

  const stale = authority.issue({ name: 'stale', expired: true });
  const own = { cwd: folder };
  const [doctor, ill, backup, unfit] = await Promise.all([
    ran(['doctor', '--data', data, '--json'], { ...own, environment }),
    ran(['doctor', '--data', 'other', '--link-tls', stale], own),
    // It asks the app where its engine and the certificates are.
    ran(['backup', 'notes.backup', '--data', data], own),
    ran(['up', 'notes.ts', '--data', 'third', '--link-tls', '/nowhere'], own),
  ]);
  assert.equal(doctor.code, 0, doctor.out);
  assert.match(doctor.out, /"check":"link TLS","ok":true,"says":"[^"]*IP Address:127\.0\.0\.1, until/);
  assert.equal(ill.code, 1);
  assert.match(ill.out, /link TLS: .*our certificate expired on/);
  assert.equal(backup.code, 0, backup.said);
  assert.equal(unfit.code, 1);
  assert.match(unfit.said, /link TLS: \/nowhere\/ca\.crt is not there/);

  app.child.kill('SIGTERM');
  assert.equal(await app.ended, 0);
});
