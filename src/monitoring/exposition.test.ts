import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { exposePrometheus } from './exposition.ts';
import { openMeter } from './meter.ts';
import { parsePrometheus } from './prometheus-text.ts';

function sampleMeter() {
  const meter = openMeter(systemClock);
  meter.counter('tandem.calls', { service: 'inventory', code: 'say "no"\\\nplease' }).add(3);
  meter.counter('tandem.calls', { service: 'orders', code: 'ok' }).add(1);
  meter.gauge('tandem.process.memory').set(1_000_000);
  meter.gauge('tandem.loop.delay').set(250);
  meter.counter('already.total').add(1);
  meter.gauge('9-odd name', { 'a-b': 'x', __name__: 'y' }).set(Number.NEGATIVE_INFINITY);
  const duration = meter.histogram('tandem.call.duration', { service: 'inventory' });
  for (const ms of [0.01, 0.4, 3, 3, 70, 100_000]) duration.record(ms);
  meter.histogram('frame.bytes').record(900);
  return meter.snapshot();
}

test('names, units, escapes and buckets are as Prometheus wants them', () => {
  const families = parsePrometheus(exposePrometheus(sampleMeter(), { 'tandem.calls': 'Calls\nanswered \\ sent.' }));
  const calls = families.get('tandem_calls_total')!;
  assert.equal(calls.type, 'counter');
  assert.equal(calls.help, 'Calls\nanswered \\ sent.');
  assert.deepEqual(calls.samples[0]?.labels, { service: 'inventory', code: 'say "no"\\\nplease' });
  assert.equal(calls.samples[0]?.value, 3);
  assert.ok(families.has('already_total'));
  assert.equal(families.get('tandem_process_memory_bytes')?.samples[0]?.value, 1_000_000);
  assert.equal(families.get('tandem_loop_delay_seconds')?.samples[0]?.value, 0.25);
  assert.equal(families.get('_9_odd_name')?.samples[0]?.value, Number.NEGATIVE_INFINITY);
  const duration = families.get('tandem_call_duration_seconds')!;
  const bucket = (le: string) => duration.samples.find(sample => sample.labels.le === le)?.value;
  assert.equal(bucket('0.0000625'), 1);
  assert.equal(bucket('0.004'), 4);
  assert.equal(bucket('32.768'), 5);
  assert.equal(bucket('+Inf'), 6);
});

test('promtool finds nothing to complain about', { skip: promtoolMissing() }, () => {
  const names = sampleMeter().filter(point => !point.name.startsWith('9'));
  const checked = spawnSync('promtool', ['check', 'metrics'], { input: exposePrometheus(names), encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
});

function promtoolMissing(): string | false {
  return spawnSync('promtool', ['--version']).error
    ? 'promtool is not installed: apt-get install -y prometheus'
    : false;
}
