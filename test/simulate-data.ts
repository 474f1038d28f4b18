/**
 * One run of the data core under faults: keyspaces over an engine whose answers get lost, nodes that are killed, stopped
 * and cut off, and clients that write, read strongly, read in sessions and make transactions over several rows. Judged at
 * the end: strong reads and writes are linearizable, transactions are atomic and in one order, money is neither made nor
 * lost, sessions never go back, replicas agree, every counter is exact, every emitted event is there once.
 */

import type { Consistency } from '../src/contract/method.ts';
import { table } from '../src/contract/table.ts';
import { topic } from '../src/contract/topic.ts';
import { type Clock, sleep } from '../src/core/clock.ts';
import { isNotDone, TandemError } from '../src/core/errors.ts';
import type { SessionForm } from '../src/core/meta.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import type { AnySchema } from '../src/core/schema.ts';
import { Cursor } from '../src/events/cursor.ts';
import { bodyOf, decodeEvent } from '../src/events/event.ts';
import type { Engine } from '../src/log/engine.ts';
import { unpack } from '../src/replication/codec.ts';
import type { ReplicaStore } from '../src/replication/store.ts';
import { type Attempt, auditEffects } from '../src/simulation/accounting.ts';
import { checkConvergence } from '../src/simulation/convergence.ts';
import { type DataNode, dataCluster } from '../src/simulation/data-cluster.ts';
import { History } from '../src/simulation/history.ts';
import { checkLinearizability } from '../src/simulation/linearizability.ts';
import { registerModel } from '../src/simulation/model.ts';
import { checkSessions, type Observation } from '../src/simulation/sessions.ts';
import { virtualClock } from '../src/simulation/virtual-clock.ts';
import { beginResharding } from '../src/state/catalog.ts';
import type { Scope } from '../src/state/keyspace.ts';
import { modelSide } from './simulated-engines.ts';
import { begin, judgeTransactions, perform, TransactionSource, type TransactionTables } from './transactions.ts';

/** What a test breaks on purpose, to see that the checkers notice. */
export interface Mutant {
  readonly engine?: (engine: Engine, clock: Clock, process: string) => Engine;
  readonly store?: (store: ReplicaStore, clock: Clock) => ReplicaStore;
  /** What a client makes of the session it got back. */
  readonly session?: (session: SessionForm) => SessionForm;
  /** Each try of a request gets an id of its own. */
  readonly dropRequestIds?: boolean;
}

export interface DataRun {
  readonly wrong: readonly string[];
  readonly accepted: number;
  readonly unknown: number;
  readonly reads: number;
  readonly faults: readonly string[];
}

interface Counted {
  readonly n: number;
  readonly by: string;
}
const anything = {
  '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) },
} as AnySchema;
const counters = table(anything);
const lists = table(anything);
const accounts = table(anything);
const added = topic('added', anything, { key: 'key' as never });
const keys = ['a', 'b', 'c', 'd', 'e'];
const slots = ['node0', 'node1', 'node2', 'node3'];
const partitions = 2;
/** Rows that change together: a group in each partition. */
const groups = ['left', 'right'];

