/** Schedules as a user has them: declared on a service, driven by the app's clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import { type Fire, type FireEvent, scheduleTopic } from '../contract/schedule.ts';
import { table } from '../contract/table.ts';
import { testApp } from '../simulation/test-app.ts';

const reports = contract('reports', {
  made: { key: 'name', input: z.object({ name: z.string() }), output: z.array(z.string()) },
});

interface Made {
  readonly fires: Fire[];
  readonly ids: string[];
}

function service(made: Made, schedule: { cron: string; timeZone?: string; missed?: 'once' | 'each' }, failing = 0) {
  let failures = failing;
  return reports.implement({
    tables: { made: table(z.array(z.string())) },
    partitions: 4,
    methods: { made: async ({ name }, ctx) => (await ctx.tables.made.get(name)) ?? [] },
    schedules: {
      hourly: {
        ...schedule,
        key: 'all',
        run: (fire, ctx) => {
          made.fires.push(fire);
          made.ids.push(ctx.requestId);
          if (failures-- > 0) throw new Error('not yet');
          return ctx.transact(tx => {
            tx.made.put('all', [...(tx.made.get('all') ?? []), new Date(fire.dueAt).toISOString().slice(11, 16)]);
          });
        },
      },
    },
  });
}

test('what no clock can follow is refused before anything runs, and the error names the schedule', async () => {
  const made = { fires: [], ids: [] };
  assert.throws(() => describeService(service(made, { cron: 'hourly' })), {
    code: 'INVALID',
    message: /schedule 'reports\.hourly': cron 'hourly' has 1 fields; it takes five/,
  });
  await assert.rejects(testApp([service(made, { cron: '0 * * * *', timeZone: 'Berlin' })]), {
    message: /schedule 'reports\.hourly': 'Berlin' is no time zone/,
  });
  assert.throws(() => describeService(service(made, { cron: '0 * * * *', missed: 'skip' as never })), {
    message: /schedule 'reports\.hourly': missed: 'skip' is neither once nor each/,
  });
  assert.throws(
    () =>
      reports.implement({
        methods: { made: () => [] },
        subscriptions: { hourly: {} as never },
        schedules: { hourly: { cron: '0 * * * *', run: () => {} } },
      }),
    /a schedule and a subscription 'hourly'; rename one/,
  );
});

test('a schedule runs at its times, and a run that fails is tried again under the same id', async () => {
  const made: Made = { fires: [], ids: [] };
  await using app = await testApp([service(made, { cron: '*/2 * * * *' }, 1)], { startAt: '2026-03-01T00:00:30Z' });
  await app.clock.advance('5m');
  await app.settled();
  assert.deepEqual(await app.call(reports).made({ name: 'all' }), ['00:02', '00:04']);
  assert.deepEqual(made.ids, [
    'reports.hourly@2026-03-01T00:02:00.000Z',
    'reports.hourly@2026-03-01T00:02:00.000Z',
    'reports.hourly@2026-03-01T00:04:00.000Z',
  ]);
  for (const { lateMs, missed } of made.fires) {
    assert(lateMs >= 0 && lateMs < 1000, `late by ${lateMs} ms`);
    assert.equal(missed, 0);
  }
});

test('a service that keeps nothing else has schedules too; one is run by hand by publishing a due time', async () => {
  const fires: number[] = [];
  const bare = contract('bare', {}).implement({
    methods: {},
    schedules: { yearly: { cron: '0 0 1 1 *', run: ({ dueAt, missed }) => fires.push(dueAt + missed) } },
  });
  await using app = await testApp([bare], { startAt: '2026-12-31T23:59:30Z' });
  await app.publish(scheduleTopic('bare', 'yearly'), { key: 'yearly', dueAt: 7 } as FireEvent);
  await app.clock.advance('1m');
  await app.settled();
  assert.deepEqual(fires, [7, Date.parse('2027-01-01T00:00:00Z')]);
});

test('times that passed while everything was down run once, late, when it is back; with each, all of them', async () => {
  for (const [missed, expected] of [
    ['once', ['00:01', '00:04', '00:05']],
    ['each', ['00:01', '00:02', '00:03', '00:04', '00:05']],
  ] as const) {
    const made: Made = { fires: [], ids: [] };
    await using app = await testApp([service(made, { cron: '* * * * *', missed })], {
      startAt: '2026-03-01T00:00:30Z',
    });
    await app.clock.advance('45s');
    await app.kill('reports');
    await app.clock.advance('3m');
    await app.start('reports');
    await app.clock.advance('65s');
    await app.settled();
    const rows = await app.call(reports).made({ name: 'all' });
    assert.deepEqual(rows.slice(0, expected.length), expected, missed);
    const late = made.fires.find(({ lateMs }) => lateMs > 5000)!;
    assert.equal(late.missed, missed === 'once' ? 2 : 0);
    assert.equal(new Set(rows).size, rows.length, 'none twice');
  }
});
