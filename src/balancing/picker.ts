/**
 * How one of several equal targets is chosen. A picker is bookkeeping: no clock, no I/O, nothing allocated per pick, and it
 * never picks outside of what it is given. What may be given (ready, near, not ejected, not full) is decided before it.
 */

/** What a picker may know of a target. Plain properties, since some strategies look at every target for each pick. */
export interface Balanced {
  /** Calls that this process has open at the target. */
  readonly inflight: number;
  /** Share of the work that it should get, as against the others'; above 0, usually 1. */
  readonly weight: number;
  /** Like `weight`, from what the target reports of its own load. */
  readonly dynamicWeight: number;
  /** How long it takes to answer, in ms, lately and at worst (`PeakEwma`); 0 while nothing is known. */
  readonly latencyMs: number;
  /** 32 bits that stand for the target, the same in every process. */
  readonly hash: number;
}

export interface Picker<T extends Balanced> {
  /**
   * @param candidates May change between calls; the same array again means that nothing changed. Undefined when it is empty.
   * @param client Hash of who asks (32 bits), for strategies that keep a client at its target.
   */
  pick(candidates: readonly T[], client?: number): T | undefined;
}
