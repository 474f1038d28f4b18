/**
 * The beginning of a partition that was divided off another (data core, rule 23): its copy is one of the other until that is
 * sealed, then it goes on as what its share of it becomes. The genesis is the same whoever writes it, so that who seals may
 * die at any moment. Where the log goes on already, a snapshot of its own spares the way through the origin.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Engine, Entry } from '../log/engine.ts';
import { encodeEntry } from './entry.ts';
import { firstEntries, says } from './genesis.ts';
import { lost, trimmed } from './lost-log.ts';
import { type Origin, OriginStore, predecessorOf } from './origin.ts';
import type { Head, ReplicaStore } from './store.ts';

export interface SuccessorOptions {
  readonly service: string;
  readonly partition: number;
  readonly partitions: number;
  readonly log: string;
  readonly origin: Origin;
  readonly store: ReplicaStore;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly engineTimeoutMs: number;
  readonly knownElsewhere: () => boolean;
  /** Ends everything. */
  readonly signal: AbortSignal;
  /** Loads the newest snapshot of its own; false when there is none. */
  readonly loadedSnapshot: () => Promise<boolean>;
  /** Applies the beginning of the log. */
  readonly take: (entries: readonly Entry[]) => Promise<void>;
  /** A copy of the origin in `store`. */
  readonly openBefore: (store: ReplicaStore) => Before;
}
interface Before {
  readonly log: string;
  readonly head: Head;
  untilSealed(): Promise<void>;
  close(): Promise<void>;
}

const rereadMsMax = 200;

export async function goOnFrom(options: SuccessorOptions): Promise<void> {
  const { store, origin, signal, clock, random } = options;
  const first = await firstEntries(options);
  if ((first === undefined || first.some(says)) && (await options.loadedSnapshot())) return;
  if (first === undefined) throw trimmed(options.log, 0);
  const before = options.openBefore(new OriginStore(store, origin));
  try {
    await before.untilSealed();
  } catch (thrown) {
    // Its log may have been given up meanwhile, because this one has snapshots now.
    if (signal.aborted || !(await options.loadedSnapshot())) throw thrown;
    return;
  } finally {
    await before.close();
  }
  for (let attempt = 0; !signal.aborted; attempt++) {
    const entries = await firstEntries(options);
    if (entries === undefined) throw new TandemError('UNAVAILABLE', `${options.log} was trimmed meanwhile`);
    if (entries.some(says)) return options.take(entries);
    if (attempt > 0) await sleep(clock, backoffMs(random, attempt, 5, rereadMsMax), signal);
    await begin(options, before, entries.at(-1)?.position ?? 0);
  }
}

/** Appends the genesis, after what barriers left. Whether it landed, or another's did, the next read shows. */
async function begin(options: SuccessorOptions, before: Before, after: number): Promise<void> {
  const { engine, service, partition, partitions, origin, log, clock, engineTimeoutMs } = options;
  const deadline = clock.monotonic() + engineTimeoutMs;
  if (after === 0 && options.knownElsewhere()) {
    if ((await engine.log.barrier(log, { deadline })) > 0) return;
    throw lost(log, 0, 0);
  }
  const { head } = before;
  const body = encodeEntry({
    parent: '',
    author: head.writer,
    epoch: head.epoch + 1,
    time: head.time,
    // Who sealed is where both successors are ready first.
    claims: head.writer !== '',
    genesis: {
      incarnation: head.sealed![origin.side],
      service,
      partition,
      partitions,
      predecessor: predecessorOf(before.log, head),
    },
    writes: [],
    emitted: [],
  });
  await engine.log.append(log, after, [body], { deadline });
}
