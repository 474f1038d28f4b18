/** Spans in W3C Trace Context. The context travels as a `traceparent` string; span names follow OpenTelemetry. */
export type SpanKind = 'internal' | 'server' | 'client' | 'producer' | 'consumer';

export interface Span {
  /** `00-<trace id>-<span id>-<flags>`, to hand on. */
  readonly traceparent: string;
  set(name: string, value: string | number | boolean): void;
  /** Ends the span; `error` marks it as failed. */
  end(error?: unknown): void;
}

export interface Tracer {
  /** Starts a span under `parent` (a traceparent), or a new trace. */
  start(name: string, kind: SpanKind, parent?: string): Span;
}

const span: Span = { traceparent: '', set() {}, end() {} };
/** Passes no context on. */
export const silentTracer: Tracer = {
  start: (_name, _kind, parent) => (parent ? { ...span, traceparent: parent } : span),
};
