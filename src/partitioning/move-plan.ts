/** What a change of members moves: which partitions each member must take on and which it may give up. Pure. */
import { placement } from './placement.ts';

export interface Move {
  readonly partition: number;
  readonly member: string;
  readonly kind: 'take' | 'give';
}

export function movePlan(
  service: string,
  partitions: number,
  replicas: number,
  before: readonly string[],
  after: readonly string[],
): Move[] {
  const moves: Move[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const had = placement(service, partition, before, replicas);
    const has = placement(service, partition, after, replicas);
    for (const member of has) if (!had.includes(member)) moves.push({ partition, member, kind: 'take' });
    for (const member of had) if (!has.includes(member)) moves.push({ partition, member, kind: 'give' });
  }
  return moves;
}