export async function simulateData(
  seed: number,
  mutant: Mutant = {},
  engines: typeof modelSide = modelSide,
  calls = 80,
  /** Doublings of the partition count meanwhile. */
  doublings = 0,
): Promise<DataRun> {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const side = engines(clock, random);
  const cluster = dataCluster({
    clock,
    random,
    connect: (own, name) => {
      const engine = lagging(side.connect(own, name), own, random);
      return mutant.engine?.(engine, own, name) ?? engine;
    },
    tables: { counters, lists, accounts },
    partitions,
    replicas: 3,
    settings: { snapshotEntries: 40, engineTimeoutMs: 300 },
    ...(mutant.store ? { store: mutant.store } : {}),
    relay: doublings > 0,
  });
  const judge = side.connect(clock.process(), 'judge');
  const catalog = { service: 'data', engine: judge, clock, random, engineTimeoutMs: 1000 };
  const reshard = async (): Promise<void> => {
    for (let done = 0; done < doublings; ) {
      await sleep(clock, 200 + random.below(500));
      try {
        const map = await beginResharding(catalog, undefined);
        if (map.to === partitions * 2 ** (done + 1)) {
          faults.push(`${Math.round(clock.monotonic())} ms: reshard to ${map.to}`);
          done++;
        }
      } catch (error) {
        const { code } = TandemError.from(error);
        if (!isNotDone(error) && code !== 'DEADLINE_EXCEEDED' && code !== 'INTERRUPTED') throw error;
      }
    }
  };
  const history = new History();
  const transactions = new TransactionSource(random, groups);
  const observations: Observation[] = [];
  const attempts: Attempt[] = [];
  const wrong: string[] = [];
  const faults: string[] = [];
  const jumps: (() => void)[] = [];
  let steps = 0;
  let stopped = false;

  const call = async <R>(
    id: string,
    key: string,
    level: Consistency,
    reads: boolean,
    session: SessionForm | undefined,
    work: (scope: Scope) => Promise<R>,
  ): Promise<{ outcome: Attempt['outcome']; value?: R; session?: SessionForm | undefined }> => {
    let doubtful = false;
    const born = clock.now();
    const giveUpAt = clock.monotonic() + 200 + random.below(3000);
    for (let tries = 0; clock.monotonic() < giveUpAt && !stopped; tries++) {
      const alive = [...cluster.nodes.values()].filter(node => node.clock.monotonic() > 0);
      const via = alive[random.below(alive.length)];
      const deadline = clock.monotonic() + 100 + random.below(1500);
      const request = { id: mutant.dropRequestIds ? `${id}-${tries}` : id, born, inputHash: key, repeated: doubtful };
      try {
        if (via) {
          const { value, session: seen } = await cluster.call(
            via,
            { key, reads, level, session, deadline, request },
            work,
          );
          return { outcome: 'ok', value, session: seen && (mutant.session?.(seen) ?? seen) };
        }
      } catch (error) {
        if (error instanceof TandemError && error.code === 'DENIED') return { outcome: doubtful ? 'unknown' : 'fail' };
        if (!(error instanceof TandemError) || error.code === 'INTERNAL' || error.code === 'LOG_LOST') {
          wrong.push(String((error as Error)?.stack ?? error));
        }
        if (!isNotDone(error)) doubtful = true;
      }
      await sleep(clock, random.below(60));
    }
    return { outcome: doubtful ? 'unknown' : 'fail' };
  };

  const client = async (name: string): Promise<void> => {
    let session: SessionForm | undefined;
    for (let n = 0; n < calls && !stopped; n++) {
      const id = `${name}.${n}`;
      const key = keys[random.below(keys.length)]!;
      const luck = random.next();
      const invoked = steps++;
      if (random.next() < 0.35) {
        const asked = transactions.next();
        const end = begin(history, name, asked);
        const result = await call(id, asked.group, 'strong', random.next() < 0.25, session, scope =>
          scope.transact(tx => perform(tx as unknown as TransactionTables, asked)),
        );
        end(result.outcome, result.value);
        if (result.outcome === 'ok') session = result.session;
      } else if (luck < 0.45) {
        const end = history.invoke({ process: name, kind: 'add', key, input: 1 });
        // some run at a replica that is not the writer, as after a failover that nobody knows of yet
        const result = await call(id, key, 'strong', random.next() < 0.25, session, scope =>
          scope.transact(tx => add(tx, key, id)),
        );
        end(result.outcome, result.value);
        attempts.push({ id, outcome: result.outcome });
        if (result.outcome === 'ok') {
          session = result.session;
          const version = result.value!;
          observations.push({ session: name, kind: 'write', key, version, value: id, invoked, returned: steps++ });
        }
      } else {
        const level = luck < 0.7 ? 'sequential' : 'strong';
        const asTransaction = luck > 0.85;
        const end = level === 'strong' ? history.invoke({ process: name, kind: 'read', key }) : () => {};
        const result = await call(id, key, level, !asTransaction || random.next() < 0.25, session, scope =>
          asTransaction
            ? scope.transact(tx => look(tx, key))
            : (scope.tables['counters']!.get(key) as Promise<Counted>),
        );
        end(result.outcome, result.value?.n ?? 0);
        if (result.outcome === 'ok') {
          session = result.session;
          const { n: version, by: value } = result.value ?? { n: 0, by: '' };
          observations.push({ session: name, kind: 'read', key, version, value, invoked, returned: steps++ });
        }
      }
      if (random.next() < 0.1) session = undefined;
      if (session === undefined) name = `${name.split('/')[0]}/${n}`;
      await sleep(clock, random.below(40));
    }
  };

  const pick = (): DataNode => [...cluster.nodes.values()][random.below(cluster.nodes.size)]!;
  const disturb = async (): Promise<void> => {
    const luck = random.next();
    const node = pick();
    const say = (what: string): void => void faults.push(`${Math.round(clock.monotonic())} ms: ${what}`);
    if (luck < 0.35) {
      say(`kill ${node.id}`);
      node.kill();
      side.killed(node.id);
      await sleep(clock, random.below(1500));
      say(`start ${(await cluster.start(node.slot)).id}`);
    } else if (luck < 0.5) {
      say(`stop ${node.id}`);
      await node.stop();
      say(`start ${(await cluster.start(node.slot)).id}`);
    } else if (luck < 0.7) {
      const other = pick();
      say(`cut ${node.slot} from ${other.slot}`);
      cluster.cut(node.slot, other.slot);
      await sleep(clock, random.below(1500));
      cluster.heal();
    } else if (luck < 0.8) {
      await side.fault(say);
    } else if (luck < 0.88) {
      const ms = Math.round((random.next() - 0.5) * 10_000);
      say(`clock of ${node.id} off by ${ms} ms`);
      node.clock.jumpWall(ms);
      jumps.push(() => node.clock.jumpWall(-ms));
    } else if (luck < 0.92) {
      const other = pick();
      say(`${node.slot} is refused by ${other.id}, which lives`);
      cluster.accuse(node.slot, other.slot);
    } else {
      say(`pause ${node.id}`);
      node.clock.pause();
      await sleep(clock, random.below(1500));
      node.clock.resume();
    }
  };

  await clock.complete(async () => {
    await side.open();
    await Promise.all(slots.map(slot => cluster.start(slot)));
    const clients = Promise.all(Array.from({ length: 5 }, (_, at) => client(`c${at}`)));
    const faulty = (async () => {
      while (!stopped) {
        await sleep(clock, random.below(300));
        if (!stopped) await disturb();
      }
    })();
    await Promise.all([clients, reshard()]);
    stopped = true;
    await faulty;
    stopped = false;
    cluster.heal();
    side.calm();
    // Where most clocks disagree nobody begins to write, so nobody would relay what the last writer left.
    if (doublings > 0) for (const back of jumps) back();
  });
  // What is under way lands, who was away catches up; a link to an engine that lost its power notices that in 20 s at most.
  await clock.advance(2000);
  const isCalm = (): boolean =>
    checkConvergence(cluster.states(), true).length === 0 &&
    [...cluster.nodes.values()].every(({ keyspace }) => keyspace.map.count === partitions * 2 ** doublings);
  for (let waited = 2000; waited < 25_000 && !isCalm(); waited += 500) {
    await clock.advance(500);
  }

  const totals = new Map<string, Counted>();
  await clock.complete(async () => {
    for (const key of keys) {
      const end = history.invoke({ process: 'judge', kind: 'read', key });
      const { value, outcome } = await call(
        `judge ${key}`,
        key,
        'strong',
        true,
        undefined,
        scope => scope.tables['counters']!.get(key) as Promise<Counted>,
      );
      if (outcome !== 'ok') wrong.push(`the cluster does not recover: key ${key}`);
      end(outcome, value?.n ?? 0);
      if (value) totals.set(key, value);
    }
  });

  // A strong read may have left an entry, which followers take in their own time.
  await clock.advance(1000);
  const nodes = [...cluster.nodes.values()];
  const find = (): ReturnType<typeof eventsOf> =>
    doublings > 0 ? relayedEvents(judge, clock) : eventsOf(nodes, clock, wrong);
  let effects = await clock.complete(find);
  // An append to a topic whose answer was lost is made again when its time is over.
  for (let waited = 0; doublings > 0 && waited < 30_000 && effects.length < sumOf(totals); waited += 1000) {
    await clock.advance(1000);
    effects = await clock.complete(find);
  }
  for (let waited = 0; doublings > 0 && waited < 5000 && !isCalm(); waited += 500) await clock.advance(500);
  const to = partitions * 2 ** doublings;
  for (const { id, keyspace } of nodes) {
    const { count, divided } = keyspace.map;
    if (count !== to || divided > 0)
      wrong.push(`${id} has a map of ${count} partitions, ${divided} divided, not ${to}`);
  }
  const audit = auditEffects(
    attempts,
    effects.map(({ id }) => id),
  );
  if (!audit.balances) wrong.push(`events: ${JSON.stringify(audit)}`);
  for (const key of keys) {
    const ofKey = effects.filter(event => event.key === key);
    const total = totals.get(key)?.n ?? 0;
    if (total !== ofKey.length) wrong.push(`counter ${key} is ${total}, its events are ${ofKey.length}`);
    if (ofKey.some(({ n }, at) => n !== at + 1)) wrong.push(`events of ${key} are not in order`);
  }
  const registers = history.operations.filter(({ key }) => keys.includes(key));
  const judgement = checkLinearizability(registers, registerModel(0), { stepsMax: 300_000 });
  wrong.push(...judgeTransactions(history.operations).slice(0, 2));
  if (judgement.kind === 'violation') wrong.push(`not linearizable: ${JSON.stringify(judgement)}`);
  for (const violation of checkSessions(observations).slice(0, 2)) wrong.push(JSON.stringify(violation));
  for (const disagreement of checkConvergence(cluster.states(), true).slice(0, 2)) {
    wrong.push(JSON.stringify(disagreement));
  }
  for (const node of cluster.nodes.values()) node.kill();
  return {
    wrong: wrong.slice(0, 6),
    accepted: attempts.filter(({ outcome }) => outcome === 'ok').length,
    unknown: attempts.filter(({ outcome }) => outcome === 'unknown').length,
    reads: observations.filter(({ kind }) => kind === 'read').length,
    faults,
  };
}

