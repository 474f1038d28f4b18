/** What the builder of protobuf asks of a JSON Schema: its alternatives, whether they are an enum, which scalar carries it. */
import type { JsonSchema } from '../core/schema.ts';
import { fieldsOf, isSchema, requiredOf, valuesOf } from './compatibility.ts';
import type { ProtoField, ProtoScalar } from './proto-file.ts';
import { snake } from './proto-names.ts';
import { fits, refOf } from './schema-fit.ts';

type ScalarKind = Pick<ProtoField, 'type' | 'url' | 'constant'>;

/** The alternatives of a schema, null apart. */
export function partsOf(given: unknown, root?: JsonSchema): { parts: JsonSchema[]; nullable: boolean } {
  const schema = isSchema(given) ? given : {};
  const listed = schema.anyOf ?? schema.oneOf;
  let parts: JsonSchema[];
  if (Array.isArray(listed) && !('properties' in schema)) parts = listed.filter(isSchema);
  else if (Array.isArray(schema.type)) parts = schema.type.map(type => ofType(schema, type as string));
  else parts = [schema];
  const flat = parts.flatMap(part => (part === schema ? [part] : partsOf(part, root).parts));
  const kept = flat.filter(part => part.type !== 'null' && part.const !== null);
  const inner = parts.some(part => part !== schema && partsOf(part, root).nullable);
  const nullable = kept.length < flat.length || inner;
  return { parts: kept.map(part => mergedAll(part)), nullable };
}

function ofType(schema: JsonSchema, type: string): JsonSchema {
  if (!Array.isArray(schema.enum)) return { ...schema, type };
  return { ...schema, type, enum: schema.enum.filter(value => fits({ type }, value, {})) };
}

/** An intersection of objects is one object with the fields of all. */
function mergedAll(schema: JsonSchema): JsonSchema {
  if (!Array.isArray(schema.allOf) || schema.type !== undefined) return schema;
  const all = schema.allOf.filter(isSchema);
  if (!all.every(part => part.type === 'object' && isSchema(part.properties))) return {};
  return {
    type: 'object',
    properties: Object.assign({}, ...all.map(fieldsOf)),
    required: all.flatMap(requiredOf),
  };
}

export function isAny(parts: readonly JsonSchema[]): boolean {
  return (
    parts.length === 0 || parts.some(part => part.type === undefined && part.$ref === undefined && !valuesOf(part))
  );
}

export function isEnum(parts: readonly JsonSchema[]): boolean {
  return parts.length > 0 && parts.every(part => valuesOf(part)?.every(text => text.startsWith('"')));
}

export function isRecordWithFields(schema: JsonSchema): boolean {
  return schema.type === 'object' && (isSchema(schema.properties) || schema.additionalProperties === false);
}

export function scalarOf(schema: JsonSchema, locked: string | undefined): ScalarKind | undefined {
  switch (schema.type) {
    case 'boolean':
      return { type: 'bool' };
    case 'number':
      return { type: 'double' };
    case 'integer': {
      const natural = integerOf(schema);
      const kept = locked === 'int64' || locked === 'double' ? locked : natural;
      return { type: kept };
    }
    case 'string': {
      const bytes = schema.contentEncoding === 'base64' || schema.contentEncoding === 'base64url';
      if (!bytes || locked === 'string') return { type: 'string' };
      return { type: 'bytes', url: schema.contentEncoding === 'base64url' };
    }
    default:
      return undefined;
  }
}

function integerOf({ minimum, maximum }: JsonSchema): ProtoScalar {
  if (typeof minimum !== 'number' || typeof maximum !== 'number') return 'int64';
  if (minimum >= -2_147_483_648 && maximum <= 2_147_483_647) return 'int32';
  return minimum >= 0 && maximum <= 4_294_967_295 ? 'uint32' : 'int64';
}

export function elementOf(locked: string | undefined): string | undefined {
  if (locked?.startsWith('repeated ')) return locked.slice('repeated '.length);
  return locked?.startsWith('map<string, ') ? locked.slice('map<string, '.length, -1) : undefined;
}

/** The property whose constant tells all members apart. */
export function tagOf(parts: readonly JsonSchema[], root: JsonSchema): string | undefined {
  const objects = parts.map(part => resolve(part, root));
  const names = Object.keys(fieldsOf(objects[0]!));
  return names.find(name => {
    const values = objects.map(part => fieldsOf(part)[name]?.const);
    return values.every(value => typeof value === 'string') && new Set(values).size === parts.length;
  });
}

export function resolve(part: JsonSchema, root: JsonSchema): JsonSchema {
  return typeof part.$ref === 'string' ? refOf(root, part.$ref) : part;
}

export function memberName(part: JsonSchema, resolved: JsonSchema): string {
  if (typeof part.$ref === 'string' && part.$ref.startsWith('#/$defs/') && !part.$ref.includes('__'))
    return snake(part.$ref.slice('#/$defs/'.length));
  const type = resolved.type;
  if (type === 'object') return isRecordWithFields(resolved) ? 'object' : 'map';
  return typeof type === 'string' ? `${type}_value` : 'value';
}

/** A definition with all that it refers to, as text. */
export function closureOf(root: JsonSchema, ref: string, seen: Set<string> = new Set()): string {
  if (seen.has(ref)) return '';
  seen.add(ref);
  // What goes in and what comes out differ in this alone.
  const text = JSON.stringify(refOf(root, ref)).replaceAll(/,?"additionalProperties":false/g, '');
  const inner = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, target]) => closureOf(root, target!, seen));
  return `${ref}=${text}${inner.join('')}`;
}
