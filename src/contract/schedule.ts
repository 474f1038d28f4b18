/**
 * What a service does at certain times. Each time that falls due becomes an event of a topic of the schedule's own, and the
 * service subscribes to it: so a run has everything that the handling of an event has, from once-in-effect to dead letters.
 */
import type { Duration } from '../core/duration.ts';
import { limits } from '../core/limits.ts';
import type { AnySchema } from '../core/schema.ts';
import type { BaseContext, Transacts } from './context.ts';
import type { Topic } from './topic.ts';

/** One time that fell due. */
export interface Fire {
  /** The time that the schedule named, ms since 1970. */
  readonly dueAt: number;
  /** How late it was when it was noticed: little, unless the app was down. */
  readonly lateMs: number;
  /** Due times before this one that passed while the app was down and that it stands for. 0 with `missed: 'each'`. */
  readonly missed: number;
}

export interface ScheduleSpec<T, R, F> {
  /** Five fields, minute to day of week: `'0 3 * * *'` is 03:00 each day. */
  readonly cron: string;
  /** Whose wall clock `cron` reads: `'Europe/Berlin'`. Default UTC, never the machine's own. */
  readonly timeZone?: string;
  /**
   * Due times that passed while nothing ran: `once` runs one time for all of them, as soon as the app is back; `each` one time
   * for each. Default once.
   */
  readonly missed?: 'once' | 'each';
  /** Places the run: it transacts in the partition of this key. Default: the schedule's name. */
  readonly key?: string;
  /** Tries before the run becomes a dead letter. Default 5. */
  readonly attempts?: number;
  /** Time of one try. Default 30s. */
  readonly timeout?: Duration;
  /** Runs of one schedule follow one another and never overlap. */
  readonly run: (fire: Fire, ctx: BaseContext<T, R, F> & Transacts<T>) => unknown;
}

/** The event of a due time, as the schedule's topic holds it. */
export interface FireEvent extends Fire {
  /** Orders the runs of a schedule and places them. */
  readonly key: string;
}

/** By hand, since no schema library is a part of Tandem. */
const fireSchema: AnySchema = {
  '~standard': {
    version: 1,
    vendor: 'tandem',
    validate: (value: unknown) => {
      const { key, dueAt, lateMs = 0, missed = 0 } = (value ?? {}) as Partial<FireEvent>;
      if (typeof key === 'string' && [dueAt, lateMs, missed].every(Number.isFinite))
        return { value: { key, dueAt, lateMs, missed } };
      return { issues: [{ message: 'a due time is { key, dueAt, lateMs, missed }, times in ms' }] };
    },
    jsonSchema: { input: () => fireJsonSchema, output: () => fireJsonSchema },
  } as AnySchema['~standard'],
};
const fireJsonSchema = {
  type: 'object',
  properties: {
    key: { type: 'string' },
    dueAt: { type: 'number' },
    lateMs: { type: 'number' },
    missed: { type: 'number' },
  },
  required: ['key', 'dueAt'],
};

export function scheduleTopic(service: string, schedule: string): Topic<FireEvent> {
  return {
    kind: 'topic',
    name: `schedule.${service}.${schedule}`,
    schema: fireSchema,
    key: 'key',
    partitions: 1,
    retention: { ageMs: limits.topicRetentionMs, bytes: Number.POSITIVE_INFINITY },
  };
}
