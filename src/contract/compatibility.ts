/**
 * Whether callers and data of an old contract still work with the new one (for its events see evolution.ts). Pure. Additions pass; what is removed or narrowed breaks. Judged by who reads: a
 * caller writes inputs (the new one must take all that the old took) and reads outputs (the new one must give all that the old gave). What
 * this cannot compare (patterns, unions that changed) counts as a break: a false alarm costs a look, a missed break costs an outage.
 */
import { limits } from '../core/limits.ts';
import type { JsonSchema } from '../core/schema.ts';
import type { Descriptor, MethodForm, ShapeForm } from './descriptor.ts';

export interface BreakingChange {
  /** `inventory.reserve.input.qty`. */
  readonly where: string;
  readonly what: string;
}
type Report = (where: string, what: string) => void;
type Side = 'input' | 'output';

export function breakingChanges(before: Descriptor, after: Descriptor): BreakingChange[] {
  const found: BreakingChange[] = [];
  const report: Report = (where, what) => void found.push({ where, what });
  for (const method of before.methods) {
    const where = `${before.service}.${method.name}`;
    const next = after.methods.find(({ name }) => name === method.name);
    if (next) compareMethod(method, next, where, report);
    else report(where, 'the method was removed');
  }
  if (before.keyspace && !after.keyspace) report(before.service, 'it keeps no data any more');
  return found;
}

function compareMethod(before: MethodForm, after: MethodForm, where: string, report: Report): void {
  if (before.http !== undefined && before.http !== after.http) report(where, `the route '${before.http}' was removed`);
  if (before.public && !after.public) report(where, 'it is no longer public');
  if (before.raw !== after.raw) report(where, 'raw changed');
  const mib = limits.bodyBytesMax;
  if ((after.bodyBytesMax ?? mib) < (before.bodyBytesMax ?? mib)) report(where, 'takes smaller bodies than before');
  if (before.idempotent && !after.idempotent) report(where, 'it is no longer idempotent: callers repeat it');
  if (before.key.join() !== after.key.join()) report(where, `the key changed from [${before.key}] to [${after.key}]`);
  compareShape(before.input, after.input, 'input', where, report);
  compareShape(before.output, after.output, 'output', where, report);
  for (const [code, error] of Object.entries(before.errors)) {
    const next = after.errors[code];
    // An error that no longer happens breaks nobody.
    if (!next) continue;
    if (next.status !== error.status) report(`${where}.errors.${code}`, `the status changed from ${error.status}`);
    if (error.data && !next.data) report(`${where}.errors.${code}`, 'its data was removed');
    else if (error.data && next.data) compareSchema(error.data, next.data, 'output', `${where}.errors.${code}`, report);
  }
}

function compareShape(
  a: ShapeForm | undefined,
  b: ShapeForm | undefined,
  side: Side,
  where: string,
  report: Report,
): void {
  const place = `${where}.${side}`;
  if (!a && !b) return;
  if (!a) {
    if (side === 'input' && requiredOf(b!.schema).length > 0) report(place, 'an input became required');
    return;
  }
  if (!b) {
    if (side === 'output') report(place, 'the output was removed');
    return;
  }
  if (a.stream !== b.stream) report(place, a.stream ? 'it is no longer a stream' : 'it became a stream');
  compareSchema(a.schema, b.schema, side, place, report);
}

/** Compares by which values may appear: inputs may only widen, outputs may only narrow (and gain fields). */
function compareSchema(before: JsonSchema, after: JsonSchema, side: Side, where: string, report: Report): void {
  if (JSON.stringify(before) === JSON.stringify(after)) return;
  const [small, large] = side === 'input' ? [before, after] : [after, before];
  const missing = [...typesOf(small)].filter(type => !covers(typesOf(large), type));
  if (missing.length > 0) {
    report(where, side === 'input' ? `no longer takes ${missing.join(', ')}` : `may now be ${missing.join(', ')}`);
    return;
  }
  compareValues(small, large, side, where, report);
  compareFields(before, after, side, where, report);
  if (isSchema(before.items) && isSchema(after.items))
    compareSchema(before.items, after.items, side, `${where}[]`, report);
  for (const word of [
    'anyOf',
    'oneOf',
    'allOf',
    'not',
    'pattern',
    'format',
    'multipleOf',
    'additionalProperties',
    '$ref',
  ]) {
    if (typesOf(before).has('object') && word === 'additionalProperties' && !isSchema(before[word])) continue;
    if (JSON.stringify(small[word]) !== JSON.stringify(large[word]) && large[word] !== undefined)
      report(where, `'${word}' changed in a way that cannot be judged`);
  }
}

function compareValues(small: JsonSchema, large: JsonSchema, side: Side, where: string, report: Report): void {
  const allowed = valuesOf(large);
  if (allowed) {
    const values = valuesOf(small);
    const lost = values?.filter(value => !allowed.includes(value));
    if (!lost) report(where, side === 'input' ? 'takes only some values now' : 'may now be any value');
    else if (lost.length > 0)
      report(where, `${side === 'input' ? 'no longer takes' : 'may now be'} ${lost.join(', ')}`);
  }
  for (const [word, sign] of bounds) {
    const limit = large[word];
    const had = small[word];
    if (typeof limit !== 'number') continue;
    if (typeof had !== 'number' || had * sign > limit * sign)
      report(where, `'${word}' changed: ${side === 'input' ? 'less is taken' : 'more may come'}`);
  }
}

/** Sign: +1 where a larger figure allows more. */
export const bounds: readonly (readonly [string, 1 | -1])[] = [
  ['maximum', 1],
  ['exclusiveMaximum', 1],
  ['maxLength', 1],
  ['maxItems', 1],
  ['minimum', -1],
  ['exclusiveMinimum', -1],
  ['minLength', -1],
  ['minItems', -1],
];

function compareFields(before: JsonSchema, after: JsonSchema, side: Side, where: string, report: Report): void {
  const fields = fieldsOf(before);
  const next = fieldsOf(after);
  const required = new Set(requiredOf(before));
  const nextRequired = new Set(requiredOf(after));
  for (const [name, field] of Object.entries(fields)) {
    const place = `${where}.${name}`;
    const successor = next[name];
    if (!successor) report(place, 'the field was removed');
    else compareSchema(field, successor, side, place, report);
    if (side === 'output' && successor && required.has(name) && !nextRequired.has(name))
      report(place, 'it may now be absent');
  }
  if (side === 'output') return;
  for (const name of nextRequired) if (!required.has(name)) report(`${where}.${name}`, 'the field became required');
}

export function typesOf(schema: JsonSchema): ReadonlySet<string> {
  if (typeof schema.type === 'string') return new Set([schema.type]);
  return new Set(Array.isArray(schema.type) ? (schema.type as string[]) : ['anything']);
}
export function covers(types: ReadonlySet<string>, type: string): boolean {
  return types.has(type) || types.has('anything') || (type === 'integer' && types.has('number'));
}
export function valuesOf(schema: JsonSchema): string[] | undefined {
  if ('const' in schema) return [JSON.stringify(schema.const)];
  return Array.isArray(schema.enum) ? schema.enum.map(value => JSON.stringify(value)) : undefined;
}
export function fieldsOf(schema: JsonSchema): Readonly<Record<string, JsonSchema>> {
  return isSchema(schema.properties) ? (schema.properties as Record<string, JsonSchema>) : {};
}
export function requiredOf(schema: JsonSchema): readonly string[] {
  return Array.isArray(schema.required) ? (schema.required as string[]) : [];
}
export function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
