/**
 * From an input to the key that places a call, and from a key to the part of it that is hashed. Rows that belong
 * together share the text before the first `/`: `order-7`, `order-7/line-1` and `order-7/line-2` live in one partition.
 */
import { TandemError } from '../core/errors.ts';

/** The key of a call: the input's key fields joined by `/`. @throws INVALID when a field is missing. */
export function keyOf(fields: readonly string[], input: unknown): string {
  if (fields.length === 1) return part(fields[0]!, input);
  return fields.map(field => part(field, input)).join('/');
}

/** What is hashed of a key: all before its first `/`. */
export function placingPart(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key : key.slice(0, slash);
}

function part(field: string, input: unknown): string {
  const value = (input as Record<string, unknown> | null | undefined)?.[field];
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new TandemError('INVALID', `the key field '${field}' is missing or neither text nor number`, {
    details: { issues: [{ path: field, message: 'required: it is the key of this call' }] },
  });
}
