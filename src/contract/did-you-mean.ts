/**
 * Near names for a name that does not exist, so that an error can say what was probably meant. Distance is optimal string
 * alignment (Damerau 1964, restricted): a swap of two neighbours, the commonest slip, counts once.
 */
const namesMax = 3;
const lengthMax = 200;

/** Edits that turn `a` into `b`: insert, delete, replace, or swap neighbours. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, beforeLast[j - 2]! + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/** The nearest of `names`, best first, at most three; empty when none is near (a third of the letters may differ). */
export function didYouMean(name: string, names: Iterable<string>): string[] {
  const wanted = name.slice(0, lengthMax).toLowerCase();
  const near: { name: string; distance: number }[] = [];
  for (const candidate of names) {
    const allowed = Math.max(1, Math.floor(Math.max(wanted.length, candidate.length) / 3));
    if (Math.abs(wanted.length - candidate.length) > allowed) continue;
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance <= allowed) near.push({ name: candidate, distance });
  }
  near.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return near.slice(0, namesMax).map(({ name: found }) => found);
}
