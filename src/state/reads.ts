/**
 * The three levels of reading one partition held here (design 5; data core, rules 9, 12): each is a wait, and then the same
 * local read. A wait that fails is an error, unless the method asked for `degrade: 'eventual'`.
 */
import type { Session } from '../calling/session.ts';
import type { Consistency } from '../contract/method.ts';
import { TandemError } from '../core/errors.ts';
import type { Partition } from './partition.ts';

/** Waits until the replica may answer at this level; undefined when it may at once. */
export function untilFresh(
  partition: Partition,
  level: Consistency,
  session: Session,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<void> | undefined {
  const { replica } = partition;
  if (level === 'eventual') return replica.head.position > 0 ? undefined : replica.untilReady(deadline, signal);
  if (level === 'strong') return untilStrong(partition, deadline, signal);
  if (session.size === 0 && !session.overflowed) return replica.until(0, deadline, signal);
  return untilSession(partition, session, deadline, signal);
}

async function untilStrong(partition: Partition, deadline: number, signal: AbortSignal | undefined): Promise<void> {
  await partition.replica.untilReady(deadline, signal);
  // While a slot is undecided nobody can say what a strong read must see (rule 6).
  await withDeadline(partition, partition.pipeline.recovering, deadline, signal);
  const position = await withDeadline(partition, partition.barrier.position(), deadline, signal);
  await partition.replica.until(position as number, deadline, signal);
}

async function untilSession(
  partition: Partition,
  session: Session,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { replica } = partition;
  await replica.untilReady(deadline, signal);
  const label = partition.label;
  const position = session.position(label);
  if (position > 0) return replica.until(position, deadline, signal);
  const prefix = `${replica.log}#`;
  for (const log of session.logs()) {
    if (!log.startsWith(prefix)) continue;
    throw new TandemError(
      'LOG_LOST',
      `this session saw ${log}, but the log is now ${label}: begin a new session, and find out what was lost`,
    );
  }
  // What a full session forgot may have been this log.
  if (session.overflowed) return untilStrong(partition, deadline, signal);
}

/** The wait of one reader on something shared. */
export function withDeadline<T>(
  partition: Partition,
  shared: Promise<T> | undefined,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<T | undefined> | undefined {
  if (!shared) return undefined;
  const gaveUp = partition.replica.until(Number.MAX_SAFE_INTEGER, deadline, signal) as Promise<never>;
  return Promise.race([shared, gaveUp]);
}
