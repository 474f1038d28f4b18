// A bank runs under load, is backed up meanwhile, and restored elsewhere: the audit of what came back must balance. Then the
// same file goes into a NATS cluster, and a backup of that into a directory again.
import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { acknowledges, audit, folder, here, load, started, stopped } from './bank-app.ts';
import { findNatsServer, startNats } from './nats-servers.ts';
import { ran } from './running-app.ts';

test('a backup of a running app restores to a state that balances, with everything that was acknowledged before it', {
  timeout: 240_000,
}, async t => {
  const data = join(folder, 'data');
  const file = join(folder, 'bank.backup');
  const { app, api, write } = await started(data);
  const kept = await write('seen');
  const { acknowledged, end } = load(api, 'here');
  await acknowledges(acknowledged, 300);
  const before = [...acknowledged];
  const taken = await ran(['backup', file, '--data', data, '--json'], here);
  const after = acknowledged.length;
  await acknowledges(acknowledged, 50);
  await end();
  const gone = await write('lost');
  assert.equal(taken.code, 0, taken.printed);
  assert.ok(after > before.length, 'writes went on meanwhile');
  const live = await audit(api);
  assert.deepEqual([...live.sent].sort(), ['seen', 'lost', ...acknowledged].sort());
  assert.match((await ran(['backup', file, '--data', data], here)).said, /exists; name another file/);
  await stopped(app);

  const elsewhere = join(folder, 'restored');
  assert.match((await ran(['restore', file, '--data', data], here)).said, /has data already/);
  const restored = await ran(['restore', file, '--data', elsewhere], here);
  assert.equal(restored.code, 0, restored.printed);
  assert.match(restored.out, /^Restored: .*bank\.backup, of .*: \d+ logs, \d+ entries/);
  const second = await started(elsewhere);
  const back = await audit(second.api);
  for (const id of before) assert.ok(back.sent.has(id), `${id} was acknowledged before the backup and is gone`);
  assert.ok(back.sent.has('seen') && !back.sent.has('lost') && back.sent.size <= acknowledged.length + 1);
  assert.equal((await second.read('ada', kept)).status, 200, 'what it saw is here');
  const told = await second.read('ada', gone);
  const problem = (await told.json()) as { code: string; detail: string };
  assert.equal(problem.code, 'LOG_LOST');
  assert.match(JSON.stringify(problem), /which is gone.*as after a restore. Begin a new session/);
  assert.equal(told.headers.get('tandem-session'), '', 'it is told once');
  await second.api.send({ from: 'ada', to: 'grace', amount: 5, id: 'after' });
  assert.ok((await audit(second.api)).sent.has('after'));
  await stopped(second.app);

  await t.test(
    'a data directory that was copied as files goes on, says what it is, and its logs have a new incarnation',
    async () => {
      const copy = join(folder, 'copied');
      cpSync(elsewhere, copy, { recursive: true });
      const { app, api, read, write } = await started(copy);
      const { out } = await ran(['logs', 'engine', '--data', copy], here);
      assert.match(out, /the data is a copy: it was moved to another disk, or put back/);
      assert.equal((await read('ada', kept)).status, 200);
      const token = await write('in the copy');
      assert.notEqual(token.split('=')[0], kept.split('=')[0], 'a label of its own');
      assert.ok((await audit(api)).sent.has('in the copy'));
      await stopped(app);
    },
  );

  const again = join(folder, 'stopped.backup');
  const offline = await ran(['backup', again, '--data', elsewhere], here);
  assert.equal(offline.code, 0, offline.printed);
  const summary = JSON.parse((await ran(['backup', 'verify', again, '--list', '--json'], here)).out) as {
    logs: number;
    holds: { logs: { name: string }[] };
  };
  assert.ok(summary.logs >= 8);
  assert.equal(summary.holds.logs.length, summary.logs);
  assert.match((await ran(['backup', 'verify', again, '--list'], here)).out, /state\/bank\/0 {2}1 to \d+, \d+ KiB/);

  await t.test('an app does not begin beside half a restore; the restore begins anew', async () => {
    const half = join(folder, 'half');
    assert.equal((await ran(['restore', file, '--data', half], here)).code, 0);
    renameSync(join(half, 'engine'), join(half, 'engine.restoring'));
    const refused = await ran(['up', 'bank.ts', '--data', half, '--port', '0'], here);
    assert.equal(refused.code, 1);
    assert.match(refused.said, /a restore into .*half did not come to its end; run the same tandem restore again/);
    assert.equal((await ran(['restore', file, '--data', half], here)).code, 0);
    assert.equal(existsSync(join(half, 'engine.restoring')), false);
  });

  await t.test('a damaged file is refused before anything is written', async () => {
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 4;
    const damaged = join(folder, 'damaged.backup');
    writeFileSync(damaged, bytes);
    const target = join(folder, 'never');
    const refused = await ran(['restore', damaged, '--data', target], here);
    assert.equal(refused.code, 1);
    assert.match(refused.said, /damaged at byte \d+.*Nothing was restored; use another copy/);
    assert.equal(existsSync(join(target, 'engine')), false);
    assert.match((await ran(['backup', 'verify', damaged], here)).said, /damaged at byte/);
    assert.match((await ran(['backup', 'verify', join(folder, 'bank.ts')], here)).said, /is not a backup/);
  });

  const found = findNatsServer();
  await t.test(
    'a cluster that cannot keep its promise is refused before anything is written, with what to set, as by tandem up',
    { skip: 'missing' in found && found.missing },
    async () => {
      if (!('path' in found)) return;
      const lazy = await startNats(found.path, 1, { jetstream: 'max_file: 1GB' });
      try {
        const refused = async (address: string, message: RegExp): Promise<void> => {
          const restored = await ran(['restore', again, '--engine', address], here);
          const up = await ran(['up', 'bank.ts', '--data', join(folder, 'lazy'), '--engine', address], here);
          for (const { code, said } of [restored, up]) {
            assert.equal(code, 1);
            assert.match(said, message);
          }
        };
        await refused(lazy.address(), /sync_interval: always/);
        await refused(lazy.address('&sync=unchecked&replicas=3'), /replicas=3 needs a cluster/);
        await refused(`nats://127.0.0.1:${lazy.servers[0]!.port}`, /add monitor=http/);
        const empty = await ran(['restore', again, '--engine', lazy.address('&sync=unchecked')], here);
        assert.equal(empty.code, 0, `nothing was there yet: ${empty.printed}`);
      } finally {
        await lazy.close();
      }
    },
  );

  await t.test(
    'the same file moves the app to a NATS cluster, and a backup of that one moves it back',
    { skip: 'missing' in found && found.missing },
    async () => {
      if (!('path' in found)) return;
      const cluster = await startNats(found.path, 1);
      try {
        const address = cluster.address('&app=bank');
        const moved = await ran(['restore', again, '--engine', address], here);
        assert.equal(moved.code, 0, moved.printed);
        assert.match((await ran(['restore', again, '--engine', address], here)).said, /has data already/);
        const onNats = join(folder, 'on-nats');
        const third = await started(onNats, '--engine', address);
        assert.deepEqual([...(await audit(third.api)).sent].sort(), [...back.sent, 'after'].sort());
        await third.api.send({ from: 'ada', to: 'grace', amount: 5, id: 'on nats' });
        const busy = load(third.api, 'nats');
        await acknowledges(busy.acknowledged, 50);
        const promised = [...busy.acknowledged, 'on nats'];
        const home = join(folder, 'home.backup');
        const left = await ran(['backup', home, '--data', onNats], here);
        await acknowledges(busy.acknowledged, 10);
        await busy.end();
        assert.equal(left.code, 0, left.printed);
        const lost = await third.write('lost on nats');
        await audit(third.api);
        await stopped(third.app);

        // The cluster is lost and made anew; this machine's copies know more than the backup.
        const other = await startNats(found.path, 1);
        try {
          const there = other.address('&app=bank');
          assert.equal((await ran(['restore', home, '--engine', there], here)).code, 0);
          const again = await started(onNats, '--engine', there);
          const { sent } = await audit(again.api);
          for (const id of promised) assert.ok(sent.has(id), `${id} was acknowledged before the backup and is gone`);
          assert.ok(!sent.has('lost on nats'));
          assert.equal((await again.read('ada', lost)).status, 503);
          await again.write('after all');
          assert.ok((await audit(again.api)).sent.has('after all'));
          await stopped(again.app);
        } finally {
          await other.close();
        }
        assert.equal((await ran(['restore', home, '--data', join(folder, 'home')], here)).code, 0);
        const fourth = await started(join(folder, 'home'));
        const { sent } = await audit(fourth.api);
        for (const id of promised) assert.ok(sent.has(id), `${id} was acknowledged before the backup and is gone`);
        await stopped(fourth.app);
      } finally {
        await cluster.close();
      }
    },
  );
});
