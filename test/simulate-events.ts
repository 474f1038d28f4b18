/**
 * One run of events under faults: transactions emit numbered events of several keys, instances are killed, restarted and
 * handed over, answers of the engine get lost, and handlers fail: before their transaction, after it, or always. Judged at
 * the end: each event took effect once or is one dead letter, never both, never neither, and effects of a key are in order.
 */
import { type DeadLetter, readDeadLetters } from '../src/events/dead-letters.ts';
import type { Delivery } from '../src/events/events.ts';
import { book, type Cluster, count, openCluster, seen, service } from '../src/events/fixture.test.ts';
import type { Engine } from '../src/log/engine.ts';
import { auditEffects } from '../src/simulation/accounting.ts';
import type { Keyspace } from '../src/state/keyspace.ts';

export interface EventsMutant {
  readonly under?: (engine: Engine, keyspace: Keyspace) => { engine: Engine; keyspace: Keyspace };
  readonly snapshotEntries?: number;
}

export interface EventsRun {
  readonly wrong: readonly string[];
  readonly handled: number;
  readonly dead: number;
}

const keys = ['a', 'b', 'c', 'd'];

/** Events of each key, and the pause between two at most. */
const events = 15;
const pauseMs = 60;

export async function simulateEvents(seed: number, mutant: EventsMutant = {}): Promise<EventsRun> {
  const handler = async (delivery: Delivery): Promise<void> => {
    const { n } = delivery.event as { n: number };
    if (n % 7 === 3) throw new Error('poison');
    if (n % 5 === 1 && delivery.attempt === 1) throw new Error('failed before it did anything');
    await count(delivery);
    if (n % 5 === 2) throw new Error('failed after it was done');
  };
  const cluster = openCluster(handler, {
    seed,
    lostAnswerChance: 0.03,
    subscriptions: [{ ...book, attemptsMax: 3 }],
    settings: { snapshotEntries: mutant.snapshotEntries ?? 30 },
    ...(mutant.under && { under: mutant.under }),
  });
  const { clock, random } = cluster;
  await sendUnderFaults(cluster, keys, 1, events);

  const expected = keys.flatMap(key => Array.from({ length: events }, (_, i) => `${key} ${i + 1}`));
  const poisoned = (id: string): boolean => Number(id.split(' ')[1]) % 7 === 3;
  let effects: string[] = [];
  let letters: string[] = [];
  const look = async (): Promise<void> => {
    const rows = await Promise.all(keys.map(key => seen(cluster, key)));
    effects = rows.flatMap((row, at) => row?.order.map(n => `${keys[at]} ${n}`) ?? []);
    letters = await clock.complete(async () => {
      const deadline = clock.monotonic() + 10_000;
      const options = { engine: cluster.engine, service, subscription: 'book', clock, random, deadline };
      const found: DeadLetter[] = [];
      for await (const { letter } of readDeadLetters(options)) found.push(letter);
      return found.map(({ event }) => `${(event as { id: string }).id} ${(event as { n: number }).n}`);
    });
  };
  for (let waited = 0; waited < 30_000; waited += 1000) {
    await look();
    if (effects.length + letters.length >= expected.length) break;
    await clock.advance(1000);
  }
  await clock.advance(3000);
  await look();

  const wrong: string[] = [];
  const audit = auditEffects(
    expected.map(id => ({ id, outcome: 'ok' as const })),
    [...effects, ...letters],
  );
  if (!audit.balances) wrong.push(`events: ${JSON.stringify(audit)}`);
  const misplaced = letters.filter(id => !poisoned(id)).concat(effects.filter(poisoned));
  if (misplaced.length > 0) wrong.push(`given up, but not poison, or the other way round: ${misplaced.join()}`);
  for (const key of keys) {
    const order = effects.filter(id => id.startsWith(`${key} `)).map(id => Number(id.split(' ')[1]));
    if (order.some((n, at) => at > 0 && n <= order[at - 1]!)) wrong.push(`events of ${key} out of order: ${order}`);
  }
  for (const node of cluster.nodes.values()) if (node.alive) cluster.kill(node.id);
  return { wrong, handled: effects.length, dead: letters.length };
}

/**
 * Emits events `from` to `to` of each key while two instances are killed, handed over and started again; then no answer is lost
 * any more. `between` is done after each blow. Call it again to go on.
 */
export async function sendUnderFaults(
  cluster: Cluster,
  keys: readonly string[],
  from: number,
  to: number,
  between: () => Promise<void> = async () => {},
): Promise<void> {
  const { clock, random, model } = cluster;
  const slots = ['ledger-1', 'ledger-2'];
  let lives = 0;
  const living = (slot: string): string | undefined =>
    [...cluster.nodes.values()].find(({ id, alive }) => alive && id.startsWith(slot))?.id;
  const open = (slot: string): Promise<unknown> => cluster.open(`${slot}-${from}-${++lives}`);
  for (const slot of slots) if (living(slot) === undefined) await open(slot);
  await clock.advance(2000);

  let sent = false;
  const sending = Promise.all(
    keys.map(async id => {
      for (let n = from; n <= to; n++) {
        await cluster.emit({ id, n });
        await new Promise<void>(resolve => clock.after(random.below(pauseMs), resolve));
      }
    }),
  ).then(() => {
    sent = true;
  });
  for (let blows = 0; blows < 3; blows++) {
    await clock.advance(200 + random.below(800));
    const slot = slots[random.below(2)]!;
    const id = living(slot)!;
    if (random.next() < 0.7) cluster.kill(id);
    else {
      let closed = false;
      void cluster.close(id).then(() => {
        closed = true;
      });
      await cluster.until(() => closed);
    }
    await clock.advance(random.below(1500));
    await open(slot);
    await between();
  }
  await cluster.until(() => sent, 120_000);
  await sending;
  model.setLostAnswerChance(0);
}
