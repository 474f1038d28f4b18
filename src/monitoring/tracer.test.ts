import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { parseTraceparent } from './traceparent.ts';
import { openTracer } from './tracer.ts';

const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test('what is not a valid traceparent is none', () => {
  const bad = [
    undefined,
    '',
    'x'.repeat(55),
    parent.replace('00-', 'ff-'),
    `${parent}-more`,
    parent.toUpperCase(),
    parent.replace('4bf92f3577b34da6a3ce929d0e0e4736', '0'.repeat(32)),
    parent.replace('00f067aa0ba902b7', '0'.repeat(16)),
    parent.repeat(100),
  ];
  for (const text of bad) assert.equal(parseTraceparent(text), undefined, String(text));
  assert.equal(parseTraceparent(`${parent.replace('00-', '01-')}-more`)?.sampled, true);
});

test('a span continues the trace of its parent, sampled as the parent is', () => {
  const tracer = openTracer({ random: seededRandom(1), clock: virtualClock(), share: 0 });
  const span = tracer.start('orders.place', 'server', parent);
  const context = parseTraceparent(span.traceparent)!;
  assert.equal(context.traceId, '4bf92f3577b34da6a3ce929d0e0e4736');
  assert.notEqual(context.spanId, '00f067aa0ba902b7');
  span.set('partition', 3);
  span.end();
  span.end(new Error('twice'));
  const [record, ...more] = tracer.after(0);
  assert.deepEqual(
    [record?.parentId, record?.attributes, record?.error],
    ['00f067aa0ba902b7', { partition: 3 }, undefined],
  );
  assert.equal(more.length, 0);
});

test('unsampled spans are kept only when they fail; the ring stays bounded and is read from where one was', () => {
  const exported: string[] = [];
  const tracer = openTracer({
    random: seededRandom(2),
    clock: virtualClock(),
    share: 0,
    spans: 3,
    export: span => {
      exported.push(span.name);
      throw new Error('the exporter is down');
    },
  });
  tracer.start('fine', 'internal').end();
  for (let i = 0; i < 5; i++) tracer.start(`f${i}`, 'internal').end(new Error('no'));
  assert.deepEqual(
    tracer.after(0).map(span => span.name),
    ['f2', 'f3', 'f4'],
  );
  assert.deepEqual(
    tracer.after(4).map(span => span.name),
    ['f4'],
  );
  assert.equal(exported.length, 5);
});
