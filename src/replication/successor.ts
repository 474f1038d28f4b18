/**
 * The beginning of a partition that was divided off another (data core, rule 23): its copy is one of the other until that is
 * sealed, then it goes on as what its share of it becomes. The genesis is the same whoever writes it, so that who seals may
 * die at any moment. Where the log goes on already, a snapshot of its own spares the way through the origin.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Engine, Entry } from '../log/engine.ts';
import { encodeEntry } from './entry.ts';
import { firstEntries, refuseKnown, says } from './genesis.ts';
import { restoreAlone } from './incarnation.ts';
import { trimmed } from './lost-log.ts';
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

/** Answers whether the copy is at the log's end already: when it has just appended the genesis itself. */
export async function goOnFrom(options: SuccessorOptions): Promise<boolean> {
  const { store, origin, signal, clock, random } = options;
  const first = await firstEntries(options);
  if ((first === undefined || first.some(says)) && (await options.loadedSnapshot())) return false;
  if (first === undefined) throw trimmed(options.log, 0);
  const before = options.openBefore(new OriginStore(store, origin));
  try {
    await before.untilSealed();
  } catch (thrown) {
    // Its log may have been given up meanwhile, because this one has snapshots now.
    await before.close();
    if (signal.aborted || !(await options.loadedSnapshot())) throw thrown;
    return false;
  }
  try {
    // Writers wait: what was not there before the seal is not asked for again.
    for (let attempt = 0, entries = first; !signal.aborted; attempt++) {
      if (attempt > 0) {
        entries = (await firstEntries(options)) ?? [];
        if (entries.some(says)) {
          await options.take(entries);
          return false;
        }
        await sleep(clock, attempt > 1 ? backoffMs(random, attempt, 5, rereadMsMax) : 0, signal);
      }
      if (!entries.some(says) && (await begin(options, before, entries))) return true;
    }
    return false;
  } finally {
    // It is sealed and does nothing more; writers do not wait for its end, whoever closes this copy does.
    void before.close();
  }
}

/** Appends the genesis, after what barriers left, and applies it. False when it may be another's that landed: the next read shows. */
async function begin(options: SuccessorOptions, before: Before, left: readonly Entry[]): Promise<boolean> {
  const after = left.at(-1)?.position ?? 0;
  const { engine, service, partition, partitions, origin, log, clock, engineTimeoutMs } = options;
  const deadline = clock.monotonic() + engineTimeoutMs;
  if (after === 0 && options.knownElsewhere()) {
    if ((await engine.log.barrier(log, { deadline })) > 0) return false;
    return refuseKnown(options, 0);
  }
  const { head } = before;
  const body = encodeEntry({
    parent: '',
    author: head.writer,
    epoch: head.epoch + 1,
    time: head.time,
    // Who sealed is where both successors are ready first.
    claims: head.writer !== '',
    medium: restoreAlone(head.medium),
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
  const { kind } = await engine.log.append(log, after, [body], { deadline });
  if (kind === 'appended') await options.take([...left, { position: after + 1, body }]);
  return kind === 'appended';
}
