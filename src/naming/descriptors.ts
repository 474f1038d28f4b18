/**
 * What services offer, by descriptor hash. Each hash is asked for once, of any live instance that announces it, again
 * with backoff while that fails. During a roll a service has two hashes, which is normal; two services that claim one
 * name show as descriptors that cannot be versions of each other, and that is a conflict for a person.
 */
import type { Descriptor } from '../contract/descriptor.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';

/** Two kinds of instances that claim one name and cannot be versions of one service. */
export interface NameConflict {
  readonly service: string;
  readonly reason: string;
  readonly instances: readonly string[];
}

export interface DescriptorsOptions {
  readonly describe: (address: string, deadline: number) => Promise<Descriptor>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly onKnown: () => void;
}

export interface Descriptors {
  /** Takes in who is there now and asks what is not yet known. */
  update(byService: ReadonlyMap<string, readonly Member[]>): void;
  newest(service: string): Descriptor | undefined;
  all(service: string): readonly Descriptor[];
  of(member: Member): Descriptor | undefined;
  /** Whether an answer is awaited, of somebody who has not failed to answer several times. */
  asking(): boolean;
  services(): readonly string[];
  conflicts(): readonly NameConflict[];
  close(): void;
}

const describeTimeoutMs = 2000;
/** Who did not describe itself in so many attempts is asked on, but nobody waits for it. */
const awaitedAttempts = 4;

export function openDescriptors(options: DescriptorsOptions): Descriptors {
  const { clock, random, logger } = options;
  const byHash = new Map<string, Descriptor>();
  /** The last known of each service, kept when all its instances are gone: then a call waits instead of "no such service". */
  const latest = new Map<string, Descriptor>();
  const asking = new Map<string, { timer: Timer | undefined; failed: number }>();
  let present: ReadonlyMap<string, readonly Member[]> = new Map();
  let conflicts: readonly NameConflict[] = [];
  const warned = new Set<string>();
  let closed = false;

  const holder = (hash: string): Member | undefined => {
    let found: Member | undefined;
    for (const members of present.values())
      for (const member of members) {
        if (member.beat.descriptorHash !== hash) continue;
        if (member.verdict === 'alive') return member;
        found ??= member;
      }
    return found;
  };
  const ask = async (hash: string, attempt: number): Promise<void> => {
    const member = closed ? undefined : holder(hash);
    if (!member) {
      asking.delete(hash);
      return;
    }
    try {
      const descriptor = await options.describe(member.beat.address, clock.monotonic() + describeTimeoutMs);
      if (descriptor.hash !== hash) throw new TandemError('CONFLICT', `answered descriptor ${descriptor.hash}`);
      asking.delete(hash);
      if (closed) return;
      byHash.set(hash, descriptor);
      options.onKnown();
    } catch (cause) {
      if (closed) return;
      if (attempt > 0) {
        logger.warn('an instance did not describe itself', {
          member: member.beat.id,
          message: TandemError.from(cause).message,
        });
      }
      const state = asking.get(hash);
      if (!state) return;
      state.failed = attempt + 1;
      state.timer = clock.after(20 + backoffMs(random, attempt, 50, 2000), () => void ask(hash, attempt + 1));
    }
  };

  return {
    update(byService) {
      present = byService;
      const live = new Set<string>();
      for (const [service, members] of byService) {
        let newest: Member | undefined;
        for (const member of members) {
          const { descriptorHash: hash, startedAt, ready } = member.beat;
          if (hash === '') continue;
          live.add(hash);
          if (!byHash.has(hash)) {
            if (!asking.has(hash)) {
              asking.set(hash, { timer: undefined, failed: 0 });
              void ask(hash, 0);
            }
          } else if (ready && (!newest || startedAt > newest.beat.startedAt)) newest = member;
          else if (!newest && !latest.has(service)) newest = member;
        }
        if (newest) latest.set(service, byHash.get(newest.beat.descriptorHash)!);
      }
      const kept = new Set([...latest.values()].map(descriptor => descriptor.hash));
      for (const hash of byHash.keys()) if (!live.has(hash) && !kept.has(hash)) byHash.delete(hash);
      conflicts = findConflicts(byService, byHash);
      for (const { service, reason, instances } of conflicts) {
        if (warned.has(service + reason)) continue;
        warned.add(service + reason);
        logger.error('two different services claim one name; rename one', { service, reason, instances });
      }
    },
    newest: service => latest.get(service),
    all: service => {
      const hashes = new Set((present.get(service) ?? []).map(member => member.beat.descriptorHash));
      return [...hashes].map(hash => byHash.get(hash)).filter(descriptor => descriptor !== undefined);
    },
    asking: () => asking.size > 0 && asking.values().some(({ failed }) => failed < awaitedAttempts),
    of: member => byHash.get(member.beat.descriptorHash),
    services: () => [...latest.keys()].sort(),
    conflicts: () => conflicts,
    close() {
      closed = true;
      for (const { timer } of asking.values()) timer?.cancel();
      asking.clear();
    },
  };
}

function findConflicts(
  byService: ReadonlyMap<string, readonly Member[]>,
  byHash: ReadonlyMap<string, Descriptor>,
): NameConflict[] {
  const found: NameConflict[] = [];
  for (const [service, members] of byService) {
    const first = members.find(member => byHash.has(member.beat.descriptorHash));
    if (!first) continue;
    const reference = byHash.get(first.beat.descriptorHash)!;
    for (const member of members) {
      const other = byHash.get(member.beat.descriptorHash);
      if (!other || other === reference) continue;
      const reason = incompatible(reference, other);
      if (!reason) continue;
      found.push({ service, reason, instances: [first.beat.id, member.beat.id] });
      break;
    }
  }
  return found;
}

/** Why two descriptors of one name cannot be versions of one service; undefined when they can. */
export function incompatible(a: Descriptor, b: Descriptor): string | undefined {
  const names = new Set(a.methods.map(method => method.name));
  if (a.methods.length > 0 && b.methods.length > 0 && !b.methods.some(method => names.has(method.name))) {
    return 'they have no method in common';
  }
  return undefined;
}
