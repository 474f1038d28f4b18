/**
 * Publishing later, outside of a transaction. Until its time an event lies in the due list of a partition, like one of
 * `tx.emit(…, { delay })`: in the data of the publishing service, or, when that keeps none, of a service that subscribes to the
 * topic, since without one nobody waits for the event. It is put there by a transaction under a request id, so a try whose
 * answer was lost is repeated without a second event (ADR 0014).
 */
import type { Topic } from '../contract/topic.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Registry } from '../naming/registry.ts';
import { newestMap, numberOfKey, steadyMap } from '../partitioning/partition-map.ts';
import type { Sender } from '../state/keyspace.ts';

/** What the service that keeps it is sent. */
export interface LaterForm {
  readonly topic: string;
  readonly partitions: number;
  readonly key: string;
  readonly event: unknown;
  /** Wall ms: published when the clock of its partition has passed this. */
  readonly at: number;
  /** The same for all tries. */
  readonly id: string;
  readonly born: number;
  readonly repeated: boolean;
  readonly traceparent: string | undefined;
}

export interface LaterOptions {
  readonly registry: Registry;
  readonly caller: Sender;
  /** The publishing service, when it keeps data. */
  readonly home: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

export interface When {
  readonly delay?: Duration | undefined;
  /** A time; one that has passed means at once. */
  readonly at?: Date | number | undefined;
}

/** Wall ms, or undefined for now. @throws INVALID */
export function dueTime({ delay, at }: When, nowMs: number): number | undefined {
  if (delay !== undefined && at !== undefined)
    throw new TandemError('INVALID', 'an event is published after a `delay` or `at` a time, not both');
  if (delay !== undefined) return nowMs + durationMs(delay);
  if (at === undefined) return undefined;
  const time = Number(at);
  if (Number.isFinite(time)) return time;
  throw new TandemError('INVALID', '`at` is no time: give a Date or ms since 1970');
}

/** Errors after which the same event may be sent again: it is in at most once. */
const repeatable: ReadonlySet<string> = new Set([
  'UNAVAILABLE',
  'MOVED',
  'CLOSED',
  'OVERLOADED',
  'INTERRUPTED',
  'DEADLINE_EXCEEDED',
]);
const tryMs = 2000;

/** Resolves when the event is durable where it waits. @throws UNSUPPORTED (no service can keep it), INVALID, TOO_LARGE, DEADLINE_EXCEEDED (unknown). */
export async function publishLater(
  options: LaterOptions,
  topic: Pick<Topic, 'name' | 'partitions'>,
  event: Pick<LaterForm, 'key' | 'event' | 'at' | 'traceparent'>,
  deadline: number,
): Promise<void> {
  const { caller, clock, random } = options;
  const { name, partitions } = topic;
  const form = { ...event, topic: name, partitions, id: `later-${random.id()}`, born: clock.now() };
  let repeated = false;
  let last: TandemError | undefined;
  for (let attempt = 0; clock.monotonic() < deadline; attempt++) {
    const member = keeper(options, name, form.key);
    if (member) {
      const until = Math.min(deadline, clock.monotonic() + tryMs);
      try {
        const meta = { hops: 0 };
        await caller.send(member, '$event.later', { ...form, repeated }, { deadline: until, meta });
        return;
      } catch (cause) {
        last = TandemError.from(cause);
        if (!repeatable.has(last.code)) throw last;
        repeated ||= last.outcome === 'unknown';
      }
    }
    await sleep(clock, 20 + backoffMs(random, attempt, 20, 500));
  }
  throw new TandemError('DEADLINE_EXCEEDED', `the event for '${name}' was not stored in time`, {
    outcome: repeated ? 'unknown' : 'not-done',
    cause: last,
  });
}

/** The instance to send it to: the writer of the key's partition if one is known. @throws UNSUPPORTED */
function keeper({ registry, home }: LaterOptions, topic: string, key: string): Member | undefined {
  const service =
    home ??
    registry.services().find(candidate => {
      const { keyspace, subscriptions = [] } = registry.descriptor(candidate) ?? {};
      return keyspace !== undefined && subscriptions.some(subscription => subscription.topic === topic);
    });
  if (service === undefined) {
    if (registry.learning()) return undefined;
    const message = `an event for later waits in the data of a service, but this one keeps none and no running one subscribes to '${topic}'; give it tables, or emit the event in a transaction: tx.emit(topic, event, { delay })`;
    throw new TandemError('UNSUPPORTED', message);
  }
  const ready = registry
    .instances(service)
    .filter(({ beat, verdict }) => beat.ready && !beat.draining && verdict === 'alive');
  const count = registry.descriptor(service)?.keyspace?.partitions;
  const map = newestMap(ready.map(({ beat }) => beat.map)) ?? (count === undefined ? undefined : steadyMap(count));
  const partition = map ? numberOfKey(map, key) : -1;
  const writes = ({ beat }: Member): boolean =>
    beat.partitions.some(line => line.partition === partition && line.epoch > 0);
  return ready.find(writes) ?? ready[0];
}
