import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Upstream, upstreamForm, upstreamForms, upstreamsOf } from './upstream.ts';

const wrong: readonly [Upstream, RegExp][] = [
  [{ targets: [] }, /it has no targets; write for example http:/],
  [{ targets: ['127.0.0.1:3000'] }, /'127\.0\.0\.1:3000' is no http:\/\/ or https:\/\/ address/],
  [{ targets: ['http://a/path'] }, /names more than a host and a port/],
  [{ targets: ['http://user:pass@a'] }, /names more than a host and a port/],
  [{ targets: ['http://a'], prefix: 'api' }, /a prefix is a path that begins with '\/'/],
  [{ targets: ['http://a'], tries: 0 }, /tries is a whole number from 1 on/],
  [{ targets: [{ url: 'http://a', weight: 0 }] }, /the weight of 'http:\/\/a' is a number from 0\.01 to 100/],
  [{ targets: ['http://a'], health: { path: 'x' } }, /health\.path begins with '\/'/],
  [{ targets: ['http://a'], balance: 'least-conections' as never }, /did you mean least-connections/],
  [
    { targets: ['http://a'], conectTimeout: '1s' } as never,
    /there is no 'conectTimeout'; did you mean 'connectTimeout'/,
  ],
  [{ targets: ['http://a'], connectTimeout: 'soon' as never }, /'soon' is not a duration/],
];
for (const [given, message] of wrong) {
  test(`refused: ${message.source}`, () => assert.throws(() => upstreamForm(given), message));
}

test('two groups of one prefix are refused', () => {
  const group: Upstream = { prefix: '/api', targets: ['http://a'] };
  assert.throws(() => upstreamForms([group, { ...group, prefix: '/api/' }]), /upstream '\/api' is there twice/);
});

test('every default is decided', () => {
  const form = upstreamForm({ targets: ['http://a', 'https://b', 'http://[::1]:3000'] });
  assert.deepEqual(
    form.targets.map(({ host, port, tls }) => [host, port, tls]),
    [
      ['a', 80, false],
      ['b', 443, true],
      ['::1', 3000, false],
    ],
  );
  assert.equal(form.balance.strategy, 'least-connections');
  assert.equal(form.balance.inflightMax, 256);
  assert.deepEqual(JSON.parse(JSON.stringify(form.health)), {
    intervalMs: 5000,
    timeoutMs: 2000,
    healthy: 2,
    unhealthy: 3,
  });
});

test('flags of one prefix make one group', () => {
  const groups = upstreamsOf(['http://a', '/api=http://b', 'http://c', '/api=http://d'], { balance: 'round-robin' });
  assert.deepEqual(groups, [
    { balance: 'round-robin', prefix: '/', targets: ['http://a', 'http://c'] },
    { balance: 'round-robin', prefix: '/api', targets: ['http://b', 'http://d'] },
  ]);
});
