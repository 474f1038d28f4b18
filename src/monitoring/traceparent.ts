/** W3C Trace Context, `traceparent` version 00: `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>`. Source: w3.org/TR/trace-context. */
export interface TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
}

const pattern = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const zeroTrace = '0'.repeat(32);
const zeroSpan = '0'.repeat(16);

/** Undefined for whatever is not a valid context: the standard says to start a new trace then. */
export function parseTraceparent(text: string | undefined): TraceContext | undefined {
  if (text === undefined || text.length < 55 || text.length > 512) return undefined;
  const match = pattern.exec(text);
  if (!match) return undefined;
  const [, version, traceId, spanId, flags, more] = match as unknown as string[];
  // Later versions may append fields, 00 may not; ff is forbidden.
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (traceId === zeroTrace || spanId === zeroSpan) return undefined;
  return { traceId: traceId!, spanId: spanId!, sampled: (Number.parseInt(flags!, 16) & 1) === 1 };
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}
