/** Who else holds a partition, as heartbeats tell. */
import { entryFormatRead, type Member, type PartitionBeat } from '../failure-detection/beat.ts';
import type { Registry } from '../naming/registry.ts';
import { ranking } from '../partitioning/placement.ts';
import { isReadyReplica } from './succession.ts';

export class Holders {
  readonly #registry: Registry;
  readonly #service: string;
  readonly #self: string;

  constructor(registry: Registry, service: string, self: string) {
    this.#registry = registry;
    this.#service = service;
    this.#self = self;
  }

  /** What the other living members say of a partition. */
  lines(partition: number): PartitionBeat[] {
    const lines: PartitionBeat[] = [];
    for (const { beat, verdict } of this.#registry.instances(this.#service)) {
      if (beat.id === this.#self || verdict === 'dead') continue;
      const line = beat.partitions.find(candidate => candidate.partition === partition);
      if (line) lines.push(line);
    }
    return lines;
  }

  /** Members other than this one with a ready replica, by rank. */
  ready(partition: number): Member[] {
    const ready = this.#registry
      .instances(this.#service)
      .filter(member => member.beat.id !== this.#self && isReadyReplica(member, partition));
    const ranked = ranking(
      this.#service,
      partition,
      ready.map(member => member.beat.id),
    );
    return ranked.map(id => ready.find(member => member.beat.id === id)!);
  }

  /** Rule 25: what is written is what all that may have to apply it read. */
  formatRead(): number {
    const others = this.#registry.instances(this.#service).filter(({ beat }) => beat.id !== this.#self);
    return others.reduce((least, { beat }) => Math.min(least, beat.entryFormat), entryFormatRead);
  }
}

export function epochOf(member: Member, partition: number): number {
  return member.beat.partitions.find(line => line.partition === partition)?.epoch ?? 0;
}
