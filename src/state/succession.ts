/**
 * Who should write a partition (data core, rule 7). Pure: looks at what the log and the heartbeats say and answers what to
 * do. It decides speed only; a wrong answer costs conflicts, never data.
 */
import type { Member } from '../failure-detection/beat.ts';
import { slotOf } from '../partitioning/placement.ts';
import type { Head } from '../replication/store.ts';

export interface SuccessionView {
  readonly self: string;
  readonly head: Pick<Head, 'writer' | 'heir'>;
  readonly partition: number;
  /** All candidates in order of rank, self included. */
  readonly ranked: readonly string[];
  readonly member: (id: string) => Member | undefined;
  /** Ms since this instance began to listen: before a while, a writer that was not heard yet is not taken for gone. */
  readonly listeningMs: number;
  readonly unheardGraceMs: number;
  /** Whether this instance's clock is off (`isClockOff`): then it may not begin to write, for its times would be the partition's (rule 19). */
  readonly clockOff: boolean;
  /** Whether the bus can be reached: who is cut off from it takes over only what the log hands to it. */
  readonly connected: boolean;
}
export type Step =
  | { readonly kind: 'stay' }
  | { readonly kind: 'claim' }
  | { readonly kind: 'better'; readonly member: string };

const stay: Step = { kind: 'stay' };

export function succession(view: SuccessionView): Step {
  const { self, head } = view;
  const best = view.ranked.find(id => id === self || mayWrite(view, view.member(id)));
  if (head.writer === self) return best === undefined || best === self ? stay : { kind: 'better', member: best };
  if (head.writer !== '' && isThere(view, head.writer)) return stay;
  if (view.clockOff) return stay;
  if (
    head.writer === '' &&
    head.heir !== '' &&
    head.heir !== self &&
    isReadyReplica(view.member(head.heir), view.partition)
  )
    return stay;
  if (head.heir === self && head.writer === '') return { kind: 'claim' };
  if (!view.connected) return stay;
  return best === self ? { kind: 'claim' } : stay;
}

/** Clocks that differ by more than this are not of one time (data core, rule 19). */
const clockOffMs = 1000;

/**
 * Whether most of the others disagree with this clock: `aheadMs` is how far each of them is ahead of it. Of two that
 * disagree neither can tell who is right, so both go on.
 */
export function isClockOff(aheadMs: readonly number[]): boolean {
  const against = aheadMs.filter(ms => Math.abs(ms) > clockOffMs).length;
  return against >= 2 && against * 2 > aheadMs.length;
}

/** Whether calls may be sent to it for this partition. */
export function isReadyReplica(member: Member | undefined, partition: number): boolean {
  if (!member || member.verdict === 'dead' || member.verdict === 'stuck' || member.beat.draining || !member.beat.ready)
    return false;
  return member.beat.partitions.some(line => line.partition === partition && line.ready);
}

/** Seen from here: with a clock that is off nobody else is judged. */
function mayWrite(view: SuccessionView, member: Member | undefined): boolean {
  if (!isReadyReplica(member, view.partition)) return false;
  return view.clockOff || Math.abs(member!.clockAheadMs) <= clockOffMs;
}

function isThere(view: SuccessionView, id: string): boolean {
  const member = view.member(id);
  // A former life of this very slot is gone.
  if (!member) return slotOf(id) !== slotOf(view.self) && view.listeningMs < view.unheardGraceMs;
  if (member.verdict === 'dead' || member.verdict === 'stuck' || member.beat.draining) return false;
  // One that lives but does not hold the partition (any more) writes nothing: without this nobody would ever take over.
  return !member.beat.ready || member.beat.partitions.some(line => line.partition === view.partition);
}
