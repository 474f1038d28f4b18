/**
 * The port that a call goes through, seen from both ends. `communication` implements it (the link), and rooms that
 * merely use one (the engine's remote driver, calling) depend on this shape alone, so they also run in the simulator.
 */
export type Priority = 'critical' | 'default' | 'optional';

export interface SendOptions {
  /** Absolute, on the local monotonic clock (ms). The time left travels in the frame. */
  readonly deadline: number;
  readonly signal?: AbortSignal | undefined;
  readonly priority?: Priority | undefined;
  /** Small and plain: request id, trace, session, hops. Opaque to the link. */
  readonly meta?: unknown;
}

export interface Reply {
  readonly body: unknown;
  readonly meta?: unknown;
}

/**
 * Why a connection is gone: it was there and ended, or could not be made (`lost`); the other machine says that nobody
 * listens at the address (`refused`); or it was not even tried, so soon after a failure (`not-tried`).
 */
export type LinkEnd = 'lost' | 'refused' | 'not-tried';

export interface Channel {
  /** `items` (if given) go in, for a method that takes many and answers once. @throws DeclaredError or TandemError: UNAVAILABLE (never sent), INTERRUPTED, DEADLINE_EXCEEDED, CANCELED, or the other end's. */
  call(method: string, body: unknown, options: SendOptions, items?: AsyncIterable<unknown>): Promise<Reply>;
  /** Opens a stream: items of the other end come out, `items` (if given) go in, both under credit-based flow control. Ending the loop cancels. */
  stream(method: string, body: unknown, options: SendOptions, items?: AsyncIterable<unknown>): AsyncIterable<unknown>;
  /** Fires once, when the connection is gone for good. */
  onClose(listener: (end: LinkEnd) => void): void;
  close(): Promise<void>;
}

export interface Incoming {
  readonly method: string;
  readonly body: unknown;
  readonly meta: unknown;
  /** Absolute, on the local monotonic clock (ms). */
  readonly deadline: number;
  /** Aborts when the caller cancels, its connection ends, or the deadline passes. Made on first use. */
  readonly signal: AbortSignal;
  readonly priority: Priority;
  /** The caller's items, when it opened a stream with some. */
  readonly items: AsyncIterable<unknown> | undefined;
  /** Address of the other end, for records. */
  readonly peer: string;
}

/** Answers one call: a Reply for `call`, an async iterable for `stream`. What it throws reaches the caller as an ErrorForm. */
export type Answerer = (incoming: Incoming) => Reply | AsyncIterable<unknown> | Promise<Reply | AsyncIterable<unknown>>;

/** Finds or opens the channel to an address (`tcp://127.0.0.1:4711`, `unix:///path`, `memory://name`). */
export interface Dialer {
  dial(address: string): Channel;
}
