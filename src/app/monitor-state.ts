/**
 * The state of the whole system as the monitor shows it, at `/api/state` and to the dashboard. Plain JSON; figures are over the
 * last ten seconds unless their name says otherwise; `null` says "not known", which is never the same as zero.
 */
import type { Strategy } from '../contract/balance.ts';
import type { Verdict } from '../failure-detection/beat.ts';
import type { Alert } from '../monitoring/alerts.ts';
import type { AvailabilityReading } from '../monitoring/availability.ts';
import type { ErrorGroup } from '../monitoring/error-groups.ts';

export interface Figures {
  readonly requestsPerSecond: number;
  readonly errorsPerSecond: number;
  /** Failed calls of all calls, 0..1. */
  readonly errorShare: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}
/** One value per second, oldest first, null where the monitor did not look. */
export type Series = readonly (number | null)[];
export interface History {
  readonly requests: Series;
  readonly errors: Series;
  readonly p50: Series;
  readonly p99: Series;
}
export interface MethodState extends Figures {
  readonly name: string;
}
export interface BalanceState {
  /** In force, unless a rule of the service says otherwise just now. */
  readonly strategy: Strategy;
  /** What the service says of itself. */
  readonly own: Strategy;
  readonly switched: boolean;
  /** Rules may switch it. */
  readonly ruled: boolean;
  /** What each strategy is expected to take, in ms, as callers judge it on live picks; only those that were judged. */
  readonly expected: readonly { readonly strategy: Strategy; readonly ms: number }[];
  /** Calls that wait for an instance with room. */
  readonly waiting: number;
}
export interface ServiceState extends Figures {
  readonly name: string;
  readonly instances: number;
  readonly ready: number;
  readonly degradedPerSecond: number;
  readonly availability: AvailabilityReading;
  readonly methods: readonly MethodState[];
  readonly balance: BalanceState;
  readonly history: History;
}
export interface ProcessState {
  readonly id: string;
  /** The id without what makes it unique, such as `inventory-3`. */
  readonly name: string;
  readonly role: string;
  readonly service: string | null;
  readonly verdict: Verdict;
  /** How long it has had this verdict. */
  readonly verdictMs: number;
  readonly ready: boolean;
  readonly draining: boolean;
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly loopDelayMs: number;
  readonly inflight: number;
  readonly requestsPerSecond: number;
  /** Of its service's calls, 0..1. */
  readonly share: number;
  readonly partitionsWritten: number;
  readonly partitionsHeld: number;
  readonly pid: number;
  readonly node: string;
  readonly zone: string;
  readonly address: string;
  readonly startedAt: number;
  /** It answered the monitor's last question. */
  readonly answers: boolean;
}
export interface TrafficState extends Figures {
  readonly from: string;
  readonly to: string;
}
export interface ReplicaState {
  readonly process: string;
  readonly name: string;
  readonly role: 'writer' | 'ready' | 'behind' | 'lost';
  readonly position: number;
  /** Entries behind the furthest replica. */
  readonly lag: number;
}
export interface PartitionState {
  readonly partition: number;
  readonly position: number;
  readonly writer: string | null;
  readonly replicas: readonly ReplicaState[];
}
export interface KeyspaceState {
  readonly service: string;
  readonly replicasWanted: number;
  readonly withoutWriter: number;
  readonly partitions: readonly PartitionState[];
}
export interface TopicState {
  readonly topic: string;
  readonly subscription: string;
  readonly lag: number;
  readonly dead: number;
  /** Its partitions in which this subscription does not go on. */
  readonly stopped: number;
  readonly handledPerSecond: number;
}
export interface StoryEvent {
  /** Counts up; equal events have equal sequences. */
  readonly sequence: number;
  /** Wall time in ms. */
  readonly at: number;
  readonly tone: 'good' | 'bad' | 'neutral';
  readonly subject: string;
  readonly text: string;
}
export interface TraceState {
  readonly traceId: string;
  readonly name: string;
  readonly startedAt: number;
  readonly durationMs: number;
  readonly spans: number;
  readonly services: readonly string[];
  readonly error: string | null;
}
export interface MonitorState {
  readonly format: 1;
  /** Wall time in ms. */
  readonly at: number;
  readonly monitorStartedAt: number;
  readonly status: { readonly level: 'starting' | 'ok' | 'degraded' | 'down'; readonly text: string };
  readonly totals: Figures & { readonly availability: AvailabilityReading; readonly history: History };
  readonly services: readonly ServiceState[];
  readonly processes: readonly ProcessState[];
  readonly traffic: readonly TrafficState[];
  readonly keyspaces: readonly KeyspaceState[];
  readonly topics: readonly TopicState[];
  readonly alerts: readonly Alert[];
  readonly story: readonly StoryEvent[];
  readonly errors: readonly ErrorGroup[];
  readonly traces: readonly TraceState[];
}
