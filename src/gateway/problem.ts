/**
 * Errors as RFC 9457 problem details. `code` and `outcome` are what programs look at: `outcome: "not-done"` means that
 * repeating is safe. What went wrong inside (INTERNAL, CORRUPT, CONFIG) is told to operators only, found by the request id.
 */
import { catalogue, DeclaredError, type Outcome, TandemError } from '../core/errors.ts';

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly outcome: Outcome;
  readonly requestId: string;
  /** Of declared errors. */
  readonly data?: unknown;
  /** Fields that are wrong. */
  readonly issues?: unknown;
  readonly didYouMean?: unknown;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Statuses that HTTP has a sharper word for than the catalogue. */
export interface ProblemOptions {
  readonly status?: number;
}

const hidden = new Set<string>(['INTERNAL', 'CORRUPT', 'CONFIG']);

export function problemOf(thrown: unknown, requestId: string, options: ProblemOptions = {}): Problem {
  if (thrown instanceof DeclaredError) {
    const { code, data } = thrown;
    const status = thrown.status >= 400 && thrown.status <= 599 ? thrown.status : 500;
    const problem = {
      type: `urn:tandem:declared:${code}`,
      title: code,
      status,
      detail: thrown.message,
      code,
      requestId,
    };
    return { ...problem, outcome: 'not-done', ...(data !== undefined && { data }) };
  }
  const error = TandemError.from(thrown);
  const entry = catalogue[error.code];
  const secret = hidden.has(error.code);
  const { issues, didYouMean, ...details } = secret ? {} : (error.details ?? {});
  return {
    type: `urn:tandem:error:${error.code}`,
    title: entry.meaning,
    status: options.status ?? entry.status,
    detail: secret ? `${entry.callerDoes} (${requestId})` : error.message,
    code: error.code,
    outcome: error.outcome,
    requestId,
    ...(issues !== undefined && { issues }),
    ...(didYouMean !== undefined && { didYouMean }),
    ...(Object.keys(details).length > 0 && { details }),
  };
}

/** Seconds for a Retry-After header, when waiting helps. */
export function retryAfterSeconds(thrown: unknown): number | undefined {
  if (!(thrown instanceof TandemError)) return undefined;
  const { code, details } = thrown;
  if (code !== 'OVERLOADED' && code !== 'UNAVAILABLE' && code !== 'MOVED' && code !== 'CLOSED') return undefined;
  const waitMs = details?.retryAfterMs;
  return typeof waitMs === 'number' ? Math.max(1, Math.ceil(waitMs / 1000)) : 1;
}
