/**
 * How far a group has come in one topic partition. Taken events finish out of order; the cursor moves only past those
 * before which all are done. It is a resume point: what lies between it and the newest done event may come again after
 * a crash, and is then recognised by its delivery id.
 */
import type { StoredEvent } from './event.ts';

export interface CursorRow {
  /** All entries up to here are done. */
  readonly position: number;
  /** Counts replays, so that a replayed event is a new delivery. */
  readonly generation: number;
  /** The last number taken of each source up to `position`. */
  readonly sources: Readonly<Record<string, number>>;
  /** What is done beyond it: a reader that follows one that ended in order handles none of it again. */
  readonly done?: readonly number[];
  /** State partitions that may keep delivery ids of events up to `position`: a floor must still reach them. */
  readonly touched?: readonly number[];
  /** Generations before a replay, whose ids are to be forgotten before the first event of this one. */
  readonly retired?: readonly number[];
  /** Readers that began here and ended uncleanly before the cursor moved: the sign of an event that kills its process. */
  readonly starts?: number;
  /** The event that a careful reader (one at a time, after such a sign) is handling, and which try it is. */
  readonly trying?: { readonly position: number; readonly attempt: number };
}

/** Whether `row` may replace `stored`: a reader that is late must not turn the cursor back. */
export function mayReplace(row: CursorRow, stored: CursorRow | undefined): boolean {
  if (!stored || row.generation !== stored.generation) return !stored || row.generation > stored.generation;
  return row.position >= stored.position;
}

/** Sources that a row remembers; the least recently seen go first. A source resends at once or never, so old ones are safe to forget. */
const sourcesMax = 1024;

interface Taken {
  readonly position: number;
  /** Empty for what a barrier left: nobody's. */
  readonly source: string;
  readonly number: number;
  done: boolean;
}

export class Cursor {
  readonly generation: number;
  #position: number;
  /** Of the row that it began with. */
  readonly #done: Set<number>;
  readonly #sources: Map<string, number>;
  /** Newest number taken of each source, beyond the cursor. */
  readonly #taken = new Map<string, number>();
  readonly #open: Taken[] = [];

  constructor(row: CursorRow) {
    this.#position = row.position;
    this.generation = row.generation;
    this.#done = new Set(row.done);
    this.#sources = new Map(Object.entries(row.sources));
  }

  get position(): number {
    return this.#position;
  }

  /** Position of the newest entry taken. */
  get lastTaken(): number {
    return this.#open.at(-1)?.position ?? this.#position;
  }

  /** Entries taken and not yet passed by the cursor. */
  get outstanding(): number {
    return this.#open.length;
  }

  /** Takes the entry at `position`. Returns what marks it done, or undefined when it repeats one taken before. */
  take(position: number, event: StoredEvent): (() => void) | undefined {
    const last = this.#taken.get(event.source) ?? this.#sources.get(event.source) ?? -1;
    const repeated = this.#done.delete(position) || event.number <= last;
    const taken: Taken = { position, source: event.source, number: Math.max(event.number, last), done: repeated };
    this.#taken.set(event.source, taken.number);
    this.#open.push(taken);
    if (repeated) this.#advance();
    return repeated
      ? undefined
      : () => {
          taken.done = true;
          this.#advance();
        };
  }

  /** Passes over an entry that is no event. */
  pass(position: number): void {
    this.#open.push({ position, source: '', number: 0, done: true });
    this.#advance();
  }

  row(): CursorRow {
    const done = [...this.#open.filter(taken => taken.done).map(taken => taken.position), ...this.#done];
    const row = { position: this.#position, generation: this.generation, sources: Object.fromEntries(this.#sources) };
    return done.length > 0 ? { ...row, done } : row;
  }

  #advance(): void {
    let passed = 0;
    for (const taken of this.#open) {
      if (!taken.done) break;
      this.#position = taken.position;
      passed++;
      if (taken.source === '') continue;
      this.#sources.delete(taken.source);
      this.#sources.set(taken.source, taken.number);
      if (this.#taken.get(taken.source) === taken.number) this.#taken.delete(taken.source);
    }
    this.#open.splice(0, passed);
    for (const source of this.#sources.keys()) {
      if (this.#sources.size <= sourcesMax) break;
      this.#sources.delete(source);
    }
  }
}
