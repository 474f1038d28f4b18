/**
 * Schedules in the due list (data core, rule 19): the next due time of each lies in one partition, and when the partition's
 * clock has passed it, one transaction of the writer's emits the event and puts the following time in its place. So each due
 * time is in the log once, whoever writes the partition by then, and none is lost while nobody does.
 */
import { type Cron, parseCron } from '../core/cron.ts';
import { pack, unpack } from '../replication/codec.ts';
import { type Due, fallsDue, fallsDueNoMore } from './due.ts';
import type { RawTx } from './overlay.ts';

/** A schedule as the code of this instance says it. */
export interface ScheduleDefinition {
  readonly name: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly missed: 'once' | 'each';
  /** The key of its events; its partition is where the schedule lies. */
  readonly key: string;
  /** The topic of its events. */
  readonly topic: { readonly name: string; readonly partitions: number };
}

/** What is known of a schedule, by name; its due time also lies in the due list, unless it sleeps. */
interface Row {
  readonly cron: string;
  readonly timeZone: string;
  readonly dueAt: number;
  /** It fell due at a writer whose code does not know it, as in a roll: it waits for one that does. */
  readonly asleep: boolean;
}

const table = '$schedule';
const kind = 'schedule';
/** With `missed: 'each'`: events of one transaction; the rest follows in the next. */
const atOnceMax = 100;
/** Due times counted as missed; a schedule of each minute reaches this after a week. */
const missedMax = 10_000;

export class Schedules {
  readonly #known = new Map<string, { readonly definition: ScheduleDefinition; readonly cron: Cron }>();

  constructor(definitions: readonly ScheduleDefinition[]) {
    for (const definition of definitions)
      this.#known.set(rowName(definition), { definition, cron: parseCron(definition.cron, definition.timeZone) });
  }

  get size(): number {
    return this.#known.size;
  }

  /** What a new writer does first: begins those that are new or were changed, and wakes those that sleep. */
  arm(tx: RawTx): void {
    for (const { definition, cron } of this.#known.values()) {
      const { timeZone } = definition;
      const name = rowName(definition);
      const stored = rowOf(tx, name);
      const same = stored?.cron === definition.cron && stored.timeZone === timeZone;
      if (stored && same && !stored.asleep) continue;
      // A time that has passed and did not run yet is still owed, also by a schedule that was changed meanwhile.
      const dueAt = stored && (same || stored.dueAt <= tx.now) ? stored.dueAt : cron.next(tx.now);
      if (stored) fallsDueNoMore(tx.rows, stored.dueAt, kind, name);
      put(tx, name, { cron: definition.cron, timeZone, dueAt, asleep: false });
    }
  }

  readonly fallsDue: Due = (tx, name) => {
    const stored = rowOf(tx, name);
    if (!stored) return;
    const known = this.#known.get(name);
    if (!known) {
      tx.rows.set(table, name, encode({ ...stored, asleep: true }));
      return;
    }
    const { definition, cron } = known;
    const { key, topic } = definition;
    let { dueAt } = stored;
    let next = cron.next(dueAt);
    const emit = (missed: number): void => {
      const body = pack({ key, dueAt, lateMs: tx.now - dueAt, missed });
      tx.emit({ topic: topic.name, partitions: topic.partitions, key, body, traceparent: undefined });
    };
    if (definition.missed === 'each') {
      emit(0);
      for (let count = 1; next <= tx.now && count < atOnceMax; count++) {
        dueAt = next;
        next = cron.next(dueAt);
        emit(0);
      }
    } else {
      let missed = 0;
      for (; next <= tx.now && missed < missedMax; missed++) {
        dueAt = next;
        next = cron.next(dueAt);
      }
      emit(missed);
      if (next <= tx.now) next = cron.next(tx.now);
    }
    put(tx, name, { cron: definition.cron, timeZone: definition.timeZone, dueAt: next, asleep: false });
  };
}

/** Key first: it says where the row goes when the partition is divided. */
function rowName({ key, name }: ScheduleDefinition): string {
  return `${key}\n${name}`;
}

function put(tx: RawTx, name: string, row: Row): void {
  tx.rows.set(table, name, encode(row));
  fallsDue(tx.rows, row.dueAt, kind, name);
}

function encode({ cron, timeZone, dueAt, asleep }: Row): Uint8Array {
  return pack([cron, timeZone, dueAt, asleep]);
}

function rowOf(tx: RawTx, name: string): Row | undefined {
  const bytes = tx.rows.get(table, name);
  if (!bytes) return undefined;
  const [cron, timeZone, dueAt, asleep] = unpack(bytes) as [string, string, number, boolean];
  return { cron, timeZone, dueAt, asleep };
}
