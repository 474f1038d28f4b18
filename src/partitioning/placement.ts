/**
 * Who keeps which partition: rendezvous hashing (Thaler, Ravishankar 1998). Every instance scores every partition, the
 * best `replicas` keep it, the first is preferred as writer. All compute the same from the same members, with no
 * coordinator, and a member that joins or leaves moves only the partitions that it wins or held.
 */
import { hashText } from './hash.ts';

/**
 * The stable part of an instance id: `inventory-3` of `inventory-3-9k2f0c`. Placement goes by it, so that a restarted
 * instance gets the partitions back whose data it still has on its disk.
 */
export function slotOf(memberId: string): string {
  const dash = memberId.lastIndexOf('-');
  return dash > 0 ? memberId.slice(0, dash) : memberId;
}

/** Members in order of rank for a partition; the first `replicas` of them keep it. */
export function placement(
  service: string,
  partition: number,
  memberIds: readonly string[],
  replicas: number,
): string[] {
  return ranking(service, partition, memberIds).slice(0, replicas);
}

export function ranking(service: string, partition: number, memberIds: readonly string[]): string[] {
  return memberIds
    .map(id => ({ id, score: hashText(`${service}/${partition}/${slotOf(id)}`, 0x7a6e) }))
    .sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1))
    .map(ranked => ranked.id);
}
