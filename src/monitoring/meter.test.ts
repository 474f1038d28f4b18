import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { openMeter } from './meter.ts';

test('a reader that throws or answers NaN costs only its own series', () => {
  const meter = openMeter(systemClock);
  meter.observe('broken', () => {
    throw new Error('no');
  });
  meter.observe('nan', () => Number.NaN);
  meter.observe('fine', () => 7);
  const names = meter.snapshot().map(point => point.name);
  assert.deepEqual(names, ['fine', 'tandem.process.start']);
});

test('more series than the bound are refused, counted, and harmless to their holders', () => {
  const meter = openMeter(systemClock);
  for (let i = 0; i < 9000; i++) meter.counter('keys', { key: String(i) }).add(1);
  const points = meter.snapshot();
  assert.equal(points.filter(point => point.name === 'keys').length, 8192);
  const refused = points.find(point => point.name === 'tandem.meter.refused');
  assert.equal(refused?.kind === 'counter' && refused.value, 9000 - 8192);
});

test('equal name and attributes are one series, in whatever order they are written', () => {
  const meter = openMeter(systemClock);
  const a = meter.counter('calls', { service: 's', method: 'm' });
  assert.equal(a, meter.counter('calls', { method: 'm', service: 's' }));
  assert.notEqual(a, meter.counter('calls', { service: 's', method: 'n' }));
  a.add(2);
  a.add(-5);
  assert.deepEqual(meter.snapshot()[0], {
    kind: 'counter',
    name: 'calls',
    attributes: { service: 's', method: 'm' },
    value: 2,
  });
});
