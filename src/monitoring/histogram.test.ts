import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { bucketCount, bucketFloor, bucketOf, LogLinearHistogram } from './histogram.ts';
import { type HistogramPoint, histogramSince, mergePoints, quantile } from './metric-point.ts';

const point = (histogram: LogLinearHistogram): HistogramPoint => ({
  kind: 'histogram',
  name: 'x.duration',
  attributes: {},
  count: histogram.count,
  sum: histogram.sum,
  max: histogram.max,
  buckets: histogram.sparse(),
});

test('odd values break nothing: NaN is ignored, the rest lands in the outer buckets', () => {
  const histogram = new LogLinearHistogram();
  for (const value of [Number.NaN, -1, 0, -0, Infinity, -Infinity, 1e300, 1e-300]) histogram.record(value);
  assert.equal(histogram.count, 7);
  assert.equal(histogram.buckets[bucketCount - 1], 2);
  assert.equal(histogram.buckets[0], 5);
  assert.equal(quantile({ count: 0, max: 0, buckets: [] }, 0.5), undefined);
});

test('a bucket holds what lies between its floor and the next', () => {
  for (let index = 1; index < bucketCount - 1; index++) {
    const floor = bucketFloor(index);
    assert.equal(bucketOf(floor), index);
    assert.equal(bucketOf((floor + bucketFloor(index + 1)) / 2), index);
    assert.ok((bucketFloor(index + 1) - floor) / floor <= 1 / 16 + 1e-12);
  }
});

test('quantiles are within 3.2 % of the exact ones', () => {
  const random = seededRandom(11);
  const histogram = new LogLinearHistogram();
  const values: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    const value = Math.exp(random.next() * 12 - 4);
    values.push(value);
    histogram.record(value);
  }
  values.sort((a, b) => a - b);
  for (const share of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
    const exact = values[Math.ceil(share * values.length) - 1]!;
    const told = quantile(point(histogram), share)!;
    assert.ok(Math.abs(told - exact) / exact <= 1 / 32 + 1e-9, `p${share * 100}: ${told} for ${exact}`);
  }
});

test('histograms of two processes add up to the histogram of both', () => {
  const [a, b, both] = [new LogLinearHistogram(), new LogLinearHistogram(), new LogLinearHistogram()];
  for (let i = 1; i < 500; i++) {
    (i % 3 ? a : b).record(i / 7);
    both.record(i / 7);
  }
  const [merged] = mergePoints([point(a), point(b)]) as [HistogramPoint];
  assert.deepEqual(merged.buckets, point(both).buckets);
  assert.equal(merged.count, both.count);
  assert.equal(merged.max, both.max);
});

test('an interval holds what came between two snapshots, and all of it after a restart', () => {
  const histogram = new LogLinearHistogram();
  for (let i = 0; i < 10; i++) histogram.record(1000);
  const before = point(histogram);
  for (let i = 0; i < 5; i++) histogram.record(4);
  const since = histogramSince(point(histogram), before);
  assert.equal(since.count, 5);
  assert.ok(Math.abs(quantile(since, 0.99)! - 4) < 0.2);
  const fresh = new LogLinearHistogram();
  fresh.record(3);
  assert.equal(histogramSince(point(fresh), before).count, 1);
});