/** Followers may be late: a replica that is behind is what the levels of reading are about. */
function lagging(engine: Engine, clock: Clock, random: Random): Engine {
  const { log } = engine;
  const follow: typeof log.follow = async function* (name, from, signal) {
    for await (const entries of log.follow(name, from, signal)) {
      if (random.next() < 0.3) await sleep(clock, random.below(100), signal);
      if (signal.aborted) return;
      yield entries;
    }
  };
  const late: typeof log = {
    append: (...args) => log.append(...args),
    barrier: (...args) => log.barrier(...args),
    read: (...args) => log.read(...args),
    follow,
    begin: (...args) => log.begin(...args),
    trim: (...args) => log.trim(...args),
    info: (...args) => log.info(...args),
    list: (...args) => log.list(...args),
  };
  return Object.create(engine, { log: { value: late } });
}

interface Writes {
  readonly counters: { get(key: string): Counted | undefined; put(key: string, value: Counted): void };
  emit(topic: unknown, event: unknown): void;
}

function add(tx: unknown, key: string, id: string): number {
  const { counters: rows, emit } = tx as Writes;
  const n = (rows.get(key)?.n ?? 0) + 1;
  rows.put(key, { n, by: id });
  emit(added, { key, id, n });
  return n;
}

function look(tx: unknown, key: string): Counted | undefined {
  return (tx as Writes).counters.get(key);
}

