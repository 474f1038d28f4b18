/** One instance as its caller sees it; weights are kept by the balancer of its service. */
import { PeakEwma } from '../balancing/peak-ewma.ts';
import type { Balanced } from '../balancing/picker.ts';
import type { Channel } from '../core/channel.ts';
import type { Counter } from '../core/meter.ts';
import type { CircuitBreaker } from '../degradation/circuit-breaker.ts';
import type { Member } from '../failure-detection/beat.ts';
import { hashText } from '../partitioning/hash.ts';

/** How much one call moves the share of errors: about the last fifty count. */
const errorStep = 0.02;

export class Target implements Balanced {
  readonly member: Member;
  readonly breaker: CircuitBreaker;
  readonly picked: Counter;
  readonly hash: number;
  inflight = 0;
  weight: number;
  dynamicWeight: number;
  /** By what it reports of its load, 0..1. */
  deserved = 1;
  latencyMs = 0;
  /** Of the calls to it lately, 0..1. */
  errorShare = 0;
  channel: Channel | undefined;
  /** Its link broke: it is dialled until it is clear whether it lives. */
  checking = false;
  readonly #latency = new PeakEwma();

  constructor(member: Member, breaker: CircuitBreaker, picked: Counter) {
    this.member = member;
    this.breaker = breaker;
    this.picked = picked;
    this.hash = hashText(member.beat.id, 0);
    this.weight = this.dynamicWeight = member.beat.weight;
  }

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
