/** From HTTP answers back to what a call gives: values, typed errors, and where the answer came from. */
import type { AnswerMeta } from '../contract/call.ts';
import { catalogue, DeclaredError, isSystemCode, TandemError } from '../core/errors.ts';

/** The error that a problem (RFC 9457) stands for. An answer that is no problem of ours came from something between. */
export function errorOf(problem: unknown, status: number): DeclaredError | TandemError {
  const { code, data, detail, outcome, issues, didYouMean, details } = (problem ?? {}) as Record<string, unknown>;
  if (typeof code === 'string' && !isSystemCode(code)) return new DeclaredError(code, status, data);
  const message = typeof detail === 'string' ? detail : `the answer was HTTP ${status}`;
  if (typeof code === 'string' && isSystemCode(code)) {
    return new TandemError(code, message, {
      outcome: outcome === 'not-done' ? 'not-done' : 'unknown',
      details: {
        ...(details as object),
        ...(issues !== undefined && { issues }),
        ...(didYouMean !== undefined && { didYouMean }),
      },
    });
  }
  return new TandemError(status >= 500 ? 'INTERRUPTED' : codeOf(status), message);
}

function codeOf(status: number): 'INVALID' | 'DENIED' | 'NOT_FOUND' | 'TOO_LARGE' | 'OVERLOADED' {
  if (status === 401 || status === 403) return 'DENIED';
  if (status === 404 || status === 405) return 'NOT_FOUND';
  if (status === catalogue.TOO_LARGE.status) return 'TOO_LARGE';
  return status === catalogue.OVERLOADED.status ? 'OVERLOADED' : 'INVALID';
}

export function metaOf(headers: Headers, requestId: string): AnswerMeta {
  const level = headers.get('tandem-level');
  const staleness = /entries=(\d+), ms=(\d+)/.exec(headers.get('tandem-staleness') ?? '');
  return {
    level: level === 'strong' || level === 'sequential' || level === 'eventual' ? level : undefined,
    degraded: headers.get('tandem-degraded') === 'true',
    staleness: staleness ? { entries: Number(staleness[1]), ms: Number(staleness[2]) } : undefined,
    instance: headers.get('tandem-instance') ?? undefined,
    requestId,
  };
}

export function metaWithout(requestId: string, degraded: boolean): AnswerMeta {
  return { level: undefined, degraded, staleness: undefined, instance: undefined, requestId };
}
