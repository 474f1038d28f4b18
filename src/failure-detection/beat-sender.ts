/**
 * Sending heartbeats, two ways with one shape: from a worker thread of its own (`startBeats`: every real process), or
 * from the main loop (`startBeatsInLoop`: one-process development and the simulator).
 */
import type { Clock } from '../core/clock.ts';
import type { PartitionMap } from '../partitioning/partition-map.ts';
import type { Beat, PartitionBeat } from './beat.ts';

/** Fixed for the life of the process. */
export type BeatIdentity = Pick<
  Beat,
  'id' | 'role' | 'service' | 'node' | 'zone' | 'weight' | 'pid' | 'address' | 'descriptorHash'
> & {
  /** Highest log entry format that it can read. Default: `entryFormatRead`. */
  readonly entryFormat?: number;
};

/** What changes; asked on the main loop, several times per interval, so it must be cheap. */
export interface BeatReading {
  readonly ready: boolean;
  readonly draining: boolean;
  readonly inflight: number;
  readonly partitions: readonly PartitionBeat[];
  readonly map?: PartitionMap | undefined;
  readonly doors?: readonly string[] | undefined;
}

export interface BeatOptions {
  readonly identity: BeatIdentity;
  readonly read: () => BeatReading;
  readonly clock: Clock;
}

export interface BeatSender {
  /** Something changed that others wait for (ready, draining, a new writer): beats now, not at the next interval. */
  changed(): void;
  /** Says farewell, so that nobody has to wait for silence, and stops. */
  close(): Promise<void>;
}
