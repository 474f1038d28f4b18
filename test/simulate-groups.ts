/**
 * What persons do to a subscription, under the faults of `simulate-events.ts`: keys are parked and let go on, once too early and
 * again when the reason is gone; a topic is read again while instances die and live events follow. Judged by what each key's
 * row says: every event once and in order, and once more for each time that the replay was asked for.
 */
import type { Incoming } from '../src/core/channel.ts';
import { TandemError } from '../src/core/errors.ts';
import { readDeadLetters, redrive } from '../src/events/dead-letters.ts';
import type { Delivery } from '../src/events/events.ts';
import { book, type Cluster, count, openCluster, placed, seen, service } from '../src/events/fixture.test.ts';
import type { ResumeForm } from '../src/events/parking.ts';
import type { ReplayForm } from '../src/events/replay.ts';
import { partitionOf } from '../src/partitioning/hash.ts';
import { type EventsMutant, sendUnderFaults } from './simulate-events.ts';

const keys = ['a', 'b', 'c', 'd'];
const events = 10;
const live = 3;
/** Nothing that should go on takes longer. */
const patienceMs = 90_000;

function open(
  seed: number,
  mutant: EventsMutant,
  onDead: 'skip' | 'park',
  handler: (of: Delivery) => Promise<void>,
): Cluster {
  return openCluster(handler, {
    seed,
    lostAnswerChance: 0.03,
    subscriptions: [{ ...book, attemptsMax: 3, onDead }],
    settings: { snapshotEntries: mutant.snapshotEntries ?? 30 },
    ...(mutant.under && { under: mutant.under }),
  });
}

/** Asks any living instance; it may be one that must pass it on, to one that died. */
async function ask(cluster: Cluster, method: string, body: unknown): Promise<unknown> {
  const node = [...cluster.nodes.values()].find(({ alive, draining }) => alive && !draining)!;
  const deadline = cluster.clock.monotonic() + 5000;
  const incoming = { method, body, deadline, signal: new AbortController().signal } as Incoming;
  return ((await node.events.answer(incoming)) as { body: unknown }).body;
}

async function orders(cluster: Cluster): Promise<readonly (readonly number[])[]> {
  const rows = await Promise.all(keys.map(key => seen(cluster, key)));
  return rows.map(row => row?.order ?? []);
}

/** Until `found`, or for as long as anything could still come. */
async function settle(cluster: Cluster, found: () => Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < patienceMs && !(await found()); waited += 1000) await cluster.clock.advance(1000);
  await cluster.clock.advance(3000);
}

function end(cluster: Cluster): void {
  for (const node of cluster.nodes.values()) if (node.alive) cluster.kill(node.id);
}

export async function simulateParking(seed: number, mutant: EventsMutant = {}): Promise<readonly string[]> {
  let broken = true;
  const cluster = open(seed, mutant, 'park', async delivery => {
    const { id, n } = delivery.event as { id: string; n: number };
    if (broken && n === 3 && id !== 'd') throw new Error('closed');
    await count(delivery);
    if (n % 4 === 2 && delivery.attempt === 1) throw new Error('failed after it was done');
  });
  const { clock, random, engine } = cluster;
  const letterOptions = () => ({
    engine,
    service,
    subscription: 'book',
    clock,
    random,
    deadline: clock.monotonic() + 10_000,
  });
  /** Its fate may be unknown; repeating it is safe. */
  const letGo = (): Promise<void> =>
    clock.complete(
      redrive({
        ...letterOptions(),
        resume: async (form: ResumeForm) => (await ask(cluster, '$event.resume', form)) as boolean,
      }).then(
        () => {},
        () => {},
      ),
    );
  const letters = (): Promise<number> =>
    clock.complete(async () => {
      let found = 0;
      for await (const _ of readDeadLetters(letterOptions())) found++;
      return found;
    });

  let blows = 0;
  await sendUnderFaults(cluster, keys, 1, events, async () => {
    // Too early it changes nothing; the last blow comes while keys go on.
    if (++blows === 3) broken = false;
    await letGo();
  });
  broken = false;
  const whole = async (): Promise<boolean> => (await orders(cluster)).every(order => order.length >= events);
  await settle(cluster, async () => {
    if ((await letters()) > 0) await letGo();
    return whole();
  });
  const wrong: string[] = [];
  for (const [at, order] of (await orders(cluster)).entries())
    if (order.length !== events || order.some((n, i) => n !== i + 1)) wrong.push(`events of ${keys[at]}: ${order}`);
  end(cluster);
  return wrong;
}

export async function simulateReplay(seed: number, mutant: EventsMutant = {}): Promise<readonly string[]> {
  const cluster = open(seed, mutant, 'skip', async delivery => {
    await count(delivery);
    const { n } = delivery.event as { n: number };
    if (n % 4 === 2 && delivery.attempt === 1) throw new Error('failed after it was done');
  });
  const { clock } = cluster;
  await sendUnderFaults(cluster, keys, 1, events);
  await settle(cluster, async () => (await orders(cluster)).every(order => order.length >= events));

  const asked = Array.from({ length: placed.partitions }, () => 0);
  const replay = async (): Promise<void> => {
    for (let topicPartition = 0; topicPartition < placed.partitions; topicPartition++) {
      for (let done = false; !done; ) {
        const form: ReplayForm = { subscription: 'book', topicPartition, from: 1 };
        asked[topicPartition]!++;
        done = await clock.complete(
          ask(cluster, '$event.replay', form).then(
            () => true,
            // No key may have fallen into it.
            cause => TandemError.from(cause).code === 'NOT_FOUND',
          ),
        );
        if (!done) await clock.advance(500);
      }
    }
  };
  let blows = 0;
  await replay();
  await sendUnderFaults(cluster, keys, events + 1, events + live, async () => {
    if (++blows === 2) await replay();
  });
  const last = events + live;
  const isWhole = (order: readonly number[]): boolean => order.lastIndexOf(1) + last === order.length;
  await settle(cluster, async () => (await orders(cluster)).every(isWhole));

  const wrong: string[] = [];
  for (const [at, order] of (await orders(cluster)).entries()) {
    const runs = order.filter(n => n === 1).length;
    const gap = order.some((n, i) => n !== 1 && n !== (order[i - 1] ?? 0) + 1);
    const most = 1 + asked[partitionOf(keys[at]!, placed.partitions)]!;
    if (
      gap ||
      !isWhole(order) ||
      order.slice(0, events).join() !== Array.from({ length: events }, (_, i) => i + 1).join()
    )
      wrong.push(`events of ${keys[at]}: ${order}`);
    else if (runs < 2 || runs > most) wrong.push(`${keys[at]} was read ${runs} times, asked for at most ${most}`);
  }
  end(cluster);
  return wrong;
}
