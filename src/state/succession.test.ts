import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Beat, Member, Verdict } from '../failure-detection/beat.ts';
import { isClockOff, type SuccessionView, succession } from './succession.ts';

function member(
  id: string,
  state: { verdict?: Verdict; draining?: boolean; ready?: boolean; clockAheadMs?: number } = {},
): Member {
  const { verdict = 'alive', draining = false, ready = true, clockAheadMs = 0 } = state;
  const partitions = [{ partition: 0, ready, epoch: 0, position: 5 }];
  return { beat: { id, ready: true, draining, partitions } as unknown as Beat, verdict, since: 0, clockAheadMs };
}

function view(changed: Partial<SuccessionView>, ...members: Member[]): SuccessionView {
  return {
    self: 's-1-me',
    head: { writer: '', heir: '' },
    partition: 0,
    ranked: ['s-0-a', 's-1-me', 's-2-b'],
    member: id => members.find(({ beat }) => beat.id === id),
    listeningMs: 60_000,
    unheardGraceMs: 1000,
    clockOff: false,
    connected: true,
    ...changed,
  };
}

test('a writer that is heard stays; one that is dead, stuck or draining is followed by the next ready one in rank', () => {
  const head = { writer: 's-0-a', heir: '' };
  assert.equal(succession(view({ head }, member('s-0-a'))).kind, 'stay');
  assert.equal(succession(view({ head }, member('s-0-a', { verdict: 'suspect' }))).kind, 'stay');
  for (const state of [{ verdict: 'dead' }, { verdict: 'stuck' }, { draining: true }] as const) {
    assert.equal(succession(view({ head }, member('s-0-a', state))).kind, 'claim');
    assert.equal(succession(view({ head, self: 's-2-b' }, member('s-0-a', state), member('s-1-me'))).kind, 'stay');
  }
});

test('who has another time than most does not begin to write, and the next in rank does', () => {
  assert.equal(isClockOff([5, -20, 3000]), false);
  assert.equal(isClockOff([4000, 4010, 3990, 2]), true);
  assert.equal(isClockOff([4000]), false, 'of two that disagree nobody knows who is right');
  const head = { writer: 's-9-gone', heir: '' };
  const off = member('s-0-a', { clockAheadMs: 5000 });
  assert.equal(succession(view({ head, clockOff: true, self: 's-0-a' }, member('s-1-me'))).kind, 'stay');
  assert.equal(succession(view({ head }, off)).kind, 'claim');
  assert.equal(succession(view({ head: { writer: 's-0-a', heir: '' } }, off)).kind, 'stay', 'a writer goes on');
});

test('who is cut off from the bus takes over nothing but what the log hands to it', () => {
  assert.equal(succession(view({ connected: false, head: { writer: 's-0-a', heir: '' } })).kind, 'stay');
  assert.equal(succession(view({ connected: false, head: { writer: '', heir: 's-1-me' } })).kind, 'claim');
});

test('a writer that was never heard of is gone only after a grace, unless it is a former life of this slot', () => {
  const ranked = ['s-1-me'];
  assert.equal(succession(view({ ranked, listeningMs: 10, head: { writer: 's-9-x', heir: '' } })).kind, 'stay');
  assert.equal(succession(view({ ranked, listeningMs: 2000, head: { writer: 's-9-x', heir: '' } })).kind, 'claim');
  assert.equal(succession(view({ ranked, listeningMs: 10, head: { writer: 's-1-before', heir: '' } })).kind, 'claim');
});

test('a writer that lives but does not hold the partition is followed by the next', () => {
  const elsewhere = member('s-0-a');
  const dropped = { ...elsewhere, beat: { ...elsewhere.beat, partitions: [] } };
  assert.equal(succession(view({ head: { writer: 's-0-a', heir: '' } }, dropped)).kind, 'claim');
});

test('a named heir goes before rank while it is ready, and no longer', () => {
  const head = { writer: '', heir: 's-2-b' };
  assert.equal(succession(view({ head }, member('s-2-b'))).kind, 'stay');
  assert.equal(succession(view({ head }, member('s-2-b', { verdict: 'dead' }))).kind, 'claim');
});

test('a writer names a better-ranked replica that is ready, and stays while that one is not', () => {
  const head = { writer: 's-1-me', heir: '' };
  const step = succession(view({ head }, member('s-0-a')));
  assert.deepEqual(step.kind === 'better' && step.member, 's-0-a');
  assert.equal(succession(view({ head }, member('s-0-a', { ready: false }))).kind, 'stay');
});
