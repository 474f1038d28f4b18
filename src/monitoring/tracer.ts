/**
 * Spans of one process. Whether a trace is sampled is decided where it begins and travels in its flags; a span that failed or
 * was slow is kept even when its trace is not sampled, so that trouble is always seen from where it happened. What
 * is kept stands in a ring of bounded size, from which the monitor fetches.
 */
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { Span, SpanKind, Tracer } from '../core/tracer.ts';
import { formatTraceparent, parseTraceparent, type TraceContext } from './traceparent.ts';

export interface SpanRecord {
  /** Counts up from 1 in the life of the process. */
  readonly sequence: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | undefined;
  readonly name: string;
  readonly kind: SpanKind;
  /** Wall time in ms. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly error: string | undefined;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
}

export interface TracerOptions {
  readonly random: Random;
  readonly clock: Clock;
  /** Share of new traces that are sampled. Default 0.05: enough to see shapes, and under a percent of a call's cost. */
  readonly share?: number;
  /** Spans at least this long are kept whatever the sampling says. Default 500. */
  readonly slowMs?: number;
  /** Spans in the ring. Default 512. */
  readonly spans?: number;
  /** Is also handed each kept span. */
  readonly export?: (span: SpanRecord) => void;
}

export interface ReadableTracer extends Tracer {
  /** Kept spans with a higher sequence, oldest first. */
  after(sequence: number): SpanRecord[];
}

const attributesMax = 32;

export function openTracer(options: TracerOptions): ReadableTracer {
  const { random, clock, share = 0.05, slowMs = 500, spans = 512 } = options;
  const ring: SpanRecord[] = [];
  let sequence = 0;

  const keep = (span: Omit<SpanRecord, 'sequence'>): void => {
    sequence += 1;
    const record = { sequence, ...span };
    ring.push(record);
    if (ring.length > spans) ring.shift();
    try {
      options.export?.(record);
    } catch {
      // An exporter that fails must not fail the work that the span tells of.
    }
  };

  return {
    start(name, kind, parent) {
      const above = parseTraceparent(parent);
      const context: TraceContext = above
        ? { traceId: above.traceId, spanId: hex(random, 2), sampled: above.sampled }
        : { traceId: hex(random, 4), spanId: hex(random, 2), sampled: random.next() < share };
      return openSpan(name, kind, context, above?.spanId, { clock, slowMs, keep });
    },
    after: seen => ring.filter(span => span.sequence > seen),
  };
}

interface SpanHome {
  readonly clock: Clock;
  readonly slowMs: number;
  readonly keep: (span: Omit<SpanRecord, 'sequence'>) => void;
}

function openSpan(
  name: string,
  kind: SpanKind,
  context: TraceContext,
  parentId: string | undefined,
  { clock, slowMs, keep }: SpanHome,
): Span {
  const from = clock.monotonic();
  let attributes: Record<string, string | number | boolean> | undefined;
  let ended = false;
  return {
    traceparent: formatTraceparent(context),
    set(attribute, value) {
      attributes ??= {};
      if (attribute in attributes || Object.keys(attributes).length < attributesMax)
        attributes[attribute] = typeof value === 'string' ? value.slice(0, 512) : value;
    },
    end(error) {
      if (ended) return;
      ended = true;
      const durationMs = clock.monotonic() - from;
      if (!context.sampled && error === undefined && durationMs < slowMs) return;
      const { traceId, spanId } = context;
      const startedAt = clock.now() - durationMs;
      keep({
        traceId,
        spanId,
        parentId,
        name,
        kind,
        startedAt,
        durationMs,
        error: error === undefined ? undefined : errorText(error),
        attributes: attributes ?? {},
      });
    },
  };
}

function errorText(error: unknown): string {
  try {
    const { code, message } = error as { code?: unknown; message?: unknown };
    return `${code ? `${String(code)}: ` : ''}${String(message ?? error)}`.slice(0, 512);
  } catch {
    return 'error';
  }
}

/** Two digits each: a number's own toString(16) is slow above 31 bits, and every call of the system has a span. */
const hexOfByte: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** `count` random 32-bit words in hex, never all zero (the standard forbids such an id). */
function hex(random: Random, count: number): string {
  let text = '';
  for (let i = 0; i < count; i++) {
    const word = random.below(0x1_0000_0000);
    text += hexOfByte[word >>> 24]! + hexOfByte[(word >>> 16) & 255]! + hexOfByte[(word >>> 8) & 255]!;
    text += hexOfByte[word & 255]!;
  }
  return /[^0]/.test(text) ? text : `${text.slice(1)}1`;
}
