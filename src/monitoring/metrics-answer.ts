/** What a process answers to `$metrics`: its counts so far, and the spans and problems that the asker has not seen yet. */

import type { ReadableMeter } from './meter.ts';
import type { MetricPoint } from './metric-point.ts';
import type { NumberedRecord, RecordRing } from './record-ring.ts';
import type { ReadableTracer, SpanRecord } from './tracer.ts';

/** Body of the question. Both default to 0: everything that is kept. */
export interface MetricsQuestion {
  readonly spansAfter?: number;
  readonly errorsAfter?: number;
}

export interface MetricsAnswer {
  readonly points: readonly MetricPoint[];
  readonly spans: readonly SpanRecord[];
  readonly errors: readonly NumberedRecord[];
}

export interface MetricsSources {
  readonly meter: ReadableMeter;
  readonly tracer?: ReadableTracer | undefined;
  readonly records?: RecordRing | undefined;
}

/** Wire it as `if (incoming.method === '$metrics') return { body: answer(incoming.body) }`. Any body is taken. */
export function metricsAnswer(sources: MetricsSources): (question?: unknown) => MetricsAnswer {
  const { meter, tracer, records } = sources;
  return question => ({
    points: meter.snapshot(),
    spans: tracer?.after(numberOf(question, 'spansAfter')) ?? [],
    errors: records?.after(numberOf(question, 'errorsAfter')) ?? [],
  });
}

function numberOf(question: unknown, field: keyof MetricsQuestion): number {
  const value = (question as Record<string, unknown> | null | undefined)?.[field];
  return typeof value === 'number' && value > 0 ? value : 0;
}
