/**
 * Passive outlier ejection, from the calls that this process makes anyway. Three kinds of outlier, rules and figures those of
 * Envoy's outlier detection: failures in a row; a success rate far below the others' (mean − 1.9 standard deviations); answers
 * far slower than the others' (three times their median, ours). An ejection lasts 30 s times its number (at most 300 s), at
 * most 10 % of the targets are ejected at once but always one may be, and rates need enough calls and targets to say anything.
 */
export interface EjectionOptions {
  readonly failuresInRow: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly shareMax: number;
  /** Between two looks at rates. */
  readonly intervalMs: number;
  /** Calls in an interval below which a target's rates say nothing. */
  readonly callsMin: number;
  /** Targets with enough calls, below which rates are not compared. */
  readonly targetsMin: number;
  readonly deviations: number;
  readonly latencyFactor: number;
}
export const ejectionDefaults: EjectionOptions = {
  failuresInRow: 5,
  baseMs: 30_000,
  maxMs: 300_000,
  shareMax: 0.1,
  intervalMs: 10_000,
  callsMin: 100,
  targetsMin: 5,
  deviations: 1.9,
  latencyFactor: 3,
};

export type Reason = 'failures in a row' | 'success rate' | 'latency';

interface Record {
  failuresInRow: number;
  ejections: number;
  untilMs: number;
  calls: number;
  failures: number;
  /** Answers whose latency counts. */
  timed: number;
  latencySumMs: number;
}

/** One per service: its targets are compared with each other. */
export class Ejection<T> {
  readonly #options: EjectionOptions;
  readonly #records = new Map<T, Record>();
  #lookAtMs = 0;
  /** Until then somebody is ejected; who asks often is answered by this alone. */
  #untilMs = 0;

  constructor(options: Partial<EjectionOptions> = {}) {
    this.#options = { ...ejectionDefaults, ...options };
  }

  /** @param latencyMs Undefined for an answer that says nothing about how fast the target is. */
  succeeded(target: T, latencyMs: number | undefined): void {
    const record = this.#of(target);
    record.failuresInRow = 0;
    record.calls++;
    if (latencyMs === undefined) return;
    record.timed++;
    record.latencySumMs += latencyMs;
  }

  /** @param total Targets that there are, for the cap. Gives the reason when this failure ejected it. */
  failed(target: T, total: number, nowMs: number): Reason | undefined {
    const record = this.#of(target);
    record.calls++;
    record.failures++;
    record.failuresInRow++;
    if (record.failuresInRow < this.#options.failuresInRow) return undefined;
    return this.#eject(record, total, nowMs) ? 'failures in a row' : undefined;
  }

  /** Compares the targets, once in an interval; gives those that it ejected. */
  look(total: number, nowMs: number): readonly (readonly [target: T, reason: Reason])[] {
    if (nowMs < this.#lookAtMs) return none;
    const { intervalMs, callsMin, targetsMin, deviations, latencyFactor } = this.#options;
    const isFirst = this.#lookAtMs === 0;
    this.#lookAtMs = nowMs + intervalMs;
    if (isFirst) return none;
    const ejected: [T, Reason][] = [];
    const eject = (targets: readonly (readonly [T, Record])[], reason: Reason): void => {
      for (const [target, record] of targets) if (this.#eject(record, total, nowMs)) ejected.push([target, reason]);
    };
    const busy = [...this.#records].filter(([, { calls }]) => calls >= callsMin);
    if (busy.length >= targetsMin) {
      const mean = busy.reduce((sum, [, record]) => sum + successRate(record), 0) / busy.length;
      const variance = busy.reduce((sum, [, record]) => sum + (successRate(record) - mean) ** 2, 0) / busy.length;
      const least = mean - deviations * Math.sqrt(variance);
      eject(
        busy.filter(([, record]) => successRate(record) < least),
        'success rate',
      );
    }
    const timed = [...this.#records].filter(([, { timed }]) => timed >= callsMin);
    if (timed.length >= targetsMin) {
      const most = latencyFactor * median(timed.map(([, record]) => meanLatencyMs(record)));
      eject(
        timed.filter(([, record]) => meanLatencyMs(record) > most),
        'latency',
      );
    }
    for (const record of this.#records.values())
      record.calls = record.failures = record.timed = record.latencySumMs = 0;
    return ejected;
  }

  isEjected(target: T, nowMs: number): boolean {
    if (nowMs >= this.#untilMs) return false;
    const record = this.#records.get(target);
    return record !== undefined && record.untilMs > nowMs;
  }

  /** Whether anybody is. */
  isAnyEjected(nowMs: number): boolean {
    return nowMs < this.#untilMs;
  }

  /** Drops what is known of a target that is gone. */
  forget(target: T): void {
    this.#records.delete(target);
  }

  #of(target: T): Record {
    let record = this.#records.get(target);
    if (!record) {
      record = { failuresInRow: 0, ejections: 0, untilMs: 0, calls: 0, failures: 0, timed: 0, latencySumMs: 0 };
      this.#records.set(target, record);
    }
    return record;
  }

  #eject(record: Record, total: number, nowMs: number): boolean {
    const { baseMs, maxMs, shareMax } = this.#options;
    if (record.untilMs > nowMs) return false;
    let ejected = 0;
    for (const { untilMs } of this.#records.values()) if (untilMs > nowMs) ejected++;
    if (ejected >= Math.max(1, Math.floor(total * shareMax))) return false;
    record.failuresInRow = 0;
    record.ejections++;
    record.untilMs = nowMs + Math.min(maxMs, baseMs * record.ejections);
    this.#untilMs = Math.max(this.#untilMs, record.untilMs);
    return true;
  }
}

const none: readonly never[] = [];

function successRate({ calls, failures }: Record): number {
  return 1 - failures / calls;
}

function meanLatencyMs({ timed, latencySumMs }: Record): number {
  return latencySumMs / timed;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
