/**
 * Paths and queries carry text only. This reads from a JSON Schema what each field of the input wants to be, and turns text into it. Text
 * that does not look like what is wanted stays text: the instance then refuses it, naming the field.
 */
import type { JsonSchema } from '../core/schema.ts';

export type Kind = 'text' | 'number' | 'boolean';
export interface FieldKind {
  readonly kind: Kind;
  /** The field takes many values: every occurrence in the query counts. */
  readonly many: boolean;
}
export type FieldKinds = ReadonlyMap<string, FieldKind>;

/** Kinds of the top-level fields of an object schema (also through allOf, anyOf, oneOf and local $ref). */
export function fieldKinds(schema: JsonSchema | undefined): FieldKinds {
  const kinds = new Map<string, FieldKind>();
  if (schema) gather(schema, schema, kinds, 0);
  return kinds;
}

export function coerce(text: string, kind: Kind): string | number | boolean {
  if (kind === 'number' && /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) {
    const value = Number(text);
    return Number.isFinite(value) ? value : text;
  }
  if (kind === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

function gather(schema: JsonSchema, root: JsonSchema, kinds: Map<string, FieldKind>, depth: number): void {
  if (depth > 8) return;
  const resolved = resolve(schema, root);
  for (const [name, field] of Object.entries((resolved.properties ?? {}) as Record<string, JsonSchema>)) {
    if (!kinds.has(name)) kinds.set(name, fieldKind(field, root));
  }
  for (const part of parts(resolved)) gather(part, root, kinds, depth + 1);
}

function fieldKind(field: JsonSchema, root: JsonSchema): FieldKind {
  const types = new Set<string>();
  let items: JsonSchema | undefined;
  const look = (schema: JsonSchema, depth: number): void => {
    if (depth > 8) return;
    const resolved = resolve(schema, root);
    for (const type of typesOf(resolved)) types.add(type);
    if (isSchema(resolved.items)) items ??= resolved.items;
    for (const part of parts(resolved)) look(part, depth + 1);
  };
  look(field, 0);
  // What may also be text stays text: '007' must not become 7 by chance.
  if (types.has('array') && !types.has('string')) {
    return { kind: items ? fieldKind(items, root).kind : 'text', many: true };
  }
  if (types.has('string')) return { kind: 'text', many: types.has('array') };
  if (types.has('number') || types.has('integer')) return { kind: 'number', many: false };
  return { kind: types.has('boolean') ? 'boolean' : 'text', many: false };
}

function typesOf(schema: JsonSchema): readonly string[] {
  if (typeof schema.type === 'string') return [schema.type];
  if (Array.isArray(schema.type)) return schema.type as string[];
  const values = 'const' in schema ? [schema.const] : Array.isArray(schema.enum) ? schema.enum : [];
  return values.map(value => typeof value);
}

function parts(schema: JsonSchema): JsonSchema[] {
  return [schema.allOf, schema.anyOf, schema.oneOf].flatMap(list => (Array.isArray(list) ? list.filter(isSchema) : []));
}

function resolve(schema: JsonSchema, root: JsonSchema): JsonSchema {
  const ref = schema.$ref;
  if (typeof ref !== 'string' || !ref.startsWith('#')) return schema;
  let at: unknown = root;
  for (const key of ref.slice(1).split('/').filter(Boolean)) {
    at = isSchema(at) && Object.hasOwn(at, key) ? at[key] : undefined;
  }
  return isSchema(at) ? at : {};
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
