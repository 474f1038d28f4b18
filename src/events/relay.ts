/**
 * The outbox's second half: at the writer of a state partition, sends what transactions emitted to the topics, in log
 * order, from a cursor kept in that same partition. Two relays may race and a relay may crash and repeat: numbers make
 * the repeats harmless (data core, rule 16). The state log is trimmed only up to what is relayed.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import { partitionOf } from '../partitioning/hash.ts';
import type { EmittedBatch, EmittedEvent } from '../state/keyspace.ts';
import { encodeEvent, numberOf } from './event.ts';
import { topicLog } from './publisher.ts';
import { type TopicEngine, TopicWriter } from './topic-writer.ts';

export interface RelayOptions {
  /** Names the state log, as it was called when the entry at a position was written: the source of what that emitted. */
  readonly source: (position: number) => string;
  readonly engine: TopicEngine;
  readonly emitted: (from: number, signal: AbortSignal) => AsyncIterable<EmittedBatch>;
  readonly loadPosition: () => Promise<number>;
  readonly savePosition: (position: number) => Promise<void>;
  /** Everything up to here is in the topics, and stored as such: the state log may be trimmed behind it. */
  readonly onRelayed: (position: number) => void;
  /** Everything up to here is in the topics, stored as such or not. */
  readonly onSent: (position: number) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** A relayed position is stored this often at most; a crash repeats no more than this much. */
const saveIntervalMs = 500;
/** Without events the position is stored only every so many entries: storing is itself an entry, and would feed on itself. */
const quietEntriesMax = 1000;
/** Events on their way at once, and their bytes: below what one topic writer lets wait, since all may be for one topic partition. */
const chunkMax = 2048;
const chunkBytesMax = 16_777_216;

export class Relay {
  readonly #options: RelayOptions;
  readonly #stop = new AbortController();
  readonly #writers = new Map<string, TopicWriter>();
  readonly #running: Promise<void>;
  /** Failures in a row. */
  #failures = 0;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  /** Ends at once: what is on its way is sent again by whoever relays next, and recognised. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#closeWriters();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, logger, source } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#relay(signal);
      } catch (cause) {
        if (signal.aborted) return;
        const { code, message } = TandemError.from(cause);
        const record = { source: source(Number.POSITIVE_INFINITY), code, message, failures: this.#failures + 1 };
        if (code === 'CORRUPT' || code === 'NOT_FOUND') logger.error('relaying events is stopped by its log', record);
        else logger.warn('relaying events failed; trying again', record);
      }
      this.#closeWriters();
      await sleep(clock, 20 + backoffMs(random, this.#failures++, 50, 2000), signal);
    }
  }

  /** From the stored position on. Everything not confirmed before a failure is sent again, from the lowest number. */
  async #relay(signal: AbortSignal): Promise<void> {
    const { clock, emitted, loadPosition, onRelayed, onSent } = this.#options;
    let saved = await loadPosition();
    onRelayed(saved);
    onSent(saved);
    let relayed = saved;
    let withEvents = false;
    let savedAt = clock.monotonic();
    let saving: Promise<void> | undefined;
    let timer: { cancel(): void } | undefined;

    /** Only a stored position frees the log behind it: a relay that starts again must find what it has to repeat. */
    const save = async (): Promise<void> => {
      const position = relayed;
      withEvents = false;
      savedAt = clock.monotonic();
      try {
        await this.#options.savePosition(position);
        saved = position;
        onRelayed(saved);
      } catch {
        withEvents = true; // the next batch or timer stores it
      }
    };
    const saveSoon = (): void => {
      const due = withEvents || relayed - saved >= quietEntriesMax;
      if (!due || saving || timer || signal.aborted) return;
      timer = clock.after(Math.max(0, savedAt + saveIntervalMs - clock.monotonic()), () => {
        timer = undefined;
        saving = save().finally(() => {
          saving = undefined;
          saveSoon();
        });
      });
    };

    try {
      for await (const { through, events } of emitted(saved + 1, signal)) {
        for (let at = 0; at < events.length && !signal.aborted; ) {
          const end = chunkEnd(events, at);
          await this.#send(events.slice(at, end));
          at = end;
        }
        if (signal.aborted) return;
        this.#failures = 0;
        relayed = through;
        onSent(through);
        withEvents ||= events.length > 0;
        saveSoon();
      }
    } finally {
      timer?.cancel();
    }
  }

  /** All topics at once, each in its own order; returns when all are durable. */
  async #send(events: readonly EmittedEvent[]): Promise<void> {
    const { source } = this.#options;
    const results = await Promise.allSettled(
      events.map(event => {
        const body = encodeEvent({
          source: source(event.position),
          number: numberOf(event.position, event.index),
          key: event.key,
          body: event.body,
          at: event.time,
          traceparent: event.traceparent,
        });
        const log = topicLog(event.topic, partitionOf(event.key, event.partitions));
        return this.#writer(log).send(body, Number.POSITIVE_INFINITY);
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  #closeWriters(): void {
    for (const writer of this.#writers.values()) writer.close();
    this.#writers.clear();
  }

  #writer(log: string): TopicWriter {
    let writer = this.#writers.get(log);
    if (!writer) {
      writer = new TopicWriter({ ...this.#options, topicLog: log });
      this.#writers.set(log, writer);
    }
    return writer;
  }
}

/** Behind the last event of the chunk that begins at `from`. */
function chunkEnd(events: readonly EmittedEvent[], from: number): number {
  let bytes = 0;
  let end = from;
  while (end < events.length && end - from < chunkMax) {
    bytes += events[end]!.body.length;
    if (bytes > chunkBytesMax && end > from) break;
    end++;
  }
  return end;
}
