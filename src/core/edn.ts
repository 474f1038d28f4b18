/** Values in EDN (edn-format.org), the notation of Clojure: what Jepsen and its checkers read. */

/** `:name`, which EDN has besides texts. */
export class Keyword {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** Objects become maps with keywords as keys; what EDN cannot say (functions, undefined) is nil. */
export function edn(value: unknown): string {
  if (value instanceof Keyword) return `:${value.name}`;
  if (Array.isArray(value)) return `[${value.map(edn).join(' ')}]`;
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .map(([name, field]) => `:${name} ${edn(field)}`)
      .join(', ')}}`;
  }
  if (value === null || value === undefined) return 'nil';
  return JSON.stringify(value) ?? 'nil';
}
