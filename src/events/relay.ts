/**
 * The outbox's second half: at the writer of a state partition, sends what transactions emitted to the topics, in log
 * order, from a cursor kept in that same partition. Two relays may race and a relay may crash and repeat: numbers make
 * the repeats harmless (data core, rule 16). The state log is trimmed only up to what is relayed.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Log } from '../log/engine.ts';
import { partitionOf } from '../partitioning/hash.ts';
import type { EmittedBatch, EmittedEvent } from '../state/keyspace.ts';
import { encodeEvent, numberOf } from './event.ts';
import { topicLog } from './publisher.ts';
import { TopicWriter } from './topic-writer.ts';

export interface RelayOptions {
  /** Names the state log; the source of all that it emits. */
  readonly source: string;
  readonly log: Log;
  readonly emitted: (from: number, signal: AbortSignal) => AsyncIterable<EmittedBatch>;
  readonly loadPosition: () => Promise<number>;
  readonly savePosition: (position: number) => Promise<void>;
  /** Everything up to here is in the topics: the state log may be trimmed behind it. */
  readonly onRelayed: (position: number) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** A relayed position is stored this often at most; a crash repeats no more than this much. */
const saveIntervalMs = 500;

export class Relay {
  readonly #options: RelayOptions;
  readonly #stop = new AbortController();
  readonly #writers = new Map<string, TopicWriter>();
  readonly #running: Promise<void>;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#running = this.#run();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const writer of this.#writers.values()) writer.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, logger, source } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        await this.#relay(signal);
      } catch (cause) {
        if (signal.aborted) return;
        for (const writer of this.#writers.values()) writer.close();
        this.#writers.clear();
        logger.warn('relaying events failed; trying again', { source, message: TandemError.from(cause).message });
        await sleep(clock, 20 + backoffMs(random, attempt, 50, 2000), signal);
      }
    }
  }

  async #relay(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    let saved = await this.#options.loadPosition();
    let savedAt = clock.monotonic();
    let pendingSave: { cancel(): void } | undefined;
    try {
      this.#options.onRelayed(saved);
      for await (const { through: position, events } of this.#options.emitted(saved + 1, signal)) {
        if (signal.aborted) return;
        if (events.length > 0) await this.#send(events);
        this.#options.onRelayed(position);
        if (events.length === 0) continue;
        const save = async (): Promise<void> => {
          pendingSave = undefined;
          if (position <= saved || signal.aborted) return;
          savedAt = clock.monotonic();
          await this.#options.savePosition(position);
          saved = position;
        };
        pendingSave?.cancel();
        if (clock.monotonic() - savedAt >= saveIntervalMs) await save();
        else pendingSave = clock.after(saveIntervalMs, () => void save().catch(() => {}));
      }
    } finally {
      pendingSave?.cancel();
    }
  }

  /** All topics at once, each in its own order; returns when all are durable. */
  async #send(events: readonly EmittedEvent[]): Promise<void> {
    const { source } = this.#options;
    const results = await Promise.allSettled(
      events.map(event => {
        const body = encodeEvent({
          source,
          number: numberOf(event.position, event.index),
          key: event.key,
          body: event.body,
          at: event.time,
          traceparent: event.traceparent,
        });
        return this.#writer(topicLog(event.topic, partitionOf(event.key, event.partitions))).send(
          body,
          Number.POSITIVE_INFINITY,
        );
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  #writer(log: string): TopicWriter {
    let writer = this.#writers.get(log);
    if (!writer) {
      const { log: engineLog, clock, random } = this.#options;
      writer = new TopicWriter({ log: engineLog, topicLog: log, clock, random });
      this.#writers.set(log, writer);
    }
    return writer;
  }
}
