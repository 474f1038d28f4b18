/**
 * Near targets first: a call that stays in its zone is faster and crosses no link that may be cut or cost money. As in
 * Envoy's priority levels each zone is taken to have 40 % to spare, so all calls stay near while 72 % of the near targets are
 * well; below that the rest goes to all, in proportion to what is missing.
 */

const spare = 1.4;

/** Share of the calls that stay near. */
export function nearShare(wellNear: number, allNear: number): number {
  if (allNear === 0 || wellNear === 0) return 0;
  return Math.min(1, (spare * wellNear) / allNear);
}
