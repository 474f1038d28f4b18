import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { levelOf, openLogger, wantsColor } from './logger.ts';
import { openRecordRing } from './record-ring.ts';

const clock = { ...systemClock, now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678) };
function lines(options: Partial<Parameters<typeof openLogger>[0]> = {}) {
  const written: string[] = [];
  const logger = openLogger({ write: line => written.push(line), clock, ...options });
  return { written, logger };
}

test('no field makes it throw: circular, huge, deep, BigInt, throwing getter, revoked proxy', () => {
  const { written, logger } = lines();
  const circular: Record<string, unknown> = { name: 'c' };
  circular.self = circular;
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  let deep: unknown = 'end';
  for (let i = 0; i < 10_000; i++) deep = { deep };
  const wide = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, i]));
  const getter = {
    fine: 1,
    get broken() {
      throw new Error('no');
    },
  };
  for (const value of [circular, 12n, deep, wide, getter, 'x'.repeat(1e6), new Uint8Array(1e6), revoked.proxy, () => 1])
    logger.info('odd', { value });
  logger.info('y'.repeat(1e6));
  assert.equal(written.length, 10);
  for (const line of written) {
    assert.ok(line.length <= 70_000, `${line.length}`);
    assert.equal(JSON.parse(line).level, 'info');
    assert.ok(!line.includes('\n'));
  }
  assert.deepEqual(JSON.parse(written[0]!).value, { name: 'c', self: '[circular]' });
  assert.deepEqual(JSON.parse(written[4]!).value, { fine: 1, broken: '[unreadable]' });
});

test('a sink that throws does not reach the caller', () => {
  const { logger } = lines({
    write: () => {
      throw new Error('EPIPE');
    },
  });
  logger.error('x');
});

test('a record is one line of JSON with time, level, message and the bound fields', () => {
  const { written, logger } = lines({ fields: { service: 'inventory', instance: 'inventory-1' } });
  logger.debug('not at this level');
  logger.with({ trace: 'abc' }).warn('low on stock\nvery', { sku: '85123A', message: 'mine' });
  assert.equal(
    written.join('\n'),
    '{"time":"2026-01-02T03:04:05.678Z","level":"warn","message":"low on stock\\nvery","service":"inventory","instance":"inventory-1","trace":"abc","sku":"85123A","fields.message":"mine"}',
  );
});

test('errors keep code, message, stack and cause; a secret hides itself', () => {
  const { written, logger } = lines();
  const cause = new Error('socket hang up');
  logger.error('call failed', { error: new TandemError('UNAVAILABLE', 'no instance', { cause }) });
  logger.info('config', { key: { toJSON: () => '[secret]' } });
  const { error } = JSON.parse(written[0]!);
  assert.equal(error.code, 'UNAVAILABLE');
  assert.equal(error.cause.message, 'socket hang up');
  assert.match(error.stack, /logger\.test/);
  assert.equal(JSON.parse(written[1]!).key, '[secret]');
});

test('pretty lines are for people, and obey no control characters', () => {
  const { written, logger } = lines({ format: 'pretty' });
  logger.info('started \u001b[31mred\nline', { url: 'http://x/', note: 'two words', n: 3 });
  assert.equal(written[0], '03:04:05.678 info  started \\x1b[31mred\\nline url=http://x/ note="two words" n=3');
  const colored = lines({ format: 'pretty', color: true });
  colored.logger.warn('w');
  assert.ok(colored.written[0]!.includes('\u001b[33mwarn'));
});

test('NO_COLOR wins; levels are read from text', () => {
  assert.equal(wantsColor({ NO_COLOR: '1', FORCE_COLOR: '1' }, true), false);
  assert.equal(wantsColor({ NO_COLOR: '' }, true), true);
  assert.equal(wantsColor({ FORCE_COLOR: '1' }, false), true);
  assert.equal(wantsColor({ TERM: 'dumb' }, true), false);
  assert.equal(levelOf(' WARN '), 'warn');
  assert.equal(levelOf('loud'), undefined);
});

test('the record ring keeps the last problems even when they are not written, and no more than its bound', () => {
  const ring = openRecordRing(3);
  const { written, logger } = lines({ level: 'silent', onProblem: ring.add });
  for (let i = 0; i < 5; i++) logger.error(`e${i}`);
  logger.info('fine');
  assert.equal(written.length, 0);
  assert.deepEqual(
    ring.after(0).map(({ sequence, message }) => [sequence, message]),
    [
      [3, 'e2'],
      [4, 'e3'],
      [5, 'e4'],
    ],
  );
  assert.deepEqual(
    ring.after(4).map(({ message }) => message),
    ['e4'],
  );
});