function sumOf(totals: ReadonlyMap<string, Counted>): number {
  return [...totals.values()].reduce((sum, { n }) => sum + n, 0);
}

/** Events of the topic, as a group that reads it takes them: what a source said before is a repeat. */
async function relayedEvents(engine: Engine, clock: Clock): Promise<{ key: string; id: string; n: number }[]> {
  const all: { key: string; id: string; n: number }[] = [];
  for (let partition = 0; partition < added.partitions; partition++) {
    const cursor = new Cursor({ position: 0, generation: 1, sources: {} });
    for (let next = 1, tries = 0; ; ) {
      const deadline = clock.monotonic() + 1000;
      const entries = await engine.log.read(`topic/added/${partition}`, next, 1_048_576, { deadline }).catch(error => {
        if (tries++ === 100) throw error;
        return undefined;
      });
      if (!entries) await sleep(clock, 200);
      else if (entries.length === 0) break;
      for (const { position, body } of entries ?? []) {
        next = position + 1;
        if (body.length === 0) continue;
        const event = decodeEvent(body);
        const done = cursor.take(position, event);
        if (done) all.push(bodyOf(event) as { key: string; id: string; n: number });
        done?.();
      }
    }
  }
  return all;
}

/** Events of all partitions, as a reader of the log and as one of the last entries in memory gets them. */
async function eventsOf(
  nodes: readonly DataNode[],
  clock: Clock,
  wrong: string[],
): Promise<{ key: string; id: string; n: number }[]> {
  const all: { key: string; id: string; n: number }[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const holders = nodes.filter(({ keyspace }) => keyspace.held().includes(partition));
    let longest: string[] = [];
    for (const { keyspace, stores, id } of holders) {
      const end = new AbortController();
      const { position } = stores.get(partition)!.head;
      const seen: string[] = [];
      // As a relay does: goes on where it was interrupted, such as by a link to an engine that lost its power.
      for (let next = 1, tries = 0; !end.signal.aborted; tries++) {
        try {
          for await (const batch of keyspace.emitted(partition, next, end.signal)) {
            for (const { body } of batch.events) seen.push(JSON.stringify(unpack(body)));
            next = batch.through + 1;
            if (batch.through >= position) end.abort();
          }
        } catch (thrown) {
          if (tries === 100) throw thrown;
          await sleep(clock, 200);
        }
      }
      if (longest.length > 0 && longest.join() !== seen.join()) wrong.push(`${id} gives other events of ${partition}`);
      if (seen.length >= longest.length) longest = seen;
    }
    all.push(...longest.map(text => JSON.parse(text)));
  }
  return all;
}
