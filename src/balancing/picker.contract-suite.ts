/** What every picker promises, whatever its strategy. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import type { Balanced, Picker } from './picker.ts';

/** A target as the suite knows it. */
export interface Known extends Balanced {
  readonly name: string;
  weight: number;
  dynamicWeight: number;
  inflight: number;
  latencyMs: number;
}

/** What a suite must know of a strategy to hold it to its promise. */
export interface Promised {
  /** Shares are those of the weights, within 2 %. */
  readonly honoursWeights: boolean;
  /** A client stays at its target. */
  readonly sticky: boolean;
}

const hashes = seededRandom(77);

export function known(name: string, weight = 1): Known {
  return { name, hash: hashes.below(0x1_0000_0000), weight, dynamicWeight: weight, inflight: 0, latencyMs: 5 };
}

const many = (count: number): Known[] => Array.from({ length: count }, (_, i) => known(`t${i}`));

export function pickerSuite(name: string, open: (random: Random) => Picker<Known>, promised: Promised): void {
  const fresh = (seed = 3): Picker<Known> => open(seededRandom(seed));
  const clients = seededRandom(5);
  const counts = (picker: Picker<Known>, candidates: readonly Known[], picks: number): Map<Known, number> => {
    const found = new Map<Known, number>();
    for (let i = 0; i < picks; i++) {
      const picked = picker.pick(candidates, clients.below(0x1_0000_0000))!;
      found.set(picked, (found.get(picked) ?? 0) + 1);
    }
    return found;
  };

  test(`${name}: of nobody it picks nobody`, () => {
    assert.equal(fresh().pick([]), undefined);
  });

  test(`${name}: a single candidate is picked, whatever is known of it`, () => {
    const only = known('only');
    only.inflight = 1000;
    only.latencyMs = 0;
    only.weight = 0.01;
    assert.equal(fresh().pick([only]), only);
  });

  test(`${name}: when all look ill one of them is picked all the same`, () => {
    const all = many(5);
    for (const target of all) Object.assign(target, { inflight: 5000, latencyMs: 60_000, weight: 0.05 });
    assert.ok(all.includes(fresh().pick(all)!));
  });

  test(`${name}: equal candidates get equal shares`, () => {
    const all = many(4);
    const found = counts(fresh(), all, 8000);
    for (const target of all)
      assert.ok(Math.abs(found.get(target)! - 2000) < 150, `${target.name}: ${found.get(target)}`);
  });

  test(`${name}: never picks outside of the candidates, however they change`, () => {
    for (let seed = 0; seed < 50; seed++) {
      const picker = fresh(seed);
      const random = seededRandom(seed);
      const everyone = many(7);
      for (let i = 0; i < 100; i++) {
        const candidates = everyone.filter(() => random.next() < 0.5);
        for (const target of everyone) {
          target.inflight = random.below(20);
          target.latencyMs = random.below(3) * random.next() * 100;
          target.weight = 0.05 + random.next() * 4;
          target.dynamicWeight = 0.05 + random.next();
        }
        const picked = picker.pick(candidates, random.below(0x1_0000_0000));
        if (candidates.length === 0) assert.equal(picked, undefined);
        else assert.ok(candidates.includes(picked!));
      }
    }
  });

  test(`${name}: one who joins gets a fair share, one who leaves gets none`, () => {
    const picker = fresh();
    const [a, b, c] = many(3) as [Known, Known, Known];
    counts(picker, [a, b], 100);
    const joined = counts(picker, [a, b, c], 6000);
    assert.ok(joined.get(c)! > 1800 && joined.get(c)! < 2200, `${joined.get(c)}`);
    assert.equal(counts(picker, [a, c], 100).get(b), undefined);
  });

  test(`${name}: callers that start together do not rush to the same target`, () => {
    const all = many(10);
    const first = new Map<Known, number>();
    for (let seed = 0; seed < 500; seed++) {
      const picked = fresh(seed).pick(all, clients.below(0x1_0000_0000))!;
      first.set(picked, (first.get(picked) ?? 0) + 1);
    }
    // Each has 50 of 500 in the mean; four standard deviations are 27.
    for (const target of all) assert.ok((first.get(target) ?? 0) < 80, `${target.name}: ${first.get(target)}`);
  });

  if (promised.honoursWeights)
    test(`${name}: shares are those of the weights, within 2 %`, () => {
      const weights = [1, 2, 3, 4, 0.5];
      const all = weights.map((weight, i) => known(`w${i}`, weight));
      const found = counts(fresh(), all, 200_000);
      const sum = weights.reduce((a, b) => a + b);
      for (const target of all) {
        const share = found.get(target)! / 200_000;
        const due = target.weight / sum;
        assert.ok(Math.abs(share - due) <= 0.02 * due, `${target.name}: ${share} instead of ${due}`);
      }
    });

  if (promised.sticky) {
    const places = (candidates: readonly Known[]): Known[] => {
      const picker = fresh();
      return Array.from({ length: 1000 }, (_, i) => picker.pick(candidates, Math.imul(i, 0x9e3779b9) >>> 0)!);
    };

    test(`${name}: a client stays at its target, at every caller`, () => {
      const all = many(10);
      assert.deepEqual(places(all), places(all.toReversed()));
    });

    test(`${name}: only the clients of a target that left move, and only to one that joined`, () => {
      const all = many(10);
      const before = places(all);
      const [gone] = all;
      const without = places(all.slice(1));
      for (const [i, target] of before.entries()) if (target !== gone) assert.equal(without[i], target);
      const joined = known('new');
      const after = places([...all, joined]);
      for (const [i, target] of before.entries()) if (after[i] !== joined) assert.equal(after[i], target);
      const moved = after.filter(target => target === joined).length;
      assert.ok(moved > 60 && moved < 125, `${moved} of 1000 moved to one of eleven`);
    });
  }
}
