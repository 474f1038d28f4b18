import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unpack } from '../replication/codec.ts';
import { doDue, nextDue } from './due.ts';
import { Overlay } from './overlay.ts';
import { type ScheduleDefinition, Schedules } from './schedules.ts';

const hourMs = 3_600_000;

/** One partition's rows; time is what the test says. Fires are noted as `name@hour` with what they missed. */
function partition() {
  const rows = new Overlay({ get: () => undefined, scan: () => [] });
  const fired: string[] = [];
  const tx = (hour: number) => ({
    rows,
    now: hour * hourMs,
    emit: ({ topic, body }: { topic: string; body: Uint8Array }) => {
      const { dueAt, missed } = unpack(body) as { dueAt: number; missed: number };
      fired.push(`${topic}@${dueAt / hourMs}${missed > 0 ? `+${missed}` : ''}`);
    },
  });
  return {
    fired,
    next: () => nextDue(rows)! / hourMs,
    arm: (code: Schedules, hour: number) => code.arm(tx(hour)),
    tick: (code: Schedules, hour: number) => doDue(tx(hour), new Map([['schedule', code.fallsDue]])),
  };
}

function code(...definitions: (Pick<ScheduleDefinition, 'name' | 'cron'> & Partial<ScheduleDefinition>)[]): Schedules {
  return new Schedules(
    definitions.map(given => ({
      timeZone: 'UTC',
      missed: 'once',
      key: 'k',
      topic: { name: given.name, partitions: 1 },
      ...given,
    })),
  );
}

const hourly = code({ name: 'a', cron: '0 * * * *' });

test('a new schedule begins with the next time, and arming it again changes nothing', () => {
  const { fired, next, arm, tick } = partition();
  arm(hourly, 10.5);
  arm(hourly, 10.7);
  assert.equal(next(), 11);
  tick(hourly, 10.9);
  assert.deepEqual(fired, []);
  tick(hourly, 11);
  tick(hourly, 11);
  assert.deepEqual(fired, ['a@11']);
  assert.equal(next(), 12);
});

test('what was due while nobody wrote the partition is not lost by arming', () => {
  const { fired, next, arm, tick } = partition();
  arm(hourly, 10.5);
  arm(hourly, 14.5);
  tick(hourly, 14.5);
  assert.deepEqual(fired, ['a@14+3']);
  assert.equal(next(), 15);
  const each = code({ name: 'a', cron: '0 * * * *', missed: 'each' });
  tick(each, 17.5);
  assert.deepEqual(fired.slice(1), ['a@15', 'a@16', 'a@17']);
});

test('each of very many missed times runs, a bounded number per transaction', () => {
  const { fired, arm, tick } = partition();
  const each = code({ name: 'a', cron: '0 * * * *', missed: 'each' });
  arm(each, 0.5);
  tick(each, 250);
  assert.equal(fired.length, 100);
  tick(each, 250);
  tick(each, 250);
  tick(each, 250);
  assert.deepEqual(
    fired,
    Array.from({ length: 250 }, (_, at) => `a@${at + 1}`),
  );
});

test('a changed schedule goes by its new times, and still owes the old time that has passed', () => {
  const { fired, next, arm, tick } = partition();
  const later = code({ name: 'a', cron: '30 * * * *' });
  arm(hourly, 10.5);
  arm(later, 10.6);
  assert.equal(next(), 11.5);
  arm(hourly, 10.7);
  assert.equal(next(), 11, 'back again, without a trace of the other');
  arm(later, 11.1);
  tick(later, 11.1);
  assert.deepEqual(fired, ['a@11']);
  assert.equal(next(), 11.5);
});

test('a writer whose code does not know the schedule lets it sleep; one that knows it wakes it, nothing lost', () => {
  const { fired, next, arm, tick } = partition();
  const former = code({ name: 'b', cron: '0 0 * * *' });
  arm(hourly, 10.5);
  arm(former, 10.6);
  tick(former, 13.5);
  tick(former, 13.6);
  assert.deepEqual(fired, []);
  arm(hourly, 13.7);
  tick(hourly, 13.7);
  assert.deepEqual(fired, ['a@13+2']);
  assert.equal(next(), 14);
});
