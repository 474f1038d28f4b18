/**
 * From a service, as its author wrote it, to the JSON that its instances publish. All defaults of a method are decided
 * here, once, so that gateways, callers and tools only read them. Not for browsers (it hashes with node:crypto).
 */
import { createHash } from 'node:crypto';
import { parseCron } from '../core/cron.ts';
import { durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { type AnySchema, type JsonSchema, jsonSchema } from '../core/schema.ts';
import { balanceForm } from './balance.ts';
import type { AnyContract } from './call.ts';
import type { Service } from './contract.ts';
import type { Descriptor, MethodForm, ShapeForm, TopicForm } from './descriptor.ts';
import type { ErrorSpec, MethodSpec, Stream } from './method.ts';
import type { ProtoLock } from './proto-lock.ts';
import { type ScheduleSpec, scheduleTopic } from './schedule.ts';
import type { Topic } from './topic.ts';

/** @throws UNSUPPORTED, naming service, method and field, when JSON cannot carry a schema. */
export function describeService({ contract, definition }: Service, proto?: ProtoLock): Descriptor {
  const service = contract.name as string;
  const schedules = Object.keys(definition.schedules ?? {}).map(name => scheduleForm(service, name, definition));
  const subscriptions = [
    ...(Object.entries(definition.subscriptions ?? {}) as [string, { topic: Topic }][]),
    ...schedules.map(({ name }): [string, { topic: Topic }] => [name, { topic: scheduleTopic(service, name) }]),
  ];
  const hasData = Object.keys(definition.tables ?? {}).length > 0 || subscriptions.length > 0;
  const topics = new Map<string, Topic>();
  for (const { topic } of subscriptions.map(([, spec]) => spec)) topics.set(topic.name, topic);
  for (const topic of definition.publishes ?? []) topics.set(topic.name, topic);
  const form = {
    format: 1 as const,
    service,
    methods: methodForms(contract, definition.methods),
    keyspace: hasData
      ? {
          partitions: definition.partitions ?? limits.partitions,
          replicas: definition.replicas ?? limits.replicas,
        }
      : undefined,
    ...(definition.balance !== undefined && { balance: balanceForm(service, definition.balance) }),
    topics: [...topics.values()].map(topic => topicForm(topic, definition.publishes?.includes(topic) ?? false)),
    subscriptions: subscriptions.map(([name, { topic }]) => ({ name, topic: topic.name })),
    ...(proto && { proto }),
    ...(schedules.length > 0 && { schedules }),
  };
  return { ...form, hash: hashOf(form) };
}

/** @throws INVALID: a schedule that no clock can follow is refused before anything runs. */
function scheduleForm(
  service: string,
  name: string,
  definition: Service['definition'],
): NonNullable<Descriptor['schedules']>[number] {
  const {
    cron,
    timeZone = 'UTC',
    missed = 'once',
    key = name,
    timeout,
    run,
  } = definition.schedules![name] as ScheduleSpec<unknown, unknown, unknown>;
  try {
    if (!/^[a-z][a-zA-Z0-9]*$/.test(name)) throw new TandemError('INVALID', 'a name is camelCase letters and digits');
    if (typeof run !== 'function') throw new TandemError('INVALID', 'it needs `run: (fire, ctx) => …`');
    if (missed !== 'once' && missed !== 'each')
      throw new TandemError('INVALID', `missed: '${String(missed)}' is neither once nor each`);
    if (typeof key !== 'string' || key === '') throw new TandemError('INVALID', 'its key is a text that is not empty');
    if (timeout !== undefined) durationMs(timeout);
    parseCron(cron, timeZone);
  } catch (cause) {
    throw new TandemError('INVALID', `schedule '${service}.${name}': ${TandemError.from(cause).message}`, { cause });
  }
  return { name, cron, timeZone };
}

function topicForm({ name, key, partitions, schema, compatibility }: Topic, published: boolean): TopicForm {
  const [written, read] = [schemaForm(schema, 'output', `topic ${name}`), schemaForm(schema, 'input', `topic ${name}`)];
  return {
    name,
    key,
    partitions,
    schema: written,
    ...(canonical(written) !== canonical(read) && { reads: read }),
    ...(published && { published }),
    ...(compatibility && { compatibility }),
  };
}

/** The methods of a contract with all defaults filled in. `handlers` (of the definition) tells which have a fallback. */
export function methodForms(contract: AnyContract, handlers: Readonly<Record<string, unknown>> = {}): MethodForm[] {
  return Object.entries(contract.methods as Record<string, MethodSpec>).map(([name, spec]) =>
    methodForm(`${contract.name}.${name}`, name, spec, handlers[name]),
  );
}

function methodForm(where: string, name: string, spec: MethodSpec, handler: unknown): MethodForm {
  const get = spec.http?.startsWith('GET ') ?? false;
  const key = spec.key === undefined ? [] : typeof spec.key === 'string' ? [spec.key] : spec.key;
  const errors = Object.entries(spec.errors ?? {}).map(([code, error]) => [code, errorForm(where, code, error)]);
  return {
    name,
    ...(spec.input && { input: shapeForm(spec.input, 'input', where) }),
    ...(spec.output && { output: shapeForm(spec.output, 'output', where) }),
    errors: Object.fromEntries(errors),
    ...(spec.http && { http: spec.http }),
    public: spec.public ?? spec.http !== undefined,
    key,
    ...(spec.consistency && { consistency: spec.consistency }),
    reads: spec.consistency !== undefined || get,
    ...(spec.degrade && { degrade: spec.degrade }),
    timeoutMs: spec.timeout === undefined ? limits.callTimeoutMs : durationMs(spec.timeout),
    priority: spec.priority ?? 'default',
    idempotent: spec.idempotent ?? (key.length > 0 || get || spec.consistency !== undefined),
    raw: spec.raw ?? false,
    ...(spec.bodyBytesMax !== undefined && { bodyBytesMax: spec.bodyBytesMax }),
    fallback: typeof handler === 'object' && handler !== null && 'fallback' in handler,
  };
}

function errorForm(where: string, code: string, error: ErrorSpec): MethodForm['errors'][string] {
  if (!error.data) return { status: error.status };
  return { status: error.status, data: schemaForm(error.data, 'output', `${where} error ${code}`) };
}

function shapeForm(shape: AnySchema | Stream, io: 'input' | 'output', where: string): ShapeForm {
  const stream = 'kind' in shape && shape.kind === 'stream';
  const schema = stream ? (shape as Stream).item : (shape as AnySchema);
  return { stream, schema: schemaForm(schema, io, `${where} ${io}`) };
}

function schemaForm(schema: AnySchema, io: 'input' | 'output', where: string): JsonSchema {
  try {
    const { $schema: _dialect, ...form } = jsonSchema(schema, io, where);
    return form;
  } catch (thrown) {
    throw culprit(schema, io, where) ?? thrown;
  }
}

/**
 * Finds the field that JSON cannot carry. The standard has no way to walk a schema, so this looks for what libraries call the parts of
 * one (zod: shape, element, unwrap; valibot: entries, item); unknown libraries get the error of the whole schema.
 */
function culprit(schema: AnySchema, io: 'input' | 'output', where: string, depth = 0): TandemError | undefined {
  if (depth > 20) return undefined;
  for (const [name, part] of partsOf(schema)) {
    const place = name === '' ? where : `${where}.${name}`;
    try {
      jsonSchema(part, io, place);
    } catch (thrown) {
      return culprit(part, io, place, depth + 1) ?? (thrown as TandemError);
    }
  }
  return undefined;
}

function partsOf(schema: AnySchema): [string, AnySchema][] {
  const { shape, entries, element, item, options, unwrap } = schema as unknown as Record<string, unknown>;
  const fields = shape ?? entries;
  if (isObject(fields)) return Object.entries(fields).filter(isPart);
  const parts: [string, unknown][] = [['[]', element ?? item]];
  if (Array.isArray(options)) for (const option of options) parts.push(['', option]);
  if (typeof unwrap === 'function') parts.push(['', unwrap.call(schema)]);
  return parts.filter(isPart);
}

function isPart(entry: [string, unknown]): entry is [string, AnySchema] {
  return isObject(entry[1]) && '~standard' in entry[1];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function hashOf(form: unknown): string {
  return createHash('sha256').update(canonical(form)).digest('hex').slice(0, 16);
}

/** JSON with sorted keys, so that equal descriptors have equal text whatever the order they were written in. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part) =>
    isObject(part) && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
