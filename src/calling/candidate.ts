/** Whoever may get a call or a request, as its balancer sees it; weights are kept by the balancer. */
import { PeakEwma } from '../balancing/peak-ewma.ts';
import type { Balanced } from '../balancing/picker.ts';
import type { CircuitBreaker } from '../degradation/circuit-breaker.ts';
import type { Beat } from '../failure-detection/beat.ts';
import { hashText } from '../partitioning/hash.ts';

/** How much one call moves the share of errors: about the last fifty count. */
const errorStep = 0.02;

export abstract class Candidate implements Balanced {
  readonly id: string;
  readonly breaker: CircuitBreaker;
  readonly hash: number;
  inflight = 0;
  weight: number;
  dynamicWeight: number;
  /** By what it reports of its load, 0..1. */
  deserved = 1;
  latencyMs = 0;
  /** Of the calls to it lately, 0..1. */
  errorShare = 0;
  readonly #latency = new PeakEwma();

  constructor(id: string, weight: number, breaker: CircuitBreaker) {
    this.id = id;
    this.breaker = breaker;
    this.hash = hashText(id, 0);
    this.weight = this.dynamicWeight = weight;
  }

  /** Share of the work that it should have as against the others', as its owner says. */
  abstract get ownWeight(): number;
  abstract get zone(): string | undefined;
  /** What it says of its own load. */
  abstract get load(): Pick<Beat['load'], 'cpu' | 'loopDelayMs' | 'inflight'>;
  /** Since it began, by wall time. */
  abstract ageMs(wallMs: number): number;

  answered(elapsedMs: number | undefined, nowMs: number): void {
    if (elapsedMs !== undefined) this.#latency.observe(elapsedMs, nowMs);
    this.latencyMs = this.#latency.value(nowMs);
    this.errorShare -= errorStep * this.errorShare;
  }

  failed(elapsedMs: number, nowMs: number): void {
    this.#latency.failed(elapsedMs, nowMs);
    this.latencyMs = this.#latency.value(nowMs);
    this.errorShare += errorStep * (1 - this.errorShare);
  }

  /** Time has passed. */
  fade(nowMs: number): void {
    this.latencyMs = this.#latency.value(nowMs);
  }
}
