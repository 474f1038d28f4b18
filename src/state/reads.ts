/**
 * The three levels of reading one partition held here (design 5; data core, rules 9, 12): each is a wait, and then the same
 * local read. A wait that fails is an error, unless the method asked for `degrade: 'eventual'`.
 */
import type { Session } from '../calling/session.ts';
import type { Consistency } from '../contract/method.ts';
import { TandemError } from '../core/errors.ts';
import { formerLabels, readAncestor } from '../replication/incarnation.ts';
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
  if (position === 0 || replica.head.renewals) checkPast(partition, session);
  if (position > 0) return untilSeen(partition, position, deadline, signal);
  // What a full session forgot may have been this log.
  if (session.overflowed) return untilStrong(partition, deadline, signal);
}

/** @throws LOG_LOST when the session saw what is neither in this log nor in those that it goes on from. */
function checkPast({ label, replica }: Partition, session: Session): void {
  const { log, head } = replica;
  const past = [[label, Number.POSITIVE_INFINITY] as const, ...formerLabels(log, head)];
  for (const ancestor of head.ancestors ?? []) past.push(readAncestor(ancestor));
  const folders = new Set(past.map(([own]) => own.slice(0, own.indexOf('#') + 1)));
  for (const seen of session.logs()) {
    if (!folders.has(seen.slice(0, seen.indexOf('#') + 1))) continue;
    const goneFrom = past.find(([own]) => own === seen)?.[1] ?? 0;
    if (session.position(seen) < goneFrom) continue;
    throw new TandemError(
      'LOG_LOST',
      `this session saw ${seen} up to ${session.position(seen)}, which is gone: the log is now ${label}, as after a restore. Begin a new session, and find out what was lost`,
      { details: { session: 'over' } },
    );
  }
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
