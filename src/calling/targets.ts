/** What this caller knows of each instance from its own calls: open calls, breaker, outlier ejection, how often it was picked. */
import type { Channel, Dialer, LinkEnd } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { openCircuitBreaker } from '../degradation/circuit-breaker.ts';
import type { Member } from '../failure-detection/beat.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import type { Registry } from '../naming/registry.ts';
import { Balancer } from './balancer.ts';
import { isSilence } from './retry-rule.ts';
import { Target } from './target.ts';

/** Below a call's default deadline, so that calls which wait for a target to come back live to see it. */
const breakerOpenMsMax = 2000;
/** Pause after the first dial that finds out about a broken link; it doubles until a beat would have told as well. */
const checkPauseMsMin = 1;

export interface TargetsOptions {
  readonly registry: Registry;
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  /** The caller's own. */
  readonly zone: string | undefined;
}

export class Targets {
  readonly #options: TargetsOptions;
  readonly #byId = new Map<string, Target>();
  readonly #balancers = new Map<string, Balancer<Target>>();
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
      target = new Target(member, openCircuitBreaker({ clock, openMsMax: breakerOpenMsMax }), picked);
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

  /** Who waits for room looks again: others may have come. */
  wakeWaiting(): void {
    for (const { places } of this.#balancers.values()) places.all();
  }

  /** From now on connections that end are our own doing. */
  close(): void {
    this.#closed = true;
  }

  /** How calls to this service are spread. */
  balancer(service: string): Balancer<Target> {
    let balancer = this.#balancers.get(service);
    if (!balancer) {
      const { registry } = this.#options;
      balancer = new Balancer({
        ...this.#options,
        service,
        form: () => registry.descriptor(service)?.balance,
        targets: () => registry.instances(service).map(member => this.of(member)),
      });
      this.#balancers.set(service, balancer);
    }
    return balancer;
  }

  /** @param elapsedMs Undefined where it says nothing about the instance: a stream's first item may be long in coming. */
  succeeded(target: Target, elapsedMs: number | undefined): void {
    target.breaker.succeeded();
    this.#balancerOf(target).succeeded(target, elapsedMs);
  }

  /** Sorts a failure: an answer of the contract is a success of the instance, silence and breaks count against it. */
  failed(target: Target, thrown: unknown, elapsedMs: number | undefined): void {
    if (thrown instanceof DeclaredError) {
      this.succeeded(target, elapsedMs);
      return;
    }
    const error = TandemError.from(thrown);
    const { code } = error;
    const silent = isSilence(error);
    // It answered: that one to which it sent the call on did not.
    if (silent && error.details?.instance !== undefined && error.details.instance !== target.member.beat.id) {
      this.succeeded(target, elapsedMs);
      return;
    }
    if (silent || code === 'INTERNAL') this.#balancerOf(target).failed(target, elapsedMs ?? 0);
    if (silent) target.breaker.failed();
    else if (code === 'CANCELED') target.breaker.released();
    else target.breaker.succeeded();
  }

  #balancerOf({ member }: Target): Balancer<Target> {
    return this.balancer(member.beat.service ?? member.beat.role);
  }

  /** Forgets processes that the registry has forgotten. */
  sweep(): void {
    for (const [id, target] of this.#byId) {
      if (this.#options.registry.member(id)) continue;
      this.#byId.delete(id);
      this.#balancerOf(target).forget(target);
    }
  }
}
