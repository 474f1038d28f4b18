/** What a replica needs, and what its log is called. */
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import type { LargeEntries } from './large-entries.ts';
import type { Origin } from './origin.ts';
import type { ReplicaStore } from './store.ts';

export function logName(service: string, partition: number): string {
  return `state/${service}/${partition}`;
}

export interface ReplicaOptions {
  readonly service: string;
  readonly partition: number;
  readonly partitions: number;
  readonly instance: string;
  readonly store: ReplicaStore;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly engineTimeoutMs: number;
  readonly large: LargeEntries;
  /** Whether some other member says that it has entries of this log; then an empty log is a lost one (rule 20). */
  readonly knownElsewhere: () => boolean;
  /** Asked when its log is not what it should be: one that was divided meanwhile was given up, not lost. */
  readonly isDivided?: (() => Promise<boolean>) | undefined;
  /** It was found to fit its log, and is about to be ready. */
  readonly onFit?: (() => void) | undefined;
  /** The partition that this one is divided from. */
  readonly origin?: Origin | undefined;
}
