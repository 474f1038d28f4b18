/** What every picker promises, whatever its strategy. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import type { Picker, PickerOptions } from './picker.ts';

export function pickerSuite(name: string, open: (options: PickerOptions<string>) => Picker<string>): void {
  const fresh = (): Picker<string> => open({ inflight: () => 0, random: seededRandom(3) });
  const counts = (picker: Picker<string>, candidates: readonly string[], picks: number): Map<string, number> => {
    const found = new Map<string, number>();
    for (let i = 0; i < picks; i++) {
      const picked = picker.pick(candidates);
      found.set(picked, (found.get(picked) ?? 0) + 1);
    }
    return found;
  };

  test(`${name}: a single candidate is picked`, () => {
    assert.equal(fresh().pick(['only']), 'only');
  });

  test(`${name}: equal candidates get equal shares`, () => {
    const found = counts(fresh(), ['a', 'b', 'c', 'd'], 4000);
    for (const id of ['a', 'b', 'c', 'd']) assert.ok(Math.abs(found.get(id)! - 1000) < 150, `${id}: ${found.get(id)}`);
  });

  test(`${name}: never picks outside of the candidates, however they change`, () => {
    const picker = fresh();
    const random = seededRandom(9);
    const everyone = ['a', 'b', 'c', 'd', 'e', 'f'];
    for (let i = 0; i < 1000; i++) {
      const candidates = everyone.filter(() => random.next() < 0.5);
      if (candidates.length > 0) assert.ok(candidates.includes(picker.pick(candidates)));
    }
  });

  test(`${name}: one who joins gets a fair share, one who leaves gets none`, () => {
    const picker = fresh();
    counts(picker, ['a', 'b'], 100);
    const joined = counts(picker, ['a', 'b', 'c'], 3000);
    assert.ok(joined.get('c')! > 850 && joined.get('c')! < 1150);
    assert.equal(counts(picker, ['a', 'c'], 100).get('b'), undefined);
  });
}
