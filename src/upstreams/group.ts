/**
 * The upstreams behind one path prefix: who they are (names are looked up again and again), who is well, and who gets the next
 * request. Picking, ejection, slow start and waiting for a place are those of services (calling/balancer.ts).
 */
import { Balancer } from '../calling/balancer.ts';
import type { UpstreamForm } from '../contract/upstream.ts';
import { type Clock, every, type Timer } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import type { Counter, Histogram, Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { openRetryBudget, type RetryBudget } from '../degradation/retry-budget.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import type { Exchange } from './exchange.ts';
import { HealthChecks } from './health-checks.ts';
import { UpstreamTarget } from './upstream-target.ts';
import { WriteBatch } from './write-batch.ts';

/** Addresses of a name. @throws when there are none now. */
export type Lookup = (name: string) => Promise<readonly string[]>;

export interface GroupOptions {
  readonly form: UpstreamForm;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly zone: string | undefined;
  readonly lookup: Lookup;
}

const sweepMs = 250;
const isAddress = process.getBuiltinModule('node:net').isIP;

export class Group {
  readonly form: UpstreamForm;
  readonly clock: Clock;
  readonly writes: WriteBatch;
  readonly logger: Logger;
  readonly budget: RetryBudget;
  readonly balancer: Balancer<UpstreamTarget>;
  /**
   * Under way. An array, since a Set that so much goes through leaves tables behind that point to their successors: once one of them is
   * old, all that came after survives each scavenge (pauses of 25 ms were seen).
   */
  readonly #exchanges: Exchange[] = [];
  readonly #o: GroupOptions;
  readonly #checks: HealthChecks | undefined;
  readonly #durations = new Map<string, Histogram[]>();
  readonly #timers: Timer[] = [];
  #targets: readonly UpstreamTarget[] = [];
  /** Those who may get requests: the same array while nothing changes. */
  #candidates: readonly UpstreamTarget[] = [];
  #closed = false;

  constructor(options: GroupOptions) {
    const { form, clock, random, logger, meter, zone } = options;
    this.#o = options;
    this.form = form;
    this.clock = clock;
    this.writes = new WriteBatch(clock);
    this.logger = logger;
    this.budget = openRetryBudget({ clock });
    this.balancer = new Balancer<UpstreamTarget>({
      service: form.prefix,
      clock,
      random,
      logger,
      meter,
      zone,
      form: () => form.balance,
      targets: () => this.#candidates,
    });
    this.#checks = form.health && new HealthChecks(form.health, clock, random, target => this.#told(target));
    meter.observe(metricNames.upstreamsWell, () => this.#candidates.length, { group: form.prefix });
  }

  get targets(): readonly UpstreamTarget[] {
    return this.#targets;
  }
  get candidates(): readonly UpstreamTarget[] {
    return this.#candidates;
  }

  /** Resolves when every name was looked up and every target was checked once. */
  async open(): Promise<void> {
    await this.#resolve();
    await Promise.all(this.#targets.map(target => this.#checks?.check(target)));
    const { clock, form } = this.#o;
    this.#timers.push(every(clock, sweepMs, () => this.#sweep()));
    if (form.targets.some(({ host }) => isAddress(host) === 0))
      this.#timers.push(every(clock, form.resolveMs, () => this.#resolve()));
  }

  /** Under way. */
  get inflight(): number {
    return this.#exchanges.length;
  }

  add(exchange: Exchange): void {
    exchange.place = this.#exchanges.push(exchange) - 1;
  }

  remove(exchange: Exchange): void {
    const last = this.#exchanges.pop()!;
    if (last === exchange) return;
    this.#exchanges[exchange.place] = last;
    last.place = exchange.place;
  }

  record(verb: string, status: number, ms: number): void {
    let byStatus = this.#durations.get(verb);
    if (!byStatus) {
      byStatus = [];
      if (this.#durations.size < 16) this.#durations.set(verb, byStatus);
    }
    let histogram = byStatus[status];
    if (!histogram) {
      const method = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$/.test(verb) ? verb : 'other';
      const route = this.form.prefix === '/' ? '/*' : `${this.form.prefix}/*`;
      histogram = this.#o.meter.histogram(metricNames.http, { method, route, status: String(status) });
      byStatus[status] = histogram;
    }
    histogram.record(ms);
  }

  /** Somebody has room again. */
  freed(target: UpstreamTarget): void {
    if (this.balancer.places.waiting > 0) this.balancer.places.next(target);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#checks?.close();
    for (const target of this.#targets) target.destroy();
  }

  #sweep(): void {
    const now = this.clock.monotonic();
    for (const exchange of [...this.#exchanges]) if (now >= exchange.deadlineMs) exchange.onTimeout();
    for (const target of this.#targets) target.sweep(now);
  }

  /** A name that cannot be looked up now keeps the addresses that it had. */
  async #resolve(): Promise<void> {
    const { form, lookup, logger } = this.#o;
    const found = await Promise.all(
      form.targets.map(async target => {
        const name = target.host;
        if (isAddress(name) !== 0) return { target, hosts: [name] };
        try {
          return { target, hosts: await lookup(name) };
        } catch (cause) {
          logger.warn('the name of an upstream cannot be looked up', { upstream: form.prefix, name, error: cause });
          const before = this.#targets.filter(({ place }) => place.name === name && place.port === target.port);
          return { target, hosts: before.map(({ place }) => place.host) };
        }
      }),
    );
    if (this.#closed) return;
    const former = new Map(this.#targets.map(target => [keyOf(target.place, target.ownWeight), target]));
    const next = new Map<string, UpstreamTarget>();
    for (const { target, hosts } of found) {
      for (const host of hosts) {
        const place = { host, port: target.port, name: target.host, tlsName: target.tls ? target.host : undefined };
        const key = keyOf(place, target.weight);
        next.set(key, next.get(key) ?? former.get(key) ?? this.#openTarget(place, target.weight, target.zone));
      }
    }
    const isSame = next.size === former.size && [...next.keys()].every(key => former.has(key));
    if (isSame) return;
    const fresh = [...next.values()].filter(target => !this.#targets.includes(target));
    for (const [key, target] of former) if (!next.has(key)) this.#leave(target);
    const isFirst = this.#targets.length === 0;
    this.#targets = [...next.values()];
    this.#choose();
    if (!isFirst) {
      logger.info('the addresses of upstreams changed', {
        upstream: form.prefix,
        targets: this.#targets.map(({ id }) => id),
      });
      for (const target of fresh) void this.#checks?.check(target);
    }
    for (const target of fresh) this.#checks?.watch(target);
  }

  #openTarget(place: UpstreamTarget['place'], weight: number, zone: string | undefined): UpstreamTarget {
    const { clock, meter, form } = this.#o;
    const picked = (instance: string): Counter => meter.counter(metricNames.picked, { service: form.prefix, instance });
    return new UpstreamTarget({ place, weight, zone, clock, picked });
  }

  #leave(target: UpstreamTarget): void {
    target.leave();
    this.#checks?.forget(target);
    this.balancer.forget(target);
  }

  /** A check changed its mind about a target. */
  #told(target: UpstreamTarget): void {
    const { logger, clock, form } = this.#o;
    if (target.health === 'well') {
      target.wellSince = clock.now();
      logger.info('an upstream is well', { upstream: form.prefix, target: target.id });
    } else logger.warn('an upstream is ill', { upstream: form.prefix, target: target.id, reason: target.lastFailure });
    this.#choose();
  }

  /** Whom the checks hold for well; when that is nobody, everybody: then a request finds out. */
  #choose(): void {
    const well = this.#targets.filter(({ health }) => health !== 'ill');
    this.#candidates = well.length > 0 ? well : this.#targets;
    this.balancer.places.all();
  }
}

function keyOf({ host, port, tlsName }: UpstreamTarget['place'], weight: number): string {
  return `${host} ${port} ${tlsName ?? ''} ${weight}`;
}
