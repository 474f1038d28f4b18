/**
 * What concurrent clients asked and heard, in the order of these events: the material that the checkers judge. Events
 * are numbered, not timed, because two at one instant would have no order.
 * `ok` took effect between its two events. `fail` never took effect and never will. `unknown` (no answer, or one that
 * does not say) may take effect at any time after its invocation, or never.
 */
import { edn, Keyword } from '../core/edn.ts';

export type OperationOutcome = 'ok' | 'fail' | 'unknown';

export interface Operation {
  /** The client; one client has one operation open at a time unless it says otherwise by another name. */
  readonly process: string;
  readonly kind: string;
  readonly key: string;
  readonly input: unknown;
  /** What came back, for `ok`. */
  readonly output: unknown;
  readonly outcome: OperationOutcome;
  /** Event number of the invocation. */
  readonly invoked: number;
  /** Event number of the answer; Infinity when it never came or says nothing. */
  readonly returned: number;
  /** Event number of the answer, also when it says nothing. */
  readonly heard?: number;
  /** By the clock of the history, if it has one. */
  readonly invokedMs?: number;
  readonly returnedMs?: number;
}

export interface Invocation {
  readonly process: string;
  readonly kind: string;
  readonly key: string;
  readonly input?: unknown;
}

export class History {
  readonly #operations: { -readonly [K in keyof Operation]: Operation[K] }[] = [];
  readonly #nowMs: (() => number) | undefined;
  #events = 0;

  /** With a clock, the times of events are kept too: for people and other checkers, ours go by the order. */
  constructor(nowMs?: () => number) {
    this.#nowMs = nowMs;
  }

  /** Records that an operation begins; call the result when its answer is there. Without an answer it stays `unknown`. */
  invoke(invocation: Invocation): (outcome: OperationOutcome, output?: unknown) => void {
    const operation: { -readonly [K in keyof Operation]: Operation[K] } = {
      process: invocation.process,
      kind: invocation.kind,
      key: invocation.key,
      input: invocation.input,
      output: undefined,
      outcome: 'unknown',
      invoked: this.#events++,
      returned: Number.POSITIVE_INFINITY,
    };
    if (this.#nowMs) operation.invokedMs = this.#nowMs();
    this.#operations.push(operation);
    return (outcome, output) => {
      operation.outcome = outcome;
      operation.output = output;
      if (this.#nowMs) operation.returnedMs = this.#nowMs();
      const event = this.#events++;
      operation.heard = event;
      if (outcome !== 'unknown') operation.returned = event;
    };
  }

  /** In the order of invocation. */
  get operations(): readonly Operation[] {
    return this.#operations;
  }

  count(outcome: OperationOutcome): number {
    return this.#operations.filter(operation => operation.outcome === outcome).length;
  }
}

export interface JepsenEvent {
  readonly index: number;
  /** Nanoseconds, where the history has times. */
  readonly time?: number;
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly process: number;
  readonly f: string;
  readonly value: unknown;
}

/**
 * The history as Jepsen and its checkers know it: one event per invocation and answer, values as [key, value] pairs, whole
 * transactions (`txn`) as Elle's micro-operations. A client whose operation is of unknown fate goes on as a new process.
 */
export function jepsenEvents(operations: readonly Operation[]): JepsenEvent[] {
  const events: (Omit<JepsenEvent, 'index'> & { readonly at: number })[] = [];
  const processes = new Map<string, number>();
  let next = 0;
  const note = (
    at: number,
    type: JepsenEvent['type'],
    { kind, key }: Operation,
    process: number,
    value: unknown,
    ms?: number,
  ) =>
    events.push({
      at,
      ...(ms !== undefined && { time: Math.round(ms * 1e6) }),
      type,
      process,
      f: kind,
      value: kind === 'txn' ? value : [key, value ?? null],
    });
  for (const operation of operations.toSorted((a, b) => a.invoked - b.invoked)) {
    const { process: client, input, output, outcome, invoked, invokedMs, returnedMs } = operation;
    const process = processes.get(client) ?? next++;
    processes.set(client, process);
    note(invoked, 'invoke', operation, process, input, invokedMs);
    const type = outcome === 'unknown' ? 'info' : outcome;
    note(
      operation.heard ?? operation.returned,
      type,
      operation,
      process,
      (outcome === 'ok' ? output : undefined) ?? input,
      returnedMs,
    );
    if (outcome === 'unknown') processes.delete(client);
  }
  return events
    .sort((a, b) => (a.at === b.at ? 0 : a.at - b.at))
    .map(({ at: _, ...event }, index) => ({ index, ...event }));
}

export function toEdn(operations: readonly Operation[]): string {
  const lines = jepsenEvents(operations).map(({ index, time, type, process, f, value }) => {
    const when = time === undefined ? '' : `, :time ${time}`;
    const shown = f === 'txn' ? edn((value as [string, ...unknown[]][]).map(ednMicroOperation)) : edn(value);
    return `{:index ${index}${when}, :type :${type}, :process ${process}, :f :${f}, :value ${shown}}`;
  });
  return `${lines.join('\n')}\n`;
}

function ednMicroOperation([kind, ...rest]: readonly [string, ...unknown[]]): unknown[] {
  return [new Keyword(kind), ...rest];
}
