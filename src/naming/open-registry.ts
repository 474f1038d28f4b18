/**
 * The registry of one process: hears the beats, keeps the membership, and asks each new kind of service once what it
 * offers. Judging is in failure-detection; here are only the subscription, the timer and the listeners.
 */
import type { Descriptor } from '../contract/descriptor.ts';
import { type Clock, every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Closable } from '../core/lifecycle.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';
import { decodeBeat } from '../failure-detection/beat-form.ts';
import { Membership, type MembershipOptions } from '../failure-detection/membership.ts';
import type { Bus } from '../log/engine.ts';
import { openDescriptors } from './descriptors.ts';
import type { Registry } from './registry.ts';

export interface RegistryOptions {
  readonly bus: Bus;
  /** Asks the instance at `address` what it offers (`$describe`). */
  readonly describe: (address: string, deadline: number) => Promise<Descriptor>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly membership?: Partial<MembershipOptions>;
}

const none: readonly Member[] = [];

export function openRegistry(options: RegistryOptions): Registry & Closable {
  const { bus, clock, logger } = options;
  const membership = new Membership(clock.monotonic(), options.membership);
  const listeners = new Set<() => void>();
  let byService = new Map<string, Member[]>();
  let version = 1;
  let closed = false;

  const changed = (): void => {
    version++;
    byService = new Map();
    for (const member of membership.members()) {
      const { service, role } = member.beat;
      if (role !== 'instance' || service === undefined || member.verdict === 'dead') continue;
      const same = byService.get(service);
      if (same) same.push(member);
      else byService.set(service, [member]);
    }
    descriptors.update(byService);
    for (const listener of [...listeners]) listener();
  };
  const descriptors = openDescriptors({ ...options, onKnown: changed });

  const receive = (subject: string, body: Uint8Array): void => {
    const now = clock.monotonic();
    if (body.length === 0) {
      if (membership.left(subject.slice('beat.'.length), now)) changed();
      return;
    }
    const beat = decodeBeat(body);
    if (!beat) {
      logger.warn('a beat could not be read; does a process run another version?', { subject });
      return;
    }
    const before = membership.member(beat.id)?.verdict;
    if (membership.heard(beat, now, clock.now())) {
      note(beat.id, before);
      changed();
    }
  };
  const note = (id: string, before: string | undefined): void => {
    const verdict = membership.member(id)?.verdict;
    if (before !== undefined && verdict !== before) logger.info('verdict', { member: id, from: before, to: verdict });
  };
  const evidence = (id: string, take: () => boolean): void => {
    const before = membership.member(id)?.verdict;
    if (closed || !take()) return;
    note(id, before);
    changed();
  };
  const look = (): void => {
    const before = membership.members().map(member => [member.beat.id, member.verdict] as const);
    if (!membership.look(clock.monotonic())) return;
    for (const [id, verdict] of before) note(id, verdict);
    changed();
  };

  membership.connection(bus.connected, clock.monotonic());
  const unsubscribe = bus.subscribe('beat.>', receive);
  const unwatch = bus.onConnection(connected => membership.connection(connected, clock.monotonic()));
  const timer = every(clock, limits.beatIntervalMs / 2, look);

  const registry: Registry & Closable = {
    members: () => membership.members(),
    instances: service => byService.get(service) ?? none,
    member: id => membership.member(id),
    descriptor: service => descriptors.newest(service),
    descriptors: service => descriptors.all(service),
    descriptorOf: member => descriptors.of(member),
    learning: () => descriptors.asking() || !membership.knowsAll(clock.monotonic()),
    conflicts: () => descriptors.conflicts(),
    services: () => descriptors.services(),
    get version() {
      return version;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    until: (found, what, deadline) => until(registry, found, what, deadline, clock, () => closed),
    reportBroken: id => evidence(id, () => membership.broken(id, clock.monotonic())),
    reportRefused: id => evidence(id, () => membership.refused(id, clock.monotonic())),
    close() {
      if (closed) return;
      closed = true;
      timer.cancel();
      unsubscribe();
      unwatch();
      descriptors.close();
      for (const listener of [...listeners]) listener();
      listeners.clear();
    },
  };
  return registry;
}

function until(
  registry: Registry,
  found: (registry: Registry) => boolean,
  what: string,
  deadline: number,
  clock: Clock,
  closed: () => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: TandemError): void => {
      timer.cancel();
      off();
      if (error) reject(error);
      else resolve();
    };
    const check = (): void => {
      try {
        if (found(registry)) settle();
        else if (closed()) settle(new TandemError('CLOSED', `the registry was closed while waiting for ${what}`));
      } catch (cause) {
        settle(TandemError.from(cause));
      }
    };
    const off = registry.onChange(check);
    const timer = clock.after(deadline - clock.monotonic(), () =>
      settle(new TandemError('UNAVAILABLE', `${what} did not appear in time`)),
    );
    check();
  });
}
