/**
 * What every process says about itself, every `limits.beatIntervalMs`, on bus subject `beat.<process id>`. Sent by a worker thread that reads the
 * main loop's own tick from shared memory, so that a busy loop is not taken for death and a stuck one not for life.
 */
import type { PartitionMap } from '../partitioning/partition-map.ts';

export type Role = 'instance' | 'gateway' | 'engine' | 'monitor' | 'supervisor' | 'naming';

export interface PartitionBeat {
  readonly partition: number;
  /** Caught up with the log, so it may serve and write. */
  readonly ready: boolean;
  /** The epoch in which this process is the writer; 0 when it is not. */
  readonly epoch: number;
  readonly position: number;
}

export interface Load {
  /** Calls being handled now. */
  readonly inflight: number;
  /** Share of one core, 0..1 and above with threads. */
  readonly cpu: number;
  readonly memoryBytes: number;
  /** 99th percentile of event-loop delay in ms over the last beats. */
  readonly loopDelayMs: number;
}

export interface Beat {
  /** Unique per process life, such as `inventory-3-9k2f0c`; a restarted process has a new one. */
  readonly id: string;
  readonly role: Role;
  /** The service, for instances. */
  readonly service: string | undefined;
  readonly node: string;
  readonly zone: string;
  /** Share of the work that it should get, as against the others of its service; usually 1. */
  readonly weight: number;
  readonly pid: number;
  /** Where its link listens: `tcp://127.0.0.1:4711`. */
  readonly address: string;
  /** Where others than Tandem's processes reach it, the usual one first: `http://10.0.0.11:3000`. DNS gives them out. */
  readonly doors?: readonly string[] | undefined;
  readonly startedAt: number;
  readonly sequence: number;
  /** Wall clock of the sender (ms), to find clocks that are off. */
  readonly sentAt: number;
  /** Takes new calls: started, resources open, not draining. */
  readonly ready: boolean;
  readonly draining: boolean;
  /** Ms since the main loop last ticked; large means stuck. */
  readonly mainLoopSilentMs: number;
  readonly load: Load;
  /** Names the descriptor (contract, keyspace, subscriptions) that `$describe` at `address` answers with. */
  readonly descriptorHash: string;
  readonly partitions: readonly PartitionBeat[];
  /** The partition map of its service as it knows it; undefined without data, or before it was read. */
  readonly map?: PartitionMap | undefined;
  /** Highest log entry format that it can read (data core, rule 25): 1 is an entry, 3 the reference to a large one, 4 a seal. */
  readonly entryFormat: number;
}

/** What this code reads, and its beats say. */
export const entryFormatRead = 4;

/** Verdicts of failure detection. Only `dead` fails over; `stuck` is restarted; `slow` is weighed down; `suspect` is watched. */
export type Verdict = 'alive' | 'slow' | 'suspect' | 'stuck' | 'dead';

/** One process as the observer sees it now. */
export interface Member {
  readonly beat: Beat;
  readonly verdict: Verdict;
  /** Since when it has this verdict (observer's monotonic ms). */
  readonly since: number;
  /** How far its wall clock is ahead of the observer's (ms), less the beat's way here. */
  readonly clockAheadMs: number;
}
