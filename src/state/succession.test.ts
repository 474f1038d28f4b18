import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Beat, Member, Verdict } from '../failure-detection/beat.ts';
import { type SuccessionView, succession } from './succession.ts';

function member(id: string, state: { verdict?: Verdict; draining?: boolean; ready?: boolean } = {}): Member {
  const { verdict = 'alive', draining = false, ready = true } = state;
  const partitions = [{ partition: 0, ready, epoch: 0, position: 5 }];
  return { beat: { id, ready: true, draining, partitions } as unknown as Beat, verdict, since: 0 };
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
