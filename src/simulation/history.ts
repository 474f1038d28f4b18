/**
 * What concurrent clients asked and heard, in the order of these events: the material that the checkers judge. Events
 * are numbered, not timed, because two at one instant would have no order.
 * `ok` took effect between its two events. `fail` never took effect and never will. `unknown` (no answer, or one that
 * does not say) may take effect at any time after its invocation, or never.
 */
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
}

export interface Invocation {
  readonly process: string;
  readonly kind: string;
  readonly key: string;
  readonly input?: unknown;
}

export class History {
  readonly #operations: { -readonly [K in keyof Operation]: Operation[K] }[] = [];
  #events = 0;

  /** Records that an operation begins; call the result when its answer is there. Without an answer it stays `unknown`. */
  invoke(invocation: Invocation): (outcome: OperationOutcome, output?: unknown) => void {
    const operation = {
      process: invocation.process,
      kind: invocation.kind,
      key: invocation.key,
      input: invocation.input,
      output: undefined as unknown,
      outcome: 'unknown' as OperationOutcome,
      invoked: this.#events++,
      returned: Number.POSITIVE_INFINITY,
    };
    this.#operations.push(operation);
    return (outcome, output) => {
      operation.outcome = outcome;
      operation.output = output;
      const event = this.#events++;
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

interface JepsenEvent {
  readonly index: number;
  readonly type: 'invoke' | 'ok' | 'fail' | 'info';
  readonly process: string;
  readonly f: string;
  readonly value: unknown;
}

/** The history as Jepsen and its checkers know it: one event per invocation and answer, values as [key, value] pairs. */
export function jepsenEvents(operations: readonly Operation[]): JepsenEvent[] {
  const events: JepsenEvent[] = [];
  for (const { process, kind, key, input, output, outcome, invoked, returned } of operations) {
    events.push({ index: invoked, type: 'invoke', process, f: kind, value: [key, input ?? null] });
    if (outcome === 'unknown') continue;
    const value = [key, (outcome === 'ok' ? output : undefined) ?? input ?? null];
    events.push({ index: returned, type: outcome, process, f: kind, value });
  }
  return events.sort((a, b) => a.index - b.index).map((event, index) => ({ ...event, index }));
}

export function toEdn(operations: readonly Operation[]): string {
  const lines = jepsenEvents(operations).map(
    ({ index, type, process, f, value }) =>
      `{:index ${index}, :type :${type}, :process ${edn(process)}, :f :${f}, :value ${edn(value)}}`,
  );
  return `${lines.join('\n')}\n`;
}

function edn(value: unknown): string {
  if (value === null || value === undefined) return 'nil';
  if (Array.isArray(value)) return `[${value.map(edn).join(' ')}]`;
  if (typeof value === 'object') {
    return `{${Object.entries(value)
      .map(([name, field]) => `:${name} ${edn(field)}`)
      .join(', ')}}`;
  }
  return JSON.stringify(value);
}
