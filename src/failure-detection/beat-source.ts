/** What the main loop tells its heartbeat about itself; the rest of a beat is measured by the sender. */
import type { Beat, PartitionBeat } from './beat.ts';

/** Fixed for the life of the process. */
export type BeatIdentity = Pick<
  Beat,
  'id' | 'role' | 'service' | 'node' | 'zone' | 'pid' | 'startedAt' | 'entryFormat'
>;

/** What changes. `status` is asked on the main loop, once per interval. */
export interface BeatStatus {
  readonly address: string;
  readonly ready: boolean;
  readonly draining: boolean;
  readonly inflight: number;
  readonly descriptorHash: string;
  readonly partitions: readonly PartitionBeat[];
}

export interface Beats {
  /** Sends the status now, because it changed in a way that others wait for (ready, draining, a new writer). */
  refresh(): void;
  /** Says farewell, so that nobody has to wait for silence, and stops. */
  close(): Promise<void>;
}
