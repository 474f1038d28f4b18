/**
 * Reads one topic partition for one group: follows the log from the group's cursor, hands events on, keys in parallel
 * and each key in order, and stores the cursor as it moves. Bounded: when too much is outstanding it stops reading,
 * and the lag shows. Runs at the writer of the state partition in which the cursor row lies, so that there is one
 * reader by default, the row is local, and a take-over needs no agreement of its own.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Gauge } from '../core/meter.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Log } from '../log/engine.ts';
import { Cursor, type CursorRow } from './cursor.ts';
import { decodeEvent, type StoredEvent } from './event.ts';

/** Identity of a delivery within its group: which replay, and where in the topic partition. */
export interface EventPlace {
  readonly generation: number;
  readonly position: number;
}

export interface ReaderOptions {
  readonly topicLog: string;
  readonly from: 'earliest' | 'latest';
  readonly log: Log;
  /** Delivers until the event is done or dead; returns early only when `signal` aborts, then with false. */
  readonly deliver: (event: StoredEvent, at: EventPlace, signal: AbortSignal) => Promise<boolean>;
  readonly loadCursor: () => Promise<CursorRow | undefined>;
  readonly saveCursor: (row: CursorRow) => Promise<void>;
  readonly lag: Gauge;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Events taken and not yet passed by the cursor. */
const outstandingMax = 1024;
/** How often a moved cursor is stored; what it has not stored may be delivered again after a crash, and is recognised. */
const saveIntervalMs = 500;

export class Reader {
  readonly #options: ReaderOptions;
  readonly #stop = new AbortController();
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #running: Promise<void>;
  #room: (() => void) | undefined;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Stops reading, waits for what is being delivered, stores the cursor. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#room?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, logger, topicLog } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#read(signal);
      } catch (cause) {
        if (signal.aborted) return;
        const error = TandemError.from(cause);
        logger.warn('reading a topic failed; trying again', { topicLog, code: error.code, message: error.message });
        await sleep(clock, 50 + backoffMs(random, attempt, 100, 5000), signal);
      }
    }
  }

  async #read(signal: AbortSignal): Promise<void> {
    const { log, topicLog, lag } = this.#options;
    const cursor = new Cursor((await this.#options.loadCursor()) ?? (await this.#firstRow()));
    const saver = this.#saveFrom(cursor, signal);
    try {
      for await (const entries of log.follow(topicLog, cursor.position + 1, signal)) {
        for (const entry of entries) {
          const event = decodeEvent(entry.body);
          const done = cursor.take(entry.position, event);
          if (done) this.#enqueue(event, { generation: cursor.generation, position: entry.position }, done, signal);
          lag.set(entries.at(-1)!.position - cursor.position);
          while (cursor.outstanding >= outstandingMax && !signal.aborted) await this.#untilRoom();
        }
        if (signal.aborted) break;
      }
    } finally {
      await Promise.allSettled(this.#lanes.values());
      saver.stop();
      await saver.finished;
      lag.set(cursor.outstanding);
    }
  }

  async #firstRow(): Promise<CursorRow> {
    const { from, log, topicLog, clock } = this.#options;
    const position =
      from === 'latest' ? await log.barrier(topicLog, { deadline: clock.monotonic() + limits.engineTimeoutMs }) : 0;
    const row: CursorRow = { position, generation: 1, sources: {} };
    await this.#options.saveCursor(row);
    return row;
  }

  #enqueue(event: StoredEvent, at: EventPlace, done: () => void, signal: AbortSignal): void {
    const before = this.#lanes.get(event.key);
    const lane = (before ?? Promise.resolve()).then(async () => {
      if (!signal.aborted && (await this.#options.deliver(event, at, signal))) done();
      if (this.#lanes.get(event.key) === lane) this.#lanes.delete(event.key);
      this.#room?.();
    });
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

  /** Stores the cursor whenever it has moved, and a last time at the end. */
  #saveFrom(cursor: Cursor, signal: AbortSignal): { stop(): void; readonly finished: Promise<void> } {
    const { clock, logger, lag } = this.#options;
    const ended = new AbortController();
    let saved = cursor.position;
    const save = async (): Promise<void> => {
      if (cursor.position === saved) return;
      const row = cursor.row();
      try {
        await this.#options.saveCursor(row);
        saved = row.position;
        lag.set(cursor.outstanding);
      } catch (cause) {
        logger.debug('the cursor was not stored; it will be, later', { message: TandemError.from(cause).message });
      }
    };
    const loop = async (): Promise<void> => {
      while (!ended.signal.aborted && !signal.aborted) {
        await sleep(clock, saveIntervalMs, ended.signal);
        await save();
      }
      await save();
    };
    return { stop: () => ended.abort(), finished: loop() };
  }
}
