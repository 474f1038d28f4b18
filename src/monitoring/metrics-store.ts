/**
 * The last minutes of a bounded number of series, one number per step (a second), for sparklines and rules. A ring of floats per
 * series: 10 minutes of 1000 series take 5 MB. A step without a value is a gap (NaN), never a made-up zero.
 */
export interface MetricsStore {
  /**
   * Sets the value of a series at a wall time (ms); the last one in a step wins. It stands for the `coversMs` before it (default
   * one step), so steps in there that nobody wrote get it too. Values older than the window are dropped.
   */
  record(series: string, atMs: number, value: number, coversMs?: number): void;
  /** One value per step up to and including the step of `nowMs`; undefined where nothing was recorded. */
  read(series: string, nowMs: number, steps: number): (number | undefined)[];
  forget(series: string): void;
}

export interface MetricsStoreOptions {
  /** Default 600 (ten minutes). */
  readonly steps?: number;
  /** Default 1000. */
  readonly stepMs?: number;
  /** Default 4096; beyond it the series that was written longest ago makes room. */
  readonly seriesMax?: number;
}

interface Ring {
  readonly values: Float64Array;
  /** The newest step that was written. */
  newest: number;
}

export function openMetricsStore(options: MetricsStoreOptions = {}): MetricsStore {
  const { steps = 600, stepMs = 1000, seriesMax = 4096 } = options;
  const rings = new Map<string, Ring>();
  return {
    record(series, atMs, value, coversMs = stepMs) {
      const step = Math.floor(atMs / stepMs);
      let ring = rings.get(series);
      if (ring === undefined) {
        if (rings.size >= seriesMax) rings.delete(rings.keys().next().value!);
        ring = { values: new Float64Array(steps).fill(Number.NaN), newest: step };
      }
      // Written again last, so that the map's order is the order of last writing.
      rings.delete(series);
      rings.set(series, ring);
      if (step <= ring.newest - steps) return;
      const covered = Math.floor((atMs - coversMs) / stepMs);
      for (let one = Math.max(ring.newest + 1, step - steps + 1); one < step; one++)
        ring.values[modulo(one, steps)] = one > covered ? value : Number.NaN;
      ring.newest = Math.max(ring.newest, step);
      ring.values[modulo(step, steps)] = value;
    },
    read(series, nowMs, wanted) {
      const ring = rings.get(series);
      const to = Math.floor(nowMs / stepMs);
      const values: (number | undefined)[] = [];
      for (let step = to - wanted + 1; step <= to; step++) {
        const known = ring !== undefined && step <= ring.newest && step > ring.newest - steps;
        const value = known ? ring.values[modulo(step, steps)]! : Number.NaN;
        values.push(Number.isNaN(value) ? undefined : value);
      }
      return values;
    },
    forget: series => void rings.delete(series),
  };
}

const modulo = (value: number, by: number): number => ((value % by) + by) % by;
