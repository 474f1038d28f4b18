/** What this caller knows of each instance from its own calls: open calls, breaker, outlier ejection, how often it was picked. */
import { Ejection } from '../balancing/ejection.ts';
import type { Channel, Dialer, LinkEnd } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Counter, Meter } from '../core/meter.ts';
import { type CircuitBreaker, openCircuitBreaker } from '../degradation/circuit-breaker.ts';
import type { Member } from '../failure-detection/beat.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import type { Registry } from '../naming/registry.ts';
import { isSilence } from './retry-rule.ts';

export interface Target {
  readonly member: Member;
  readonly breaker: CircuitBreaker;
  readonly picked: Counter;
  inflight: number;
  channel: Channel | undefined;
  /** Its link broke: it is dialled until it is clear whether it lives. */
  checking: boolean;
}

/** Below a call's default deadline, so that calls which wait for a target to come back live to see it. */
const breakerOpenMsMax = 2000;
/** Pause after the first dial that finds out about a broken link; it doubles until a beat would have told as well. */
const checkPauseMsMin = 1;

export interface TargetsOptions {
  readonly registry: Registry;
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly meter: Meter;
}

export class Targets {
  readonly #options: TargetsOptions;
  readonly #byId = new Map<string, Target>();
  readonly #ejection = new Ejection<Target>();
  #closed = false;

  constructor(options: TargetsOptions) {
    this.#options = options;
  }

  of(member: Member): Target {
    const { id, service } = member.beat;
    let target = this.#byId.get(id);
    if (!target || target.member !== member) {
      const { clock, meter } = this.#options;
      const picked = meter.counter(metricNames.picked, { service: service ?? member.beat.role, instance: id });
      target = {
        member,
        breaker: openCircuitBreaker({ clock, openMsMax: breakerOpenMsMax }),
        picked,
        inflight: 0,
        channel: undefined,
        checking: false,
      };
      this.#byId.set(id, target);
    }
    return target;
  }

  /** The channel to it. When its connection ends, the registry hears of it: evidence for failure detection. */
  channel(target: Target): Channel {
    const channel = this.#options.dialer.dial(target.member.beat.address);
    if (target.channel !== channel) {
      target.channel = channel;
      channel.onClose(end => this.#ended(target, end));
    }
    return channel;
  }

  #ended(target: Target, end: LinkEnd): void {
    if (this.#closed || end === 'not-tried') return;
    const { registry } = this.#options;
    const { id } = target.member.beat;
    if (end === 'refused') {
      registry.reportRefused(id);
      return;
    }
    registry.reportBroken(id);
    if (!target.checking) this.#check(target, checkPauseMsMin);
  }

  /**
   * A link may break by the line's fault: whether its address refuses to be dialled tells. A process that is just being
   * killed still takes connections for a moment, and resets them; so it is dialled a few times.
   */
  #check(target: Target, pauseMs: number): void {
    target.checking = !this.#closed && target.member.verdict !== 'dead' && pauseMs < limits.beatIntervalMs;
    if (!target.checking) return;
    this.channel(target);
    this.#options.clock.after(pauseMs, () => this.#check(target, pauseMs * 2));
  }

  /** Calls under way at one that is dead end now, their fate unknown, not at their deadlines: a stopped process or a cut line says nothing. */
  bury(): void {
    for (const target of this.#byId.values()) {
      if (target.member.verdict !== 'dead' || !target.channel) continue;
      void target.channel.close();
      target.channel = undefined;
    }
  }

  /** From now on connections that end are our own doing. */
  close(): void {
    this.#closed = true;
  }

  /** Whether a new call should rather go elsewhere. */
  avoid(target: Target): boolean {
    return !target.breaker.wouldAllow() || this.#ejection.isEjected(target, this.#options.clock.monotonic());
  }

  succeeded(target: Target): void {
    target.breaker.succeeded();
    this.#ejection.succeeded(target);
  }

  /** Sorts a failure: an answer of the contract is a success of the instance, silence and breaks count against it. */
  failed(target: Target, thrown: unknown): void {
    if (thrown instanceof DeclaredError) {
      this.succeeded(target);
      return;
    }
    const error = TandemError.from(thrown);
    const { code } = error;
    const { id, service } = target.member.beat;
    const silent = isSilence(error);
    // It answered: that one to which it sent the call on did not.
    if (silent && error.details?.instance !== undefined && error.details.instance !== id) {
      this.succeeded(target);
      return;
    }
    if (silent || code === 'INTERNAL') {
      const { registry, clock, logger } = this.#options;
      const total = service === undefined ? 1 : registry.instances(service).length;
      if (this.#ejection.failed(target, total, clock.monotonic()))
        logger.warn('ejected as an outlier', { member: id, code });
    }
    if (silent) target.breaker.failed();
    else if (code === 'CANCELED') target.breaker.released();
    else target.breaker.succeeded();
  }

  /** Forgets processes that the registry has forgotten. */
  sweep(): void {
    for (const [id, target] of this.#byId) {
      if (this.#options.registry.member(id)) continue;
      this.#byId.delete(id);
      this.#ejection.forget(target);
    }
  }
}
