/**
 * Whether two versions of a topic's event can live in one log. Pure. Events are stored, and publishers and subscribers are
 * renewed at different times, so by default both must hold (Avro's and Confluent's names): `backward`, the new schema reads what
 * was written under the old one, and `forward`, the old one reads what the new one writes. What is written is a schema's
 * output, what is read is its input: a field with a default need not be in old events. Objects that are not strict take fields
 * they do not know. What this cannot compare (patterns that changed) counts as unreadable: a false alarm costs a look.
 */
import type { JsonSchema } from '../core/schema.ts';
import {
  type BreakingChange,
  bounds,
  covers,
  fieldsOf,
  isSchema,
  requiredOf,
  typesOf,
  valuesOf,
} from './compatibility.ts';
import type { Descriptor, TopicForm } from './descriptor.ts';

/** What one version of one service says of a topic. */
export interface SaidTopic {
  readonly service: string;
  readonly topic: TopicForm;
}

/** Changes that must not happen between two versions of one topic; `after` says which kind of change it allows. */
export function topicChanges(before: SaidTopic, after: SaidTopic): BreakingChange[] {
  const [old, now] = [before.topic, after.topic];
  const where = `topic ${old.name}`;
  const found: BreakingChange[] = [];
  if (old.key !== now.key)
    found.push({
      where,
      what: `the key changed from '${old.key}' to '${now.key}', but events are in the order of the old one`,
    });
  if (old.partitions !== now.partitions)
    found.push({ where, what: `the number of partitions changed from ${old.partitions} to ${now.partitions}` });
  const mode = now.compatibility ?? 'full';
  const reportFor =
    (reader: string): Report =>
    (place, what) =>
      void found.push({ where: place, what: `${reader}: ${what}` });
  if ((mode === 'full' || mode === 'backward') && counts(before, after))
    read(old.schema, now.reads ?? now.schema, where, reportFor('old events cannot be read'));
  if ((mode === 'full' || mode === 'forward') && counts(after, before))
    read(now.schema, old.reads ?? old.schema, where, reportFor(`'${before.service}' as it was cannot read new events`));
  return found;
}

/**
 * Whether events are written as `writer` says, for all that `reader` can know: it publishes them, or is a version of the same
 * service. A subscriber of another service may well say only as much of an event as it reads.
 */
function counts(writer: SaidTopic, reader: SaidTopic): boolean {
  return writer.topic.published === true || (reader.topic.published !== true && writer.service === reader.service);
}

type Report = (where: string, what: string) => void;

/** Reports why a value written under `writer` may not pass `reader`. */
function read(writer: JsonSchema, reader: JsonSchema, where: string, report: Report): void {
  const written = membersOf(writer);
  const taken = membersOf(reader);
  if (written.length === 1 && taken.length === 1) {
    readOne(written[0]!, taken[0]!, where, report);
    return;
  }
  for (const member of written) {
    const readable = taken.some(candidate => {
      let fits = true;
      readOne(member, candidate, where, () => {
        fits = false;
      });
      return fits;
    });
    if (!readable) report(where, `it may be ${JSON.stringify(member)}, which is not taken`);
  }
}

/** A union's members; anything else is a union of one. */
function membersOf(schema: JsonSchema): readonly JsonSchema[] {
  const members = schema.anyOf ?? schema.oneOf;
  return Array.isArray(members) ? (members as JsonSchema[]) : [schema];
}

function readOne(writer: JsonSchema, reader: JsonSchema, where: string, report: Report): void {
  const missing = [...typesOf(writer)].filter(type => !covers(typesOf(reader), type));
  if (missing.length > 0) {
    report(where, `it may be ${missing.join(', ')}, which is not taken`);
    return;
  }
  readValues(writer, reader, where, report);
  readFields(writer, reader, where, report);
  if (isSchema(reader.items) && isSchema(writer.items)) read(writer.items, reader.items, `${where}[]`, report);
  for (const word of ['pattern', 'format', 'multipleOf', 'propertyNames', 'prefixItems', 'not', 'allOf', '$ref'])
    if (reader[word] !== undefined && JSON.stringify(writer[word]) !== JSON.stringify(reader[word]))
      report(where, `'${word}' differs in a way that cannot be judged`);
}

function readValues(writer: JsonSchema, reader: JsonSchema, where: string, report: Report): void {
  const allowed = valuesOf(reader);
  if (allowed) {
    const lost = valuesOf(writer)?.filter(value => !allowed.includes(value));
    if (!lost) report(where, `it may be any value, but only ${allowed.join(', ')} are taken`);
    else if (lost.length > 0) report(where, `it may be ${lost.join(', ')}, which is not taken`);
    return;
  }
  // Named values are within their own bounds by definition of the schema that names them.
  if (valuesOf(writer)) return;
  for (const [word, sign] of bounds) {
    const limit = reader[word];
    const had = writer[word];
    if (typeof limit === 'number' && (typeof had !== 'number' || had * sign > limit * sign))
      report(where, `'${word}' is narrower (${limit})`);
  }
}

function readFields(writer: JsonSchema, reader: JsonSchema, where: string, report: Report): void {
  const written = fieldsOf(writer);
  const taken = fieldsOf(reader);
  const always = new Set(requiredOf(writer));
  for (const name of requiredOf(reader)) {
    if (!(name in written)) report(`${where}.${name}`, 'the field is needed, but not written');
    else if (!always.has(name)) report(`${where}.${name}`, 'the field is needed, but may be absent');
  }
  for (const [name, field] of Object.entries(written)) {
    const place = `${where}.${name}`;
    if (taken[name]) read(field, taken[name], place, report);
    else if (reader.additionalProperties === false)
      report(place, 'the field is not known, and a strict object refuses it');
    else if (isSchema(reader.additionalProperties)) read(field, reader.additionalProperties, place, report);
  }
  if (isSchema(reader.additionalProperties) && isSchema(writer.additionalProperties))
    read(writer.additionalProperties, reader.additionalProperties, `${where}{}`, report);
}

/** Of all topics of services: against what was promised, and against one another where two services say a topic differently. */
export function brokenTopics(promised: readonly Descriptor[], now: readonly Descriptor[]): BreakingChange[] {
  const found = new Map<string, BreakingChange>();
  const before = promised.flatMap(saidBy);
  const seen: SaidTopic[] = [];
  for (const said of now.flatMap(saidBy)) {
    const former = before.filter(({ topic }) => topic.name === said.topic.name);
    const others = seen.filter(({ topic }) => topic.name === said.topic.name);
    const changes = [
      ...former.flatMap(old => topicChanges(old, said)),
      ...others.flatMap(other => [...topicChanges(other, said), ...topicChanges(said, other)]),
    ];
    for (const change of changes) found.set(`${change.where}: ${change.what}`, change);
    seen.push(said);
  }
  return [...found.values()];
}

/** All but Tandem's own topics: what a service says of those is how much of them it reads. */
export function saidBy({ service, topics }: Descriptor): SaidTopic[] {
  return topics.filter(({ name }) => !/^(?:dead|schedule)\./.test(name)).map(topic => ({ service, topic }));
}

/** Whether two say the same, whatever changes they allow. */
export function saysSame(a: SaidTopic, b: SaidTopic): boolean {
  const text = ({ service, topic: { name, key, partitions, schema, reads, published } }: SaidTopic): string =>
    JSON.stringify([service, name, key, partitions, schema, reads ?? null, published ?? false]);
  return text(a) === text(b);
}
