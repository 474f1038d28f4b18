/** Every bound and default of the system in one table; `docs/reference/defaults.md` is generated from it. */
export const limits = {
  /** Largest frame of the link in bytes; protects memory from a garbage or hostile peer. */
  frameBytesMax: 8_388_608,
  /** Largest body that the gateway takes, in bytes. */
  bodyBytesMax: 1_048_576,
  /** Bodies of all requests under way at one gateway, in bytes; beyond it OVERLOADED. Parsed they take a few times as much. */
  bodiesBytesMax: 67_108_864,
  /** Headers of one HTTP request in bytes (Node's own default; Envoy allows 60 KiB). */
  headerBytesMax: 16_384,
  /** Largest entry of a log in bytes (what NATS carries by default), so that both engines take the same transactions. */
  entryBytesMax: 1_048_576,
  /** Largest key of a row or an event, in bytes of UTF-8. */
  keyBytesMax: 1024,
  /** Largest row of a table in bytes: what one read carries must fit a frame. */
  rowBytesMax: 4_194_304,
  /** Largest event in bytes, as a row. One that no entry holds is stored as a blob first, which its topic's log names. */
  eventBytesMax: 4_194_304,
  /** Effects of one transaction in bytes. Those over an entry's size are stored as a blob first, and take that time. */
  transactionBytesMax: 16_777_216,
  /** Calls that one connection may have open; beyond it OVERLOADED. */
  callsPerConnectionMax: 16_384,
  /** Transactions that wait for one partition; beyond it OVERLOADED. */
  transactionsQueuedMax: 4096,
  /** Bytes that may wait to be written to one connection: beyond it new calls, and answers over there, are OVERLOADED. */
  connectionBufferBytesMax: 16_777_216,
  /** Memory that the bodies of calls under way at one connection may take, as reckoned from their bytes and nesting; beyond it OVERLOADED. */
  callBytesPerConnectionMax: 67_108_864,
  /** Connections that one process takes; more are closed at once. */
  connectionsMax: 8192,
  /** Deadline of a call that names none. Long enough for a slow dependency, short enough that a user still waits. */
  callTimeoutMs: 5000,
  /** Deadline of one append or barrier at the engine. */
  engineTimeoutMs: 4000,
  /** Between two heartbeats. Detection takes about four silent beats, so less means quicker verdicts and more beats for everybody. */
  beatIntervalMs: 250,
  /** A silent member leaves the placement after this (data core, rule 8): longer than a restart, so data does not move for one. */
  placementGraceMs: 10_000,
  /** How long a request id is remembered. Longer than any sane retry; bounds the rows kept. */
  requestIdWindowMs: 600_000,
  /** Hops a keyed call may be forwarded. */
  hopsMax: 1,
  /** Log positions that a session token holds. */
  sessionPositionsMax: 64,
  /** Retry budget: retries may be this share of calls ... (Finagle, Envoy: 20 %) */
  retryBudgetShare: 0.2,
  /** ... plus this many per second, so that a quiet caller may retry at all. */
  retryBudgetPerSecond: 10,
  /** Partitions of a service's keyspace when it names none: many, so that resharding is rare (data core, rule 24). */
  partitions: 64,
  /** Replicas of each partition when the service names none. */
  replicas: 3,
  /** Partitions of a topic when it names none. */
  topicPartitions: 8,
  /** How long a topic keeps its events when it does not say so itself: long enough to mend a service over a weekend and a week. */
  topicRetentionMs: 604_800_000,
  /** Tries of an event before it becomes a dead letter. */
  eventAttemptsMax: 5,
} as const;
