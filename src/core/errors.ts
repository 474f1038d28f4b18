/**
 * The closed catalogue of system errors. Each says what a distributed caller needs most: whether the work may have
 * been done (`outcome`) and what to do now. Errors that a contract declares are camelCase and typed; these are
 * UPPER_CASE and the same everywhere. A code is never reused; `docs/reference/errors.md` is generated from here.
 */
export type Outcome = 'not-done' | 'unknown';

export interface ErrorEntry {
  readonly outcome: Outcome;
  /** The status of the HTTP answer. */
  readonly status: number;
  readonly meaning: string;
  readonly callerDoes: string;
}

export type SystemCode =
  | 'INVALID'
  | 'DENIED'
  | 'NOT_FOUND'
  | 'CONFLICT'
  | 'TOO_LARGE'
  | 'UNSUPPORTED'
  | 'CROSS_PARTITION'
  | 'EXPIRED'
  | 'OVERLOADED'
  | 'MOVED'
  | 'UNAVAILABLE'
  | 'INTERRUPTED'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELED'
  | 'CLOSED'
  | 'LOG_LOST'
  | 'CORRUPT'
  | 'CONFIG'
  | 'INTERNAL';

export const catalogue: Readonly<Record<SystemCode, ErrorEntry>> = {
  INVALID: {
    outcome: 'not-done',
    status: 400,
    meaning: 'The request is malformed or breaks the schema.',
    callerDoes: 'Fix the fields named in details.issues.',
  },
  DENIED: {
    outcome: 'not-done',
    status: 403,
    meaning: 'The caller may not do this.',
    callerDoes: 'Use other credentials, or ask for the right.',
  },
  NOT_FOUND: {
    outcome: 'not-done',
    status: 404,
    meaning: 'There is no such service, method or route.',
    callerDoes: 'Check the name; details.didYouMean holds near ones.',
  },
  CONFLICT: {
    outcome: 'not-done',
    status: 409,
    meaning: 'The request contradicts what is stored, such as an idempotency key used again with another input.',
    callerDoes: 'Read the current state and decide anew.',
  },
  TOO_LARGE: {
    outcome: 'not-done',
    status: 413,
    meaning: 'A body, value or transaction is over its limit.',
    callerDoes: 'Send less; details name the limit in bytes.',
  },
  UNSUPPORTED: {
    outcome: 'not-done',
    status: 501,
    meaning: 'This engine, method or version cannot do it.',
    callerDoes: 'Use what details name instead.',
  },
  CROSS_PARTITION: {
    outcome: 'not-done',
    status: 400,
    meaning: "A transaction touched a key of another partition than the method's key.",
    callerDoes: 'Keep together what changes together (one key), or use an event.',
  },
  EXPIRED: {
    outcome: 'not-done',
    status: 409,
    meaning: 'The request id is older than the window in which repeats are recognised.',
    callerDoes: 'Read the state; send the request anew with a fresh id if it is still wanted.',
  },
  OVERLOADED: {
    outcome: 'not-done',
    status: 429,
    meaning: 'A bounded queue or limit is full.',
    callerDoes: 'Wait details.retryAfterMs, then repeat within the retry budget.',
  },
  MOVED: {
    outcome: 'not-done',
    status: 503,
    meaning: 'The partition is served elsewhere.',
    callerDoes: 'Refresh the route and repeat; always safe.',
  },
  UNAVAILABLE: {
    outcome: 'not-done',
    status: 503,
    meaning: 'No instance could be reached; the request was not sent.',
    callerDoes: 'Repeat after a pause.',
  },
  INTERRUPTED: {
    outcome: 'unknown',
    status: 503,
    meaning: 'The connection or process ended after the request was sent.',
    callerDoes: 'Repeat with the same request id (idempotency key).',
  },
  DEADLINE_EXCEEDED: {
    outcome: 'unknown',
    status: 504,
    meaning: 'The deadline passed before an answer came.',
    callerDoes: 'Repeat with the same request id and more time.',
  },
  CANCELED: {
    outcome: 'unknown',
    status: 499,
    meaning: 'The caller gave up.',
    callerDoes: 'Nothing; repeat with the same request id to learn the fate.',
  },
  CLOSED: {
    outcome: 'not-done',
    status: 503,
    meaning: 'This component is stopped or stopping and took nothing on.',
    callerDoes: 'Repeat at another instance.',
  },
  LOG_LOST: {
    outcome: 'unknown',
    status: 503,
    meaning: 'A log that was known is gone, or shorter than what was acknowledged; or this session saw what is gone.',
    callerDoes: 'Stop and look: restore the engine data or a backup. With `session: over`: begin a new session.',
  },
  CORRUPT: {
    outcome: 'unknown',
    status: 500,
    meaning: 'Stored data fails its checksum or chain.',
    callerDoes: 'Run `tandem log verify`; nothing corrupt is served.',
  },
  CONFIG: {
    outcome: 'not-done',
    status: 500,
    meaning: 'The configuration is missing or wrong.',
    callerDoes: 'Set what the message names; `tandem doctor` shows each value and its source.',
  },
  INTERNAL: {
    outcome: 'unknown',
    status: 500,
    meaning: 'A handler or Tandem itself failed unexpectedly.',
    callerDoes: 'Look at the record with this request id.',
  },
};

