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
  /** What this partition is being divided into. */
  successors?: readonly number[],
): Promise<void> | undefined {
  const { replica } = partition;
  if (level === 'eventual') return replica.head.position > 0 ? undefined : replica.untilReady(deadline, signal);
  if (level === 'strong') return untilStrong(partition, deadline, signal);
  if (session.size === 0 && !session.overflowed) return replica.until(0, deadline, signal);
  return untilSession(partition, session, deadline, signal, successors);
}

async function untilStrong(partition: Partition, deadline: number, signal: AbortSignal | undefined): Promise<void> {
  const { replica, pipeline, barrier } = partition;
  await replica.untilReady(deadline, signal);
  // While a slot is undecided nobody can say what a strong read must see (rule 6).
  if (pipeline.recovering) await partition.withDeadline(pipeline.recovering, deadline, signal);
  const position = await partition.withDeadline(barrier.position(), deadline, signal);
  await replica.until(position, deadline, signal);
}

/** A position that takes longer than this to come is looked for at the engine: a token may be ahead of a log that lost entries. */
const doubtMs = 250;

async function untilSession(
  partition: Partition,
  session: Session,
  deadline: number,
  signal: AbortSignal | undefined,
  successors: readonly number[] | undefined,
): Promise<void> {
  const { replica } = partition;
  await replica.untilReady(deadline, signal);
  // It saw what came after the seal, which is not known here yet: then this copy ends, and the read goes on elsewhere.
  if (successors && sawAny(session, replica.log, successors)) await replica.until(Infinity, deadline, signal);
  const label = partition.label;
  const position = session.position(label);
  if (position > 0) return untilSeen(partition, position, deadline, signal);
  for (const own of [label, ...(replica.head.ancestors ?? [])]) {
    const prefix = own.slice(0, own.indexOf('#') + 1);
    for (const log of session.logs()) {
      // What it saw of a log that this one goes on from is all here.
      if (!log.startsWith(prefix) || log === own) continue;
      throw new TandemError(
        'LOG_LOST',
        `this session saw ${log}, but the log is now ${own}: begin a new session, and find out what was lost`,
      );
    }
  }
  // What a full session forgot may have been this log.
  if (session.overflowed) return untilStrong(partition, deadline, signal);
}

function sawAny(session: Session, log: string, numbers: readonly number[]): boolean {
  const folder = log.slice(0, log.lastIndexOf('/') + 1);
  const prefixes = numbers.map(number => `${folder}${number}#`);
  for (const seen of session.logs()) if (prefixes.some(prefix => seen.startsWith(prefix))) return true;
  return false;
}

/** Rule 12: a token ahead of a fresh barrier of the same log is an alarm, not a wait. */
async function untilSeen(
  partition: Partition,
  position: number,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { replica, barrier } = partition;
  if (replica.ready && replica.head.position >= position) return;
  const doubtAt = partition.monotonic() + doubtMs;
  if (doubtAt < deadline) {
    try {
      return await replica.until(position, doubtAt, signal);
    } catch (thrown) {
      if (TandemError.from(thrown).code !== 'DEADLINE_EXCEEDED') throw thrown;
    }
    const tail = await partition.withDeadline(barrier.position(), deadline, signal);
    if (tail < position) {
      throw new TandemError(
        'LOG_LOST',
        `this session saw ${partition.label} up to ${position}, but it ends at ${tail}: acknowledged writes may be lost`,
      );
    }
  }
  return replica.until(position, deadline, signal);
}
