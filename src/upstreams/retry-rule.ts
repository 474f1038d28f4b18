/**
 * Whether a request that failed at one upstream may be sent to another. Repeating must neither do a thing twice nor cut a body:
 * what was never sent may always be repeated; what was sent only when its verb is idempotent (RFC 9110, 9.2.2) and the connection
 * ended before any byte of an answer. A timeout is no such end: the upstream may be at work still.
 */
export interface Failed {
  readonly verb: string;
  /** The upstream took the connection, so the request may have reached it. */
  readonly sent: boolean;
  /** Bytes of the body went out; they are not held, so they cannot be sent again. */
  readonly bodyTaken: boolean;
  /** Of an answer, interim ones included. */
  readonly answerBegun: boolean;
  readonly timedOut: boolean;
}

const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export function mayRepeat({ verb, sent, bodyTaken, answerBegun, timedOut }: Failed): boolean {
  if (bodyTaken || answerBegun) return false;
  if (!sent) return true;
  return !timedOut && idempotent.has(verb);
}
