/**
 * Which instance of a service gets a call: first who may (sound, near, with room), then the strategy picks. What takes time
 * (weights, rules, comparing outliers) is done four times a second, not per call; as long as nobody is in doubt, a pick is
 * the picker's alone.
 */
import { dynamicWeight } from '../balancing/dynamic-weight.ts';
import { Ejection } from '../balancing/ejection.ts';
import type { Picker } from '../balancing/picker.ts';
import { figuresOf, Switch } from '../balancing/rules.ts';
import { Shadow } from '../balancing/shadow.ts';
import { slowStartShare } from '../balancing/slow-start.ts';
import { openPicker } from '../balancing/strategy.ts';
import { nearShare } from '../balancing/zones.ts';
import { type BalanceForm, balanceForm, type Strategy, strategies } from '../contract/balance.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import type { Candidate } from './candidate.ts';
import { Places } from './places.ts';

export interface BalancerOptions<T extends Candidate> {
  /** Or the name of a group of upstreams. */
  readonly service: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  /** The caller's own. */
  readonly zone: string | undefined;
  /** What the service says of itself; undefined when nothing. */
  readonly form: () => BalanceForm | undefined;
  /** All instances that are not dead. */
  readonly targets: () => readonly T[];
}

const lookEveryMs = 250;
/** After a failure so long every pick looks at who is in doubt: longer than any breaker stays open. */
const doubtMs = 10_000;
/** When fewer than this share would be left, ejections are not heeded (Envoy's panic threshold): all of them are rarely wrong. */
const panicShare = 0.5;

export class Balancer<T extends Candidate> {
  readonly places: Places<T>;
  readonly #o: BalancerOptions<T>;
  readonly #ejection = new Ejection<T>();
  readonly #shadow: Shadow<T>;
  /** Of each set of candidates: those in the caller's zone, and the last lists made of it, so that a picker sees the same array again. */
  readonly #near = new WeakMap<readonly T[], { readonly near: readonly T[]; readonly evenShare: number }>();
  readonly #lists = new WeakMap<readonly T[], Map<string, readonly T[]>>();
  #given: BalanceForm | undefined;
  #form: BalanceForm;
  #switch: Switch;
  #override: Strategy | undefined;
  #strategy: Strategy;
  #picker: Picker<T>;
  #lookAtMs = 0;
  #doubtsEndMs = 0;

