/** A new target's share grows while its code and caches warm up (Envoy's slow start with aggression 1; never below a tenth). */

const shareMin = 0.1;

/** @param ageMs Since it became ready. @returns Between 0.1 and 1, to be multiplied with its weight. */
export function slowStartShare(ageMs: number, windowMs: number): number {
  if (ageMs >= windowMs) return 1;
  return Math.max(shareMin, ageMs / windowMs);
}
