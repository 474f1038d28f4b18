import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCron } from './cron.ts';
import { TandemError } from './errors.ts';

/** The next `count` times, as ISO without seconds. */
function times(cron: string, timeZone: string, after: string, count: number): string[] {
  const parsed = parseCron(cron, timeZone);
  const found: string[] = [];
  for (let at = Date.parse(after); found.length < count; ) {
    const next = parsed.next(at);
    assert(next > at, `${new Date(next).toISOString()} is not after ${new Date(at).toISOString()}`);
    found.push(new Date(next).toISOString().slice(0, 16));
    at = next;
  }
  return found;
}

test('what is no expression is refused, and the error says what it takes', () => {
  const refused = (cron: string, message: RegExp, timeZone = 'UTC'): void =>
    assert.throws(() => parseCron(cron, timeZone), {
      name: TandemError.name,
      code: 'INVALID',
      message,
    });
  refused('0 3 * *', /has 4 fields; it takes five/);
  refused('0 0 3 * * *', /has 6 fields/);
  refused('', /five/);
  refused('60 * * * *', /'60' is no minute; it takes 0-59/);
  refused('0 24 * * *', /'24' is no hour/);
  refused('0 0 0 * *', /'0' is no day of month/);
  refused('0 0 L * *', /'L' is no day of month/);
  refused('0 0 * foo *', /'foo' is no month/);
  refused('0 0 * * 5-1', /'5-1' is no day of week/);
  refused('*/0 * * * *', /'\*\/0' is no minute/);
  refused('0 0 30 2 *', /never falls due/);
  refused('0 0 * * *', /'Berlin' is no time zone/, 'Berlin');
});

test('lists, ranges, steps and names', () => {
  assert.deepEqual(times('0 3 * * *', 'UTC', '2026-01-01T03:00:00Z', 2), ['2026-01-02T03:00', '2026-01-03T03:00']);
  assert.deepEqual(times('*/20 * * * *', 'UTC', '2026-01-01T00:00:01Z', 3), [
    '2026-01-01T00:20',
    '2026-01-01T00:40',
    '2026-01-01T01:00',
  ]);
  assert.deepEqual(times('5/25,59 9-10 * * Mon-Fri', 'UTC', '2026-01-02T10:30:00Z', 5), [
    '2026-01-02T10:55',
    '2026-01-02T10:59',
    '2026-01-05T09:05',
    '2026-01-05T09:30',
    '2026-01-05T09:55',
  ]);
  assert.deepEqual(times('0 0 1 jan,jul *', 'UTC', '2026-01-01T00:00:00Z', 2), [
    '2026-07-01T00:00',
    '2027-01-01T00:00',
  ]);
  assert.deepEqual(times('0 0 * * 7', 'UTC', '2026-01-01T00:00:00Z', 1), ['2026-01-04T00:00'], '7 is Sunday too');
  assert.deepEqual(times('0 0 29 2 *', 'UTC', '2026-01-01T00:00:00Z', 2), ['2028-02-29T00:00', '2032-02-29T00:00']);
  assert.deepEqual(
    times('0 0 13 * 5', 'UTC', '2026-01-31T00:00:00Z', 3),
    ['2026-02-06T00:00', '2026-02-13T00:00', '2026-02-20T00:00'],
    'with both days given, either will do',
  );
});

test('a time zone is a wall clock, also far from UTC', () => {
  assert.deepEqual(times('0 3 * * *', 'Asia/Kolkata', '2026-01-01T00:00:00Z', 1), ['2026-01-01T21:30']);
  assert.deepEqual(times('30 0 1 * *', 'Pacific/Kiritimati', '2026-01-15T00:00:00Z', 1), ['2026-01-31T10:30']);
  assert.deepEqual(times('0 12 * * *', 'America/New_York', '2026-07-01T00:00:00Z', 1), ['2026-07-01T16:00']);
});

test('a time that the clock skips falls due once, at the moment of the skip', () => {
  // Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC.
  assert.deepEqual(times('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00:00Z', 3), [
    '2026-03-28T01:30',
    '2026-03-29T01:00',
    '2026-03-30T00:30',
  ]);
  assert.deepEqual(
    times('0,30 2,3 * * *', 'Europe/Berlin', '2026-03-28T22:00:00Z', 3),
    ['2026-03-29T01:00', '2026-03-29T01:30', '2026-03-30T00:00'],
    '02:00, 02:30 and 03:00 are one moment',
  );
  assert.deepEqual(
    times('*/30 * * * *', 'Europe/Berlin', '2026-03-29T00:00:00Z', 3),
    ['2026-03-29T00:30', '2026-03-29T01:00', '2026-03-29T01:30'],
    'each half hour of real time',
  );
  assert.deepEqual(times('15 * * * *', 'Europe/Berlin', '2026-03-29T00:00:00Z', 2), [
    '2026-03-29T00:15',
    '2026-03-29T01:15',
  ]);
});

test('a time that comes twice falls due the first time; with * as its hour, both times', () => {
  // Berlin, 25 October 2026: 03:00 becomes 02:00 at 01:00 UTC.
  assert.deepEqual(times('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', 2), [
    '2026-10-25T00:30',
    '2026-10-26T01:30',
  ]);
  assert.deepEqual(times('30 2 * * *', 'Europe/Berlin', '2026-10-25T01:10:00Z', 1), ['2026-10-26T01:30']);
  assert.deepEqual(times('30 2,3 * * *', 'Europe/Berlin', '2026-10-25T01:10:00Z', 1), ['2026-10-25T02:30']);
  assert.deepEqual(times('30 * * * *', 'Europe/Berlin', '2026-10-24T23:00:00Z', 4), [
    '2026-10-24T23:30',
    '2026-10-25T00:30',
    '2026-10-25T01:30',
    '2026-10-25T02:30',
  ]);
  // Lord Howe sets its clocks by half an hour: 5 April 2026, 02:00 becomes 01:30 at 15:00 UTC of the 4th.
  assert.deepEqual(times('45 1 * * *', 'Australia/Lord_Howe', '2026-04-04T12:00:00Z', 2), [
    '2026-04-04T14:45',
    '2026-04-05T15:15',
  ]);
  assert.deepEqual(times('45 * * * *', 'Australia/Lord_Howe', '2026-04-04T14:00:00Z', 3), [
    '2026-04-04T14:45',
    '2026-04-04T15:15',
    '2026-04-04T16:15',
  ]);
});

test('the next time agrees with looking at every minute, through two changes of the clock', () => {
  const zone = 'America/Havana'; // sets its clocks at midnight
  const wall = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' });
  for (const [cron, matches] of [
    ['7 * * * *', /:07$/],
    ['0 6,18 * * *', / (?:06|18):00$/],
    ['*/15 * * * *', /:(?:00|15|30|45)$/],
  ] as const) {
    const parsed = parseCron(cron, zone);
    for (const day of ['2026-03-07', '2026-10-31']) {
      let due = parsed.next(Date.parse(`${day}T00:00Z`) - 1);
      for (let at = Date.parse(`${day}T00:00Z`); at < Date.parse(`${day}T00:00Z`) + 3 * 86_400_000; at += 60_000) {
        if (!matches.test(wall.format(at))) continue;
        assert.equal(new Date(due).toISOString(), new Date(at).toISOString(), cron);
        due = parsed.next(at);
      }
    }
  }
});
