/**
 * Whether a value fits a JSON Schema, as far as a union needs it to tell its members apart: types, constants, required properties, and
 * properties that a closed object does not have. It does not validate: patterns and bounds are the service's to check.
 */

import type { JsonSchema } from '../core/schema.ts';
import { fieldsOf, isSchema, requiredOf } from './compatibility.ts';

const depthMax = 32;

export function fits(schema: unknown, value: unknown, root: JsonSchema, depth = 0): boolean {
  if (schema === false) return false;
  if (!isSchema(schema) || depth > depthMax) return true;
  const below = (part: unknown, of: unknown): boolean => fits(part, of, root, depth + 1);
  if (typeof schema.$ref === 'string') return below(refOf(root, schema.$ref), value);
  if ('const' in schema && schema.const !== value) return false;
  if (Array.isArray(schema.enum) && !schema.enum.includes(value)) return false;
  const any = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(any) && !any.some(part => below(part, value))) return false;
  if (Array.isArray(schema.allOf) && !schema.allOf.every(part => below(part, value))) return false;
  const types = typeof schema.type === 'string' ? [schema.type] : Array.isArray(schema.type) ? schema.type : undefined;
  if (types && !types.some(type => isOf(type as string, value))) return false;
  if (Array.isArray(value)) {
    const first = Array.isArray(schema.prefixItems) ? schema.prefixItems : [];
    return value.every((item, at) => (at < first.length ? below(first[at], item) : below(schema.items, item)));
  }
  if (typeof value === 'object' && value !== null) {
    const fields = fieldsOf(schema);
    const given = value as Record<string, unknown>;
    if (requiredOf(schema).some(name => given[name] === undefined)) return false;
    return Object.entries(given).every(([name, part]) => {
      if (part === undefined) return true;
      return Object.hasOwn(fields, name) ? below(fields[name], part) : below(schema.additionalProperties, part);
    });
  }
  return true;
}

/** What `#/$defs/Line` names; `#` is the root itself. */
export function refOf(root: JsonSchema, ref: string): JsonSchema {
  let at: unknown = root;
  for (const part of ref.split('/').slice(1)) {
    const name = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
    at = isSchema(at) && Object.hasOwn(at, name) ? at[name] : undefined;
  }
  return isSchema(at) ? at : {};
}

function isOf(type: string, value: unknown): boolean {
  if (type === 'null') return value === null;
  if (type === 'array') return Array.isArray(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  return typeof value === type;
}