  constructor(options: BalancerOptions<T>) {
    this.#o = options;
    this.places = new Places(options.clock);
    this.#shadow = new Shadow(options.random);
    this.#given = options.form();
    this.#form = this.#given ?? balanceForm(options.service);
    this.#switch = new Switch(this.#form.rules, this.#form.strategy);
    this.#strategy = this.#form.strategy;
    this.#picker = openPicker(this.#strategy, options.random);
    const { service, meter } = options;
    meter.observe(metricNames.balanceWaiting, () => this.places.waiting, { service });
    for (const strategy of strategies)
      meter.observe(metricNames.balanceExpected, () => this.#shadow.score(strategy), { service, strategy });
  }

  get strategy(): Strategy {
    return this.#strategy;
  }
  get queueMax(): number {
    return this.#form.queueMax;
  }

  /** Instead of what the service says, until it is called with undefined. Calls under way are not touched. */
  override(strategy: Strategy | undefined): void {
    this.#override = strategy;
    this.#lookAtMs = 0;
  }

  chosen(): { readonly own: BalanceForm; readonly switched: Strategy | undefined } {
    return { own: this.#o.form() ?? balanceForm(this.#o.service), switched: this.#override };
  }

  /**
   * @param tried Instances that failed this very call.
   * @param client Hash of whom the call is for.
   * @returns `full` when all that may have it are at their limit; undefined of nobody.
   */
  pick(all: readonly T[], tried: ReadonlySet<T>, client: number | undefined): T | 'full' | undefined {
    const now = this.#o.clock.monotonic();
    if (now >= this.#lookAtMs) this.#look(now);
    if (all.length < 2 && this.#form.inflightMax === undefined) return all[0];
    const sound = tried.size === 0 && !this.#isInDoubt(now) ? all : this.#sound(all, tried, now);
    let pool = this.#nearest(all, sound);
    const { inflightMax } = this.#form;
    if (inflightMax !== undefined) {
      pool = this.#withRoom(all, pool, inflightMax, 'room');
      if (pool.length === 0) pool = this.#withRoom(all, sound, inflightMax, 'room anywhere');
      if (pool.length === 0 && all.length > 0) return 'full';
    }
    this.#shadow.picked(pool, client);
    return this.#picker.pick(pool, client);
  }

  /** @param latencyMs Undefined where it is not to be compared with others'. */
  succeeded(target: T, latencyMs: number | undefined): void {
    target.answered(latencyMs, this.#o.clock.monotonic());
    this.#ejection.succeeded(target, latencyMs);
  }

  failed(target: T, elapsedMs: number): void {
    const now = this.#o.clock.monotonic();
    target.failed(elapsedMs, now);
    this.#doubtsEndMs = now + doubtMs;
    const reason = this.#ejection.failed(target, this.#o.targets().length, now);
    if (reason) this.#tell(target, reason);
  }

  /** Whether a new call should rather go elsewhere. */
  avoid(target: T): boolean {
    return !target.breaker.wouldAllow() || this.#ejection.isEjected(target, this.#o.clock.monotonic());
  }

  forget(target: T): void {
    this.#ejection.forget(target);
  }

  #isInDoubt(now: number): boolean {
    return now < this.#doubtsEndMs || this.#ejection.isAnyEjected(now);
  }

  #sound(all: readonly T[], tried: ReadonlySet<T>, now: number): readonly T[] {
    const closed = all.filter(({ breaker }) => breaker.wouldAllow());
    const heeded = closed.filter(target => !this.#ejection.isEjected(target, now));
    const sound = heeded.length >= panicShare * closed.length ? heeded : closed;
    const fresh = (sound.length > 0 ? sound : all).filter(target => !tried.has(target));
    return this.#same(all, 'sound', fresh.length > 0 ? fresh : sound.length > 0 ? sound : all);
  }

  #nearest(all: readonly T[], sound: readonly T[]): readonly T[] {
    const { zone, random } = this.#o;
    if (this.#form.zones === 'any' || zone === undefined) return sound;
    let known = this.#near.get(all);
    if (!known) {
      const zones = new Set(all.map(each => each.zone)).size;
      known = { near: all.filter(each => each.zone === zone), evenShare: all.length / zones };
      this.#near.set(all, known);
    }
    const { near, evenShare } = known;
    if (near.length === all.length || near.length === 0) return sound;
    const well =
      sound === all
        ? near
        : this.#same(
            all,
            'near',
            near.filter(target => sound.includes(target)),
          );
    return random.next() < nearShare(well.length, evenShare) ? well : sound;
  }

  #withRoom(all: readonly T[], pool: readonly T[], inflightMax: number, name: string): readonly T[] {
    if (pool.every(({ inflight }) => inflight < inflightMax)) return pool;
    return this.#same(
      all,
      name,
      pool.filter(({ inflight }) => inflight < inflightMax),
    );
  }

  /** The list that was made of `all` under this name before, when nothing changed. */
  #same(all: readonly T[], name: string, list: readonly T[]): readonly T[] {
    if (list === all || list.length === all.length) return all;
    let lists = this.#lists.get(all);
    if (!lists) {
      lists = new Map();
      this.#lists.set(all, lists);
    }
    const before = lists.get(name);
    if (before?.length === list.length && before.every((target, i) => target === list[i])) return before;
    lists.set(name, list);
    return list;
  }

  #look(now: number): void {
    const { form, service, clock, targets } = this.#o;
    this.#lookAtMs = now + lookEveryMs;
    const given = form();
    if (given !== this.#given) {
      this.#given = given;
      this.#form = given ?? balanceForm(service);
      this.#switch = new Switch(this.#form.rules, this.#form.strategy);
      this.places.all();
    }
    const all = targets();
    const meanInflight = all.reduce((sum, { load }) => sum + load.inflight, 0) / Math.max(1, all.length);
    for (const target of all) {
      target.weight = target.ownWeight * slowStartShare(target.ageMs(clock.now()), this.#form.slowStartMs);
      target.deserved = dynamicWeight(target.deserved, target.load, meanInflight, target.errorShare);
      target.dynamicWeight = target.weight * target.deserved;
      target.fade(now);
    }
    const ruled =
      this.#form.rules.length === 0
        ? this.#form.strategy
        : this.#switch.look(
            figuresOf(all.map(({ load, errorShare, latencyMs }) => ({ ...load, errorShare, latencyMs }))),
            now,
          );
    this.#use(this.#override ?? ruled);
    for (const [target, reason] of this.#ejection.look(all.length, now)) this.#tell(target, reason);
  }

  #use(strategy: Strategy): void {
    if (strategy === this.#strategy) return;
    const { service, random, logger } = this.#o;
    logger.info('the balancing strategy changes', { service, from: this.#strategy, to: strategy });
    this.#strategy = strategy;
    this.#picker = openPicker(strategy, random);
  }

  #tell(target: T, reason: string): void {
    const { service, logger, meter } = this.#o;
    const { id } = target;
    logger.warn('ejected as an outlier', { member: id, reason });
    meter.counter(metricNames.ejected, { service, instance: id, reason }).add(1);
  }
}
