// Counts what the replay does: requests, latencies, errors, orders. Latencies sit in log-linear buckets (about 3 % wide),
// so hours of them fit in a few hundred numbers.
export type RequestKind = 'place' | 'return' | 'page' | 'stock';

const subBuckets = 32;
const bucketOf = (ms: number): number => {
  const us = Math.max(1, Math.round(ms * 1000));
  const power = Math.max(0, 31 - Math.clz32(us) - 5);
  return power * subBuckets + (us >> power);
};
const middleOf = (bucket: number): number => {
  const power = Math.max(0, Math.floor(bucket / subBuckets) - 1);
  return ((bucket - power * subBuckets) << power) / 1000;
};

export class Latencies {
  readonly #counts = new Map<number, number>();
  #total = 0;

  add(ms: number): void {
    const bucket = bucketOf(ms);
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + 1);
    this.#total++;
  }

  get count(): number {
    return this.#total;
  }

  /** In ms; 0 when nothing was measured. */
  quantile(share: number): number {
    let left = this.#total * share;
    for (const bucket of [...this.#counts.keys()].sort((a, b) => a - b)) {
      left -= this.#counts.get(bucket)!;
      if (left <= 0) return middleOf(bucket);
    }
    return 0;
  }
}

export class Tally {
  requests = 0;
  /** Tries that failed; most are tried again and succeed. */
  failedTries = 0;
  /** Requests that got no answer within all their tries. */
  failed = 0;
  degraded = 0;
  readonly latencies = new Latencies();
  readonly byCode = new Map<string, number>();
  readonly byInstance = new Map<string, number>();

  answered(ms: number, instance: string | undefined): void {
    this.requests++;
    this.latencies.add(ms);
    if (instance) this.byInstance.set(instance, (this.byInstance.get(instance) ?? 0) + 1);
  }

  tryFailed(code: string): void {
    this.failedTries++;
    this.byCode.set(code, (this.byCode.get(code) ?? 0) + 1);
  }

  /** Share of requests that were answered. */
  get availability(): number {
    const all = this.requests + this.failed;
    return all === 0 ? 1 : this.requests / all;
  }
}

/** `99.95 %` and how many nines that is; with no failure, what this many requests can show. */
export function nines(availability: number, requests: number): string {
  if (requests === 0) return 'no requests yet';
  if (availability === 1) return `100 % of ${requests}`;
  return `${(availability * 100).toFixed(3)} % (${(-Math.log10(1 - availability)).toFixed(1)} nines)`;
}
