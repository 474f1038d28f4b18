/**
 * Reads one topic partition for one group: follows the log from the group's cursor, hands events on, keys in parallel
 * and each key in order, and stores the cursor as it moves. Bounded: when too much is outstanding it stops reading,
 * and the lag shows. Runs at the writer of the state partition in which the cursor row lies, so that there is one
 * reader by default, the row is local, and a take-over needs no agreement of its own.
 * What it cannot decode it never skips: it stops there, says so loudly, and looks again now and then.
 * When readers keep dying without progress, an event may be killing its process: the next one goes one event at a time
 * and stores which one before it tries, so that such an event is given up like any other that fails.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Gauge } from '../core/meter.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Entry, Log } from '../log/engine.ts';
import { Cursor, type CursorRow } from './cursor.ts';
import { bodyOf, decodeEvent, type StoredEvent } from './event.ts';

/** Why a reader does not go on: retention dropped events that it had not read, or the next one cannot be read. */
export type StoppedBy = 'dropped' | 'unreadable' | null;

/** Identity of a delivery within its group: which replay, and where in the topic partition. */
export interface EventPlace {
  readonly generation: number;
  readonly position: number;
  /** 1, or more when processes ended while they tried this event. */
  readonly attempt: number;
}

export interface ReaderOptions {
  readonly topicLog: string;
  /** `service.subscription`; events redriven for another are skipped. */
  readonly group: string;
  readonly from: 'earliest' | 'latest';
  readonly log: Log;
  /** Delivers until the event is done or dead; returns early only when a signal aborts (`cancel`: drop what runs), then with false. */
  readonly deliver: (event: StoredEvent, at: EventPlace, signal: AbortSignal, cancel: AbortSignal) => Promise<boolean>;
  /** Stores `first` unless there is a row already; answers what is stored then. */
  readonly openCursor: (first: () => Promise<CursorRow>) => Promise<CursorRow>;
  readonly saveCursor: (row: CursorRow) => Promise<void>;
  readonly lag: Gauge;
  /** 1 while an entry that cannot be decoded holds this reader up. */
  readonly stopped: Gauge;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Events taken and not yet passed by the cursor. */
export const outstandingMax = 1024;
/** How often a moved cursor is stored; what it has not stored may be delivered again after a crash, and is recognised. */
const saveIntervalMs = 1000;
/** Unclean ends without progress after which a reader becomes careful: restarts of a deployment stay below it. */
const startsMax = 3;
/** The next entry is damaged, of a newer format, or gone. Between two looks at it someone may have repaired the log. */
const unreadable: ReadonlySet<string> = new Set(['CORRUPT', 'LOG_LOST', 'NOT_FOUND']);
const unreadablePauseMs = 30_000;

export class Reader {
  readonly #options: ReaderOptions;
  /** Take nothing more on. */
  readonly #stop = new AbortController();
  /** Drop what runs. */
  readonly #cancel = new AbortController();
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #running: Promise<void>;
  #room: (() => void) | undefined;
  #failures = 0;
  #cursor: Cursor | undefined;
  #stopped: StoppedBy = null;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** How far it has come: undefined until it has begun. */
  get progress(): { readonly position: number; readonly taken: number; readonly stopped: StoppedBy } | undefined {
    const { position, lastTaken: taken } = this.#cursor ?? {};
    return position === undefined ? undefined : { position, taken: taken!, stopped: this.#stopped };
  }

  /** Takes nothing more on, waits up to `graceMs` for what is being handled, stores the cursor. */
  async close(graceMs = 1000): Promise<void> {
    const { clock } = this.#options;
    const over = Promise.withResolvers<void>();
    this.#stop.abort();
    this.#room?.();
    const cancel = clock.after(graceMs, () => this.#cancel.abort());
    const leave = clock.after(2 * graceMs, over.resolve);
    await Promise.race([this.#running, over.promise]);
    cancel.cancel();
    leave.cancel();
  }

  async #run(): Promise<void> {
    const { clock, random, logger, topicLog, group, lag, stopped } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pauseMs = 50;
      try {
        await this.#read(signal);
      } catch (cause) {
        if (signal.aborted) break;
        const { code, message } = TandemError.from(cause);
        if (unreadable.has(code)) pauseMs = unreadablePauseMs;
        else {
          logger.warn('reading a topic failed; trying again', { topicLog, group, code, message });
          pauseMs += backoffMs(random, this.#failures++, 100, 5000);
        }
      }
      await sleep(clock, pauseMs, signal);
    }
    lag.set(0);
    stopped.set(0);
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { log, topicLog, clock } = this.#options;
    const row = await this.#options.openCursor(() => this.#firstRow());
    const cursor = new Cursor(row);
    this.#cursor = cursor;
    const progress = new Progress(this.#options, cursor, row);
    if (progress.careful) {
      const deadline = clock.monotonic() + limits.engineTimeoutMs;
      progress.carefulUntil = Math.min(row.position + outstandingMax, await log.barrier(topicLog, { deadline }));
    }
    try {
      await progress.begin();
      for await (const entries of log.follow(topicLog, cursor.position + 1, signal)) {
        progress.seen(entries.at(-1)!.position);
        for (const entry of entries) {
          await this.#take(entry, cursor, progress, signal);
          while (cursor.outstanding >= outstandingMax && !signal.aborted) await this.#untilRoom();
          if (signal.aborted) return;
        }
        this.#failures = 0;
        this.#options.stopped.set(0);
        this.#stopped = null;
      }
    } catch (cause) {
      // told here, since what was taken before may take long to end
      const { code, message } = TandemError.from(cause);
      if (!signal.aborted && unreadable.has(code)) {
        const { logger, group, stopped } = this.#options;
        stopped.set(1);
        this.#stopped = code === 'NOT_FOUND' ? 'dropped' : 'unreadable';
        const record = { topicLog, group, after: cursor.lastTaken, code, message };
        logger.error(
          code === 'NOT_FOUND'
            ? `a subscription is stopped: events that it has not read were dropped by the topic's retention; to go on with what is kept: tandem topic replay ${group} --from earliest`
            : 'a subscription is stopped: the next event cannot be read, and none is skipped',
          record,
        );
      }
      throw cause;
    } finally {
      await Promise.allSettled(this.#lanes.values());
      await progress.end();
    }
  }

  async #firstRow(): Promise<CursorRow> {
    const { from, log, topicLog, clock } = this.#options;
    const deadline = clock.monotonic() + limits.engineTimeoutMs;
    const position = from === 'latest' ? await log.barrier(topicLog, { deadline }) : await this.#earliest(deadline);
    return { position, generation: 1, sources: {} };
  }

  /** Before the first event that is kept. */
  async #earliest(deadline: number): Promise<number> {
    const { log, topicLog } = this.#options;
    try {
      return (await log.info(topicLog, { deadline })).first - 1;
    } catch (cause) {
      if (TandemError.from(cause).code === 'NOT_FOUND') return 0;
      throw cause;
    }
  }

  /** @throws CORRUPT when the entry cannot be decoded; nothing of it is taken then. */
  async #take(entry: Entry, cursor: Cursor, progress: Progress, signal: AbortSignal): Promise<void> {
    const { position } = entry;
    // What a barrier that appends leaves in the log.
    if (entry.body.length === 0) return cursor.pass(position);
    const event = decodeEvent(entry.body);
    // A large one is read where it is handled; one that cannot be read there is given up.
    if (!event.large) bodyOf(event);
    const done = cursor.take(position, event);
    if (!done) return;
    if (event.only !== undefined && event.only !== this.#options.group) return done();
    const at = { generation: cursor.generation, position, attempt: 1 };
    if (position > progress.carefulUntil) return this.#enqueue(event, at, done, signal);
    const attempt = await progress.trying(position);
    this.#enqueue(event, { ...at, attempt }, done, signal);
    await Promise.allSettled(this.#lanes.values());
  }

  #enqueue(event: StoredEvent, at: EventPlace, done: () => void, signal: AbortSignal): void {
    const { logger, topicLog } = this.#options;
    const before = this.#lanes.get(event.key);
    const work = async (): Promise<void> => {
      await before;
      try {
        if (!signal.aborted && (await this.#options.deliver(event, at, signal, this.#cancel.signal))) done();
      } catch (cause) {
        // stays open: the cursor cannot pass it, so the lag shows it and the next reader meets it again
        const { message } = TandemError.from(cause);
        logger.error('delivering an event failed unexpectedly', { topicLog, position: at.position, message });
      }
      if (this.#lanes.get(event.key) === lane) this.#lanes.delete(event.key);
      this.#room?.();
    };
    const lane = work();
    this.#lanes.set(event.key, lane);
  }

  #untilRoom(): Promise<void> {
    return new Promise(resolve => {
      this.#room = () => {
        this.#room = undefined;
        resolve();
      };
    });
  }
}

/** Stores how far one run of a reader has come: whenever it has moved, and a last time at its end. */
class Progress {
  /** Up to here one event at a time; 0 for a reader without suspicion. */
  carefulUntil = 0;
  readonly #options: ReaderOptions;
  readonly #cursor: Cursor;
  readonly #ended = new AbortController();
  #saved: number;
  #tail: number;
  #starts: number;
  #trying: CursorRow['trying'];
  #saving: Promise<void> = Promise.resolve();

  constructor(options: ReaderOptions, cursor: Cursor, row: CursorRow) {
    this.#options = options;
    this.#cursor = cursor;
    this.#saved = row.position;
    this.#tail = row.position;
    this.#starts = (row.starts ?? 0) + 1;
    this.#trying = row.trying;
  }

  get careful(): boolean {
    return this.#starts > startsMax;
  }

  /** Counts this start durably, then stores progress until `end`. */
  async begin(): Promise<void> {
    await this.#options.saveCursor(this.#row());
    this.#saving = this.#loop();
  }

  seen(position: number): void {
    this.#tail = Math.max(this.#tail, position);
    this.#options.lag.set(this.#tail - this.#cursor.position);
  }

  /** Stores that this event is tried now; answers which try it is. */
  async trying(position: number): Promise<number> {
    const attempt = this.#trying?.position === position ? this.#trying.attempt + 1 : 1;
    this.#trying = { position, attempt };
    await this.#options.saveCursor(this.#row());
    return attempt;
  }

  /** A clean end is no sign of anything: it takes back what `begin` and `trying` noted. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#saving;
    this.#starts = 0;
    this.#trying = undefined;
    await this.#save();
  }

  #row(): CursorRow {
    const row = this.#cursor.row();
    if (row.position > this.#saved && row.position >= this.carefulUntil) this.#starts = 0;
    if (this.#trying && row.position >= this.#trying.position) this.#trying = undefined;
    return {
      ...row,
      ...(this.#starts > 0 ? { starts: this.#starts } : {}),
      ...(this.#trying ? { trying: this.#trying } : {}),
    };
  }

  async #save(): Promise<void> {
    const row = this.#row();
    try {
      await this.#options.saveCursor(row);
      this.#saved = row.position;
    } catch (cause) {
      const { message } = TandemError.from(cause);
      this.#options.logger.debug('the cursor was not stored; it will be, later', { message });
    }
  }

  async #loop(): Promise<void> {
    const { clock, lag, log, topicLog } = this.#options;
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await sleep(clock, saveIntervalMs, signal);
      if (signal.aborted) return;
      if (this.#cursor.position > this.#saved) await this.#save();
      if (this.#cursor.outstanding >= outstandingMax) {
        // reading stands still, so what comes behind is counted by asking
        const deadline = clock.monotonic() + limits.engineTimeoutMs;
        await log.info(topicLog, { deadline }).then(
          info => this.seen(info.tail),
          () => {},
        );
      }
      lag.set(this.#tail - this.#cursor.position);
    }
  }
}
