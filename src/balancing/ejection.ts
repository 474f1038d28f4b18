/**
 * Passive outlier ejection: a target that fails several calls in a row is left out for a while, longer each time.
 * Figures and rules are Envoy's outlier detection: 5 in a row, 30 s times the number of ejections (at most 300 s), at
 * most 10 % of the targets but always at least one. An ejection that would leave no target is not used by the caller.
 */
export interface EjectionOptions {
  readonly failuresInRow: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly shareMax: number;
}
export const ejectionDefaults: EjectionOptions = { failuresInRow: 5, baseMs: 30_000, maxMs: 300_000, shareMax: 0.1 };

interface Record {
  failures: number;
  ejections: number;
  untilMs: number;
}

export class Ejection<T> {
  readonly #options: EjectionOptions;
  readonly #records = new Map<T, Record>();

  constructor(options: EjectionOptions = ejectionDefaults) {
    this.#options = options;
  }

  succeeded(target: T): void {
    const record = this.#records.get(target);
    if (record) record.failures = 0;
  }

  /** @param total Targets that there are, for the cap. Returns true when this failure ejected it. */
  failed(target: T, total: number, nowMs: number): boolean {
    const { failuresInRow, baseMs, maxMs, shareMax } = this.#options;
    let record = this.#records.get(target);
    if (!record) {
      record = { failures: 0, ejections: 0, untilMs: 0 };
      this.#records.set(target, record);
    }
    record.failures++;
    if (record.failures < failuresInRow || record.untilMs > nowMs) return false;
    if (this.ejected(nowMs) >= Math.max(1, Math.floor(total * shareMax))) return false;
    record.failures = 0;
    record.ejections++;
    record.untilMs = nowMs + Math.min(maxMs, baseMs * record.ejections);
    return true;
  }

  isEjected(target: T, nowMs: number): boolean {
    if (this.#records.size === 0) return false;
    const record = this.#records.get(target);
    return record !== undefined && record.untilMs > nowMs;
  }

  /** How many are ejected now. */
  ejected(nowMs: number): number {
    let count = 0;
    for (const record of this.#records.values()) if (record.untilMs > nowMs) count++;
    return count;
  }

  /** Drops what is known of a target that is gone. */
  forget(target: T): void {
    this.#records.delete(target);
  }
}
