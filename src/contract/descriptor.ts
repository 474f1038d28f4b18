/**
 * What an instance publishes about its service, as JSON: enough for a gateway, `gen`, `call`, `doctor` and the
 * dashboard to work without loading user code. Callers pick only instances whose descriptor has the method.
 */
import type { Priority } from '../core/channel.ts';
import type { JsonSchema } from '../core/schema.ts';
import type { BalanceForm } from './balance.ts';
import type { Consistency } from './method.ts';
import type { ProtoLock } from './proto-lock.ts';
import type { Compatibility } from './topic.ts';

export interface ShapeForm {
  readonly stream: boolean;
  readonly schema: JsonSchema;
}
export interface MethodForm {
  readonly name: string;
  readonly input?: ShapeForm;
  readonly output?: ShapeForm;
  readonly errors: { readonly [code: string]: { readonly status: number; readonly data?: JsonSchema } };
  readonly http?: string;
  readonly public: boolean;
  /** Field names; empty when the method is not keyed. */
  readonly key: readonly string[];
  readonly consistency?: Consistency;
  /** Only reads, so any ready replica may run it: it declares a consistency, or is an http GET. */
  readonly reads: boolean;
  readonly degrade?: 'eventual';
  readonly timeoutMs: number;
  readonly priority: Priority;
  readonly idempotent: boolean;
  readonly raw: boolean;
  /** Largest body, in bytes, where it is not the gateway's own limit. */
  readonly bodyBytesMax?: number;
  /** The definition has a fallback for it. */
  readonly fallback: boolean;
}
export interface TopicForm {
  readonly name: string;
  readonly key: string;
  readonly partitions: number;
  /** Of events as they are written. */
  readonly schema: JsonSchema;
  /** Of what is taken for an event, where that is more: fields with defaults may be absent. */
  readonly reads?: JsonSchema;
  /** The service says that it publishes to it. */
  readonly published?: true;
  /** Which changes it allows. Default full. */
  readonly compatibility?: Compatibility;
}

export interface Descriptor {
  readonly format: 1;
  readonly service: string;
  /** Of the whole descriptor; equal descriptors have equal hashes. */
  readonly hash: string;
  readonly methods: readonly MethodForm[];
  /** Undefined when the service keeps no data (no tables, no subscriptions). */
  readonly keyspace: { readonly partitions: number; readonly replicas: number } | undefined;
  /** How its instances are picked; absent where it says nothing. */
  readonly balance?: BalanceForm;
  /** What it subscribes to, and what it says that it publishes. */
  readonly topics: readonly TopicForm[];
  /** Those of its schedules among them: each is a topic and a subscription of its own. */
  readonly subscriptions: readonly { readonly name: string; readonly topic: string }[];
  /** Its numbers in protobuf, as `tandem.lock.json` beside the contract keeps them; absent where there is none. */
  readonly proto?: ProtoLock;
  readonly schedules?: readonly { readonly name: string; readonly cron: string; readonly timeZone: string }[];
}
