// Backups are taken while the partitions of the bank are divided: each that succeeds must restore to a bank that balances, and there
// the division goes on to its end.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { acknowledges, audit, folder, here, load, started, stopped } from './bank-app.ts';
import { ran, until } from './running-app.ts';

interface PartitionMap {
  readonly count: number;
  readonly to: number;
}

test('a backup of the middle of a reshard balances where it is restored, and is divided to the end there', {
  timeout: 180_000,
}, async () => {
  const data = join(folder, 'divided');
  const { app, api } = await started(data);
  const { acknowledged, end } = load(api, 'here');
  await acknowledges(acknowledged, 100);
  let isDone = false;
  const resharding = (async () => {
    for (const to of [8, 16]) {
      const { code, printed } = await ran(['reshard', 'bank', '--to', String(to), '--data', data, '--json'], here);
      assert.equal(code, 0, printed);
    }
    isDone = true;
  })();
  const taken: { readonly file: string; readonly before: readonly string[] }[] = [];
  for (let n = 0; !isDone; n++) {
    const file = join(folder, `divided-${n}.backup`);
    const before = [...acknowledged];
    const { code, printed } = await ran(['backup', file, '--data', data], here);
    assert.equal(code, 0, printed);
    if (!isDone) taken.push({ file, before });
  }
  await resharding;
  await end();
  await audit(api);
  await stopped(app);
  assert.ok(taken.length >= 1, `${taken.length} backups ended before the reshard did`);

  for (const { file, before } of new Set([taken[0]!, taken.at(-1)!])) {
    const target = `${file}-back`;
    const { code, printed } = await ran(['restore', file, '--data', target], here);
    assert.equal(code, 0, printed);
    const back = await started(target);
    const { sent } = await audit(back.api);
    for (const id of before) assert.ok(sent.has(id), `${id} was acknowledged before the backup and is gone`);
    await back.api.send({ from: 'ada', to: 'grace', amount: 5, id: 'after' });
    assert.ok((await audit(back.api)).sent.has('after'));
    await until('the division to end', async () => {
      const shown = await ran(['table', 'show', 'bank', '--data', target, '--json'], here);
      const { maps } = JSON.parse(shown.out) as { maps: (PartitionMap & { service: string })[] };
      const { count, to } = maps.find(({ service }) => service === 'bank')!;
      return count === to;
    });
    await stopped(back.app);
  }
});
