/**
 * Availability as users measure it: the share of requests that the system answered, over a sliding window, told in nines
 * (-log10 of the failed share; 99.9 % is 3). Without a single failure the number of requests bounds what can be claimed: n
 * requests prove at most log10(n) nines (the failed share is below 1/n), and the answer says that it is a lower bound.
 */
export interface AvailabilityReading {
  readonly requests: number;
  readonly failed: number;
  /** 0..1; undefined when there were no requests. */
  readonly share: number | undefined;
  readonly nines: number | undefined;
  /** No request failed, so `nines` is what the count of requests allows to say. */
  readonly atLeast: boolean;
  /** Part of the error budget (requests that may fail at `target`) that is left; negative when overspent. */
  readonly budgetLeft: number | undefined;
  /** The window in ms, or less while the measuring is younger. */
  readonly overMs: number;
}

export interface Availability {
  count(service: string, nowMs: number, requests: number, failed: number): void;
  read(service: string, nowMs: number): AvailabilityReading;
  services(): string[];
}

export interface AvailabilityOptions {
  /** Default one hour. */
  readonly windowMs?: number;
  /** Default 10 s: the window's edge is this coarse. */
  readonly sliceMs?: number;
  /** What the error budget is measured against. Default 0.999. */
  readonly target?: number;
}

interface Slice {
  readonly step: number;
  requests: number;
  failed: number;
}

export function openAvailability(options: AvailabilityOptions = {}): Availability {
  const { windowMs = 3_600_000, sliceMs = 10_000, target = 0.999 } = options;
  const slices = new Map<string, Slice[]>();
  const firstAt = new Map<string, number>();

  return {
    count(service, nowMs, requests, failed) {
      if (requests <= 0) return;
      if (!firstAt.has(service)) firstAt.set(service, nowMs);
      const kept = slices.get(service) ?? [];
      slices.set(service, kept);
      const step = Math.floor(nowMs / sliceMs);
      const last = kept.at(-1);
      if (last?.step === step) {
        last.requests += requests;
        last.failed += failed;
      } else kept.push({ step, requests, failed });
      const oldest = step - Math.ceil(windowMs / sliceMs);
      while (kept.length > 0 && kept[0]!.step <= oldest) kept.shift();
    },
    read(service, nowMs) {
      const oldest = Math.floor(nowMs / sliceMs) - Math.ceil(windowMs / sliceMs);
      let requests = 0;
      let failed = 0;
      for (const slice of slices.get(service) ?? []) {
        if (slice.step <= oldest) continue;
        requests += slice.requests;
        failed += slice.failed;
      }
      const overMs = Math.min(windowMs, nowMs - (firstAt.get(service) ?? nowMs));
      return { ...ninesOf(requests, failed, target), overMs };
    },
    services: () => [...slices.keys()],
  };
}

export function ninesOf(requests: number, failed: number, target = 0.999): Omit<AvailabilityReading, 'overMs'> {
  if (requests <= 0)
    return { requests: 0, failed: 0, share: undefined, nines: undefined, atLeast: false, budgetLeft: undefined };
  const bad = Math.min(failed, requests);
  const share = (requests - bad) / requests;
  const nines = bad === 0 ? Math.log10(requests) : Math.max(0, -Math.log10(bad / requests));
  const budget = requests * (1 - target);
  return { requests, failed: bad, share, nines, atLeast: bad === 0, budgetLeft: 1 - bad / budget };
}
