/** What a keyspace keeps to where its options say nothing else. */
import { limits } from '../core/limits.ts';
import type { StateSettings } from './keyspace.ts';

export const stateDefaults: StateSettings = {
  snapshotEntries: 10_000,
  transactionsQueuedMax: limits.transactionsQueuedMax,
  rerunsMax: 64,
  requestIdWindowMs: limits.requestIdWindowMs,
  placementGraceMs: limits.placementGraceMs,
  resignGraceMs: 2000,
  unheardGraceMs: limits.beatIntervalMs * 4,
  engineTimeoutMs: limits.engineTimeoutMs,
  tickMs: 100,
};
