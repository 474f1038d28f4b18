/**
 * One run of schedules under crashes: two instances are killed, handed over and restarted, sometimes both are down for minutes, answers of
 * the engine get lost, runs fail. Judged at the end: each due time took effect once, in order; and where one run may stand for
 * several, those that it names and those that ran are together all.
 */
import { scheduleTopic } from '../src/contract/schedule.ts';
import type { Delivery } from '../src/events/events.ts';
import { openCluster, seen, service } from '../src/events/fixture.test.ts';
import type { ReplicaStore } from '../src/replication/store.ts';

export interface SchedulesMutant {
  readonly store?: (store: ReplicaStore, instance: string) => ReplicaStore;
}

const minuteMs = 60_000;
const definitions = (['each', 'once'] as const).map(missed => ({
  name: missed,
  cron: '* * * * *',
  timeZone: 'UTC',
  missed,
  key: missed,
  topic: scheduleTopic(service, missed),
}));

/** The minute that is due, and how many before it this run stands for. */
async function run({ event, scope, attempt }: Delivery): Promise<void> {
  const { key, dueAt, missed } = event as { key: string; dueAt: number; missed: number };
  const minute = dueAt / minuteMs;
  if (minute % 5 === 1 && attempt === 1) throw new Error('failed before it did anything');
  await scope.transact(raw => {
    const tx = raw as unknown as {
      seen: { get(key: string): { count: number; order: number[] } | undefined; put(key: string, row: unknown): void };
    };
    const before = tx.seen.get(key) ?? { count: 0, order: [] };
    tx.seen.put(key, { count: before.count + 1 + missed, order: [...before.order, minute] });
  });
  if (minute % 5 === 2 && attempt === 1) throw new Error('failed after it was done');
}

export async function simulateSchedules(seed: number, mutant: SchedulesMutant = {}): Promise<string[]> {
  const cluster = openCluster(run, {
    seed,
    lostAnswerChance: 0.05,
    schedules: definitions,
    ...mutant,
    subscriptions: definitions.map(({ name, topic }) => ({
      name,
      topic,
      key: 'key',
      attemptsMax: 5,
      onDead: 'skip' as const,
      from: 'earliest' as const,
    })),
  });
  const { clock, random, model } = cluster;
  const first = Math.floor(clock.now() / minuteMs) + 1;
  let lives = 0;
  const living = new Map<string, string>();
  const open = async (slot: string): Promise<void> => {
    const id = `${slot}-${++lives}`;
    living.set(slot, id);
    await cluster.open(id);
  };
  await open('ledger-1');
  await open('ledger-2');
  for (let blows = 0; blows < 3; blows++) {
    await clock.advance(10_000 + random.below(minuteMs));
    const both = random.next() < 0.4;
    for (const slot of both ? ['ledger-1', 'ledger-2'] : [`ledger-${1 + random.below(2)}`]) {
      const id = living.get(slot)!;
      if (random.next() < 0.7) cluster.kill(id);
      else await clock.complete(cluster.close(id));
      living.delete(slot);
    }
    await clock.advance(random.below(both ? 4 * minuteMs : 10_000));
    for (const slot of ['ledger-1', 'ledger-2']) if (!living.has(slot)) await open(slot);
  }
  model.setLostAnswerChance(0);
  // Into the middle of a minute: its time was due long enough ago to have run.
  await clock.advance(2 * minuteMs - (clock.now() % minuteMs) + 45_000);
  const last = Math.floor(clock.now() / minuteMs);

  const wrong: string[] = [];
  const due = Array.from({ length: last - first + 1 }, (_, at) => first + at);
  const each = await seen(cluster, 'each');
  const once = await seen(cluster, 'once');
  if (String(each?.order) !== String(due))
    wrong.push(`each: due ${due.length}, took effect: ${each?.order.map(at => at - first)}`);
  if (once?.count !== due.length) wrong.push(`once: due ${due.length}, ran or named as missed: ${once?.count}`);
  if (once?.order.some((minute, at) => at > 0 && minute <= once.order[at - 1]!))
    wrong.push(`once: out of order: ${once.order}`);
  for (const id of living.values()) cluster.kill(id);
  return wrong;
}
