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
  const best = view.ranked.find(id => id === self || isReadyReplica(view.member(id), view.partition));
  if (head.writer === self) return best === undefined || best === self ? stay : { kind: 'better', member: best };
  if (head.writer !== '' && isThere(view, head.writer)) return stay;
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

/** Whether calls may be sent to it for this partition. */
export function isReadyReplica(member: Member | undefined, partition: number): boolean {
  if (!member || member.verdict === 'dead' || member.verdict === 'stuck' || member.beat.draining || !member.beat.ready)
    return false;
  return member.beat.partitions.some(line => line.partition === partition && line.ready);
}

function isThere(view: SuccessionView, id: string): boolean {
  const member = view.member(id);
  // A former life of this very slot is gone.
  if (!member) return slotOf(id) !== slotOf(view.self) && view.listeningMs < view.unheardGraceMs;
  if (member.verdict === 'dead' || member.verdict === 'stuck' || member.beat.draining) return false;
  // One that lives but does not hold the partition (any more) writes nothing: without this nobody would ever take over.
  return !member.beat.ready || member.beat.partitions.some(line => line.partition === view.partition);
}