export function isSystemCode(code: string): code is SystemCode {
  return Object.hasOwn(catalogue, code);
}

export interface TandemErrorOptions {
  /** Overrides the catalogue's outcome, when the thrower knows better. */
  readonly outcome?: Outcome;
  /** Small, plain and safe to show to the caller. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** What crosses a process boundary of an error: never a stack. */
export interface ErrorForm {
  readonly code: string;
  readonly outcome: Outcome;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
  /** Set on errors that a contract declares. */
  readonly declared?: { readonly status: number; readonly data?: unknown };
}

export class TandemError extends Error {
  readonly code: SystemCode;
  readonly outcome: Outcome;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: SystemCode, message: string, options: TandemErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TandemError';
    this.code = code;
    this.outcome = options.outcome ?? catalogue[code].outcome;
    this.details = options.details;
  }

  /** Any thrown thing as a TandemError; what is not ours becomes INTERNAL, with the original as cause. */
  static from(thrown: unknown): TandemError {
    if (thrown instanceof TandemError) return thrown;
    if (thrown instanceof Error) return new TandemError('INTERNAL', thrown.message || thrown.name, { cause: thrown });
    return new TandemError('INTERNAL', `a non-Error was thrown: ${printable(thrown)}`, { cause: thrown });
  }
}

/** An error that a contract declares, as thrown by `ctx.fail.name(data)`: an answer, not an accident. */
export class DeclaredError extends Error {
  readonly code: string;
  readonly status: number;
  readonly data: unknown;
  readonly outcome: Outcome = 'not-done';

  constructor(code: string, status: number, data: unknown) {
    super(code);
    this.name = 'DeclaredError';
    this.code = code;
    this.status = status;
    this.data = data;
  }
}

export function toErrorForm(thrown: unknown): ErrorForm {
  if (thrown instanceof DeclaredError) {
    const declared =
      thrown.data === undefined ? { status: thrown.status } : { status: thrown.status, data: thrown.data };
    return { code: thrown.code, outcome: 'not-done', message: thrown.message, declared };
  }
  const { code, outcome, message, details } = TandemError.from(thrown);
  return details ? { code, outcome, message, details } : { code, outcome, message };
}

export function fromErrorForm(form: ErrorForm): TandemError | DeclaredError {
  if (form.declared) return new DeclaredError(form.code, form.declared.status, form.declared.data);
  const code = isSystemCode(form.code) ? form.code : 'INTERNAL';
  const options: TandemErrorOptions = { outcome: form.outcome === 'not-done' ? 'not-done' : 'unknown' };
  return new TandemError(code, form.message, form.details ? { ...options, details: form.details } : options);
}

/** Whether a failed call certainly had no effect. */
export function isNotDone(thrown: unknown): boolean {
  return thrown instanceof DeclaredError || (thrown instanceof TandemError && thrown.outcome === 'not-done');
}

function printable(thrown: unknown): string {
  try {
    return String(typeof thrown === 'object' ? JSON.stringify(thrown) : thrown).slice(0, 200);
  } catch {
    return typeof thrown;
  }
}
