/** Sequential models: what one key would answer if operations came one at a time. */
import type { Operation } from './history.ts';

export interface Model<S> {
  readonly initial: S;
  /** The state after the operation; `impossible` when its output (if it has one) contradicts the state. */
  step(state: S, operation: Operation): S | typeof impossible;
  /** Equal texts for equal states. */
  fingerprint(state: S): string;
}

export const impossible: unique symbol = Symbol('impossible');

/**
 * One value. `read` gives it, `write` sets its input, `cas` takes `{ from, to }` and gives whether it was `from`, `add`
 * takes a number and gives the sum (or nothing).
 */
export function registerModel(initial: unknown = null): Model<unknown> {
  return {
    initial,
    fingerprint: state => JSON.stringify(state) ?? 'undefined',
    step(state, { kind, input, output, outcome }) {
      const known = outcome === 'ok';
      if (kind === 'read') return !known || same(state, output) ? state : impossible;
      if (kind === 'write') return input;
      if (kind === 'add') {
        const sum = Number(state ?? 0) + Number(input);
        return known && output !== undefined && output !== sum ? impossible : sum;
      }
      if (kind === 'cas') {
        const { from, to } = input as { from: unknown; to: unknown };
        const won = same(state, from);
        if (known && output !== won) return impossible;
        return won ? to : state;
      }
      throw new Error(`the register model has no operation '${kind}'`);
    },
  };
}

/** A list: `append` adds its input at the end and gives nothing or the list, `read` gives the list. */
export const listModel: Model<readonly unknown[]> = {
  initial: [],
  fingerprint: state => JSON.stringify(state),
  step(state, { kind, input, output, outcome }) {
    const next = kind === 'append' ? [...state, input] : state;
    return outcome === 'ok' && output !== undefined && !same(next, output) ? impossible : next;
  },
};

function same(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b));
}
