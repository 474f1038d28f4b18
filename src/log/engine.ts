/**
 * The waist: everything durable or shared crosses this interface. Drivers: embedded (files of one process), remote
 * (the embedded engine over the link), later NATS JetStream. Each passes `engine.contract-suite.ts`.
 * Positions of a log count 1, 2, 3, ... without gaps; 0 means "before the first entry".
 */
export interface Entry {
  readonly position: number;
  readonly body: Uint8Array;
}

export type AppendResult =
  /** Durable at the engine's declared level. `position` is that of the last entry appended. */
  | { readonly kind: 'appended'; readonly position: number }
  /** Nothing was appended: the log was not at `expected`. `tail` is a hint, not a barrier. */
  | { readonly kind: 'conflict'; readonly tail: number }
  /** It may or may not have landed, and may still land. Decide the next slot and read it (data core, rule 6). */
  | { readonly kind: 'unknown'; readonly cause: unknown };

export interface LogInfo {
  /** Survives restarts; changes when the engine cannot prove that everything acknowledged is still there. */
  readonly incarnation: string;
  /** First position kept (1 unless trimmed). */
  readonly first: number;
  /** Durable tail; 0 when empty. */
  readonly tail: number;
  /** Bytes of the entries kept. */
  readonly bytes: number;
}

export interface EngineOptions {
  /** Absolute deadline on the local monotonic clock (ms). */
  readonly deadline: number;
}

export interface Log {
  /**
   * Appends all bodies (none of them empty) in order at consecutive positions, or none. With a number, only if the log's tail is exactly that.
   * @throws TOO_LARGE, OVERLOADED, CLOSED, UNAVAILABLE (all not-done). Everything doubtful is the result `unknown`, never a throw.
   */
  append(
    log: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    options: EngineOptions,
  ): Promise<AppendResult>;
  /**
   * A linearizable tail: at least every append acknowledged before this call began; 0 for a log that was never appended to.
   * Where a barrier is an append (`barrierAppends`), it leaves an entry with an empty body: readers pass over it.
   */
  barrier(log: string, options: EngineOptions): Promise<number>;
  /** Entries from `from` on, oldest first, up to about `bytesMax` (at least one if any). Only durable ones. @throws NOT_FOUND when trimmed away. */
  read(log: string, from: number, bytesMax: number, options: EngineOptions): Promise<readonly Entry[]>;
  /**
   * Every durable entry from `from` on, once, in order, in batches, as they come; reconnects by itself and never skips.
   * Ends when `signal` aborts. @throws NOT_FOUND when `from` was trimmed away, LOG_LOST when the log is shorter than `from - 1`.
   */
  follow(log: string, from: number, signal: AbortSignal): AsyncIterable<readonly Entry[]>;
  /**
   * Makes a log whose first entry will have position `first`, as if what lay before had been trimmed: for a restore.
   * @throws CONFLICT when there is one of that name.
   */
  begin(log: string, first: number, options: EngineOptions): Promise<void>;
  /** Drops entries below `before`. */
  trim(log: string, before: number, options: EngineOptions): Promise<void>;
  /** @throws NOT_FOUND when the log has never been appended to. */
  info(log: string, options: EngineOptions): Promise<LogInfo>;
  /** Names of existing logs that begin with `prefix`, sorted. */
  list(prefix: string, options: EngineOptions): Promise<readonly string[]>;
}

/** Ephemeral broadcast. May lose anything; never carries data that matters. */
export interface Bus {
  publish(subject: string, body: Uint8Array): void;
  /** `subject` is exact, or ends in `.>` for everything below. Stays subscribed through reconnects; returns the unsubscribe. */
  subscribe(subject: string, receive: (subject: string, body: Uint8Array) => void): () => void;
  /** Whether the bus can be reached now. Losing it means "I am cut off", never "everyone died". */
  readonly connected: boolean;
  onConnection(listener: (connected: boolean) => void): () => void;
}

/** Snapshots and large values, by name; written whole or not at all. */
export interface Blobs {
  put(name: string, bytes: Uint8Array, options: EngineOptions): Promise<void>;
  /** @throws NOT_FOUND, or CORRUPT when its checksum fails. */
  get(name: string, options: EngineOptions): Promise<Uint8Array>;
  delete(name: string, options: EngineOptions): Promise<void>;
  list(prefix: string, options: EngineOptions): Promise<readonly string[]>;
}

export interface Capabilities {
  readonly driver: string;
  readonly entryBytesMax: number;
  /** What an acknowledgement means, in words for people: 'on disk (fdatasync)', 'on disk on a quorum', 'in the page cache'. */
  readonly acknowledged: string;
  /** Whether a barrier costs an append (NATS) or is a read (embedded). */
  readonly barrierAppends: boolean;
}

export interface Engine {
  readonly log: Log;
  readonly bus: Bus;
  readonly blobs: Blobs;
  readonly capabilities: Capabilities;
  close(): Promise<void>;
}
