/**
 * Instruments, named as in OpenTelemetry: seconds and bytes are base units, names are dotted
 * (`tandem.call.duration`), attributes are few and bounded (service, method, code: never a key or a user).
 */
export type Attributes = Readonly<Record<string, string>>;

export interface Counter {
  add(value: number): void;
}
export interface Gauge {
  set(value: number): void;
}
export interface Histogram {
  /** A duration in milliseconds (exposed in seconds) or a size in bytes. */
  record(value: number): void;
}

/** Handles are fetched once (not per call) and kept: `record` and `add` are on hot paths and allocate nothing. */
export interface Meter {
  counter(name: string, attributes?: Attributes): Counter;
  gauge(name: string, attributes?: Attributes): Gauge;
  histogram(name: string, attributes?: Attributes): Histogram;
  /** A gauge that is read when someone looks. */
  observe(name: string, read: () => number, attributes?: Attributes): void;
}

const nothing = { add() {}, set() {}, record() {} };
export const silentMeter: Meter = {
  counter: () => nothing,
  gauge: () => nothing,
  histogram: () => nothing,
  observe() {},
};
