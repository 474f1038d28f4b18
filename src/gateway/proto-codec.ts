/**
 * JSON shapes to protobuf bytes and back, by what a ProtoMessage says. Lenient as protobuf is: unknown fields are passed over, the last of a
 * repeated single field counts, parts of one message are merged, lists come packed or not. What is missing of an input is left out,
 * so that the service's own validation names it; only numbers, texts and booleans have a zero that stands for absence.
 */

import { anyMessage, type ProtoField, type ProtoMessage } from '../contract/proto-file.ts';
import { TandemError } from '../core/errors.ts';
import { malformed, ProtoReader, ProtoWriter, wire } from './proto-wire.ts';

type Fields = Record<string, unknown>;

/** One for all: encoding never waits. */
const writer = new ProtoWriter();
/** Fields by number, made when a message is first read. */
const byNumber = new WeakMap<ProtoMessage, ReadonlyMap<number, ProtoField>>();
const anyDepthMax = 64;

/** The message's bytes after `room` free ones. @throws INTERNAL when the value is not of its schema. */
export function encode(message: ProtoMessage, value: unknown, room = 0): Buffer {
  writer.begin(room);
  writeMessage(message, value);
  return writer.finish();
}

/** @throws INVALID for bytes that are no such message. */
export function decode(message: ProtoMessage, bytes: Buffer, start = 0): unknown {
  return readMessage(message, new ProtoReader(bytes, start), undefined);
}

function writeMessage(message: ProtoMessage, value: unknown): void {
  switch (message.form) {
    case 'object': {
      if (typeof value !== 'object' || value === null) throw mismatch(message, value);
      for (const field of message.fields) {
        const part = field.rest ? restOf(message, value as Fields) : (value as Fields)[field.jsonName];
        if (part !== undefined) writeField(message, field, part);
      }
      return;
    }
    case 'value':
      if (value !== undefined) writeField(message, message.fields[0]!, value);
      return;
    case 'union': {
      for (const field of message.fields) {
        if (!field.fits!(value)) continue;
        writeSingle(message, field, value, true);
        return;
      }
      throw mismatch(message, value);
    }
    case 'any':
      writeAny(value, 0);
      return;
    default:
  }
}

function writeField(message: ProtoMessage, field: ProtoField, value: unknown): void {
  if (value === null) {
    if (field.nullable || field.label === 'optional') return;
    // A message that stands for a value may stand for null.
    const { form } = field.message ?? message;
    if (field.label !== 'one' || !field.message || (form !== 'value' && form !== 'any'))
      throw mismatch(message, value, field);
  }
  if (field.label === 'repeated') {
    if (!Array.isArray(value)) throw mismatch(message, value, field);
    writeList(message, field, value);
  } else if (field.label === 'map') {
    if (typeof value !== 'object' || value === null) throw mismatch(message, value, field);
    writeMap(message, field, value as Fields);
  } else writeSingle(message, field, value, field.label === 'optional');
}

function writeList(message: ProtoMessage, field: ProtoField, items: readonly unknown[]): void {
  if (items.length === 0) return;
  const { type } = field;
  if (type === 'string' || type === 'bytes' || type === 'message') {
    for (const item of items) writeSingle(message, field, item, true);
    return;
  }
  writer.tag(field.number, wire.bytes);
  const opened = writer.open();
  for (const item of items) writeNumber(message, field, item);
  writer.close(opened);
}

function writeMap(message: ProtoMessage, field: ProtoField, value: Fields): void {
  for (const key of Object.keys(value)) {
    const item = value[key];
    if (item === undefined) continue;
    writer.tag(field.number, wire.bytes);
    const opened = writer.open();
    writer.tag(1, wire.bytes);
    writer.text(key);
    writeSingle(message, field, item, true, 2);
    writer.close(opened);
  }
}

/** `present`: the zero value is written too. */
function writeSingle(
  message: ProtoMessage,
  field: ProtoField,
  value: unknown,
  present: boolean,
  number = field.number,
): void {
  switch (field.type) {
    case 'string':
      if (typeof value !== 'string') throw mismatch(message, value, field);
      if (value === '' && !present) return;
      writer.tag(number, wire.bytes);
      writer.text(value);
      return;
    case 'bytes': {
      if (typeof value !== 'string') throw mismatch(message, value, field);
      if (value === '' && !present) return;
      writer.tag(number, wire.bytes);
      writer.bytes(Buffer.from(value, 'base64'));
      return;
    }
    case 'message': {
      writer.tag(number, wire.bytes);
      const opened = writer.open();
      writeMessage(field.message!, value);
      writer.close(opened);
      return;
    }
    default:
      if (!present && (value === 0 || value === false) && !Object.is(value, -0)) return;
      writer.tag(number, field.type === 'double' ? wire.fixed64 : wire.varint);
      writeNumber(message, field, value);
  }
}

function writeNumber(message: ProtoMessage, field: ProtoField, value: unknown): void {
  if (field.type === 'enum') {
    const entry = field.enum!.values.find(candidate => candidate.value === value);
    if (!entry) throw mismatch(message, value, field);
    writer.int(entry.number);
  } else if (field.type === 'bool') {
    if (typeof value !== 'boolean') throw mismatch(message, value, field);
    writer.varint(value ? 1 : 0);
  } else if (typeof value !== 'number') throw mismatch(message, value, field);
  else if (field.type === 'double') writer.double(value);
  else if (Number.isSafeInteger(value)) writer.int(value);
  else throw mismatch(message, value, field);
}

/** Properties that have no field of their own. */
function restOf(message: ProtoMessage, value: Fields): Fields | undefined {
  let rest: Fields | undefined;
  for (const name of Object.keys(value)) {
    if (message.fields.some(field => !field.rest && field.jsonName === name)) continue;
    rest ??= Object.create(null) as Fields;
    rest[name] = value[name];
  }
  return rest;
}

function writeAny(value: unknown, depth: number): void {
  if (depth > anyDepthMax) throw new TandemError('INTERNAL', `an answer is nested deeper than ${anyDepthMax} levels`);
  if (value === null || value === undefined) {
    writer.tag(1, wire.varint);
    writer.varint(0);
  } else if (typeof value === 'number') {
    writer.tag(2, wire.fixed64);
    writer.double(value);
  } else if (typeof value === 'string') {
    writer.tag(3, wire.bytes);
    writer.text(value);
  } else if (typeof value === 'boolean') {
    writer.tag(4, wire.varint);
    writer.varint(value ? 1 : 0);
  } else if (Array.isArray(value)) {
    writer.tag(6, wire.bytes);
    const list = writer.open();
    for (const item of value) {
      writer.tag(1, wire.bytes);
      const opened = writer.open();
      writeAny(item, depth + 1);
      writer.close(opened);
    }
    writer.close(list);
  } else {
    writer.tag(5, wire.bytes);
    const struct = writer.open();
    for (const [key, item] of Object.entries(value as Fields)) {
      if (item === undefined || typeof item === 'function') continue;
      writer.tag(1, wire.bytes);
      const entry = writer.open();
      writer.tag(1, wire.bytes);
      writer.text(key);
      writer.tag(2, wire.bytes);
      const opened = writer.open();
      writeAny(item, depth + 1);
      writer.close(opened);
      writer.close(entry);
    }
    writer.close(struct);
  }
}

function mismatch(message: ProtoMessage, value: unknown, field?: ProtoField): TandemError {
  const where = field ? `${message.fullName}.${field.name}` : message.fullName;
  const shown = value === null ? 'null' : Array.isArray(value) ? 'a list' : typeof value;
  return new TandemError('INTERNAL', `an answer does not have the shape of its contract: ${where} is ${shown}`);
}

function fieldsByNumber(message: ProtoMessage): ReadonlyMap<number, ProtoField> {
  let fields = byNumber.get(message);
  if (!fields) {
    fields = new Map(message.fields.map(field => [field.number, field]));
    byNumber.set(message, fields);
  }
  return fields;
}

/** `before`: what an earlier part of the same message said. */
function readMessage(message: ProtoMessage, reader: ProtoReader, before: unknown): unknown {
  if (message.form === 'any') return readAny(reader);
  const found = (isRecord(before) && message.form === 'object' ? before : {}) as Fields;
  const fields = fieldsByNumber(message);
  let member: ProtoField | undefined;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    const number = Math.floor(tag / 8);
    if (number === 0) throw malformed('a field has the number 0');
    const type = tag % 8;
    const field = fields.get(number);
    if (!field || !readField(field, type, reader, found)) reader.skip(type, number);
    else if (message.form === 'union') member = field;
  }
  if (message.form === 'object') return completed(message, found);
  if (message.form === 'nothing') return undefined;
  if (message.form === 'union') return member === undefined ? undefined : found[member.jsonName];
  const [field] = message.fields as [ProtoField];
  const value = found[field.jsonName];
  return value === undefined ? absent(field) : value;
}

/** False when its wire type is not the field's: then it is as unknown as any. */
function readField(field: ProtoField, type: number, reader: ProtoReader, found: Fields): boolean {
  const { jsonName: name, label } = field;
  const own = wireTypeOf(field);
  if (label === 'map') {
    if (type !== wire.bytes) return false;
    const outer = reader.enter();
    readEntry(field, reader, record(found, name));
    reader.leave(outer);
    return true;
  }
  if (label === 'repeated') {
    if (type === wire.bytes && own !== wire.bytes) {
      const outer = reader.enter();
      const items = list(found, name);
      while (reader.at < reader.end) items.push(readValue(field, reader, undefined));
      reader.leave(outer);
      return true;
    }
    if (type !== own) return false;
    list(found, name).push(readValue(field, reader, undefined));
    return true;
  }
  if (type !== own) return false;
  const value = readValue(field, reader, Object.hasOwn(found, name) ? found[name] : undefined);
  if (value !== undefined) set(found, name, value);
  return true;
}

function readEntry(field: ProtoField, reader: ProtoReader, entries: Fields): void {
  let key = '';
  let value: unknown;
  let has = false;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    const number = Math.floor(tag / 8);
    const type = tag % 8;
    if (number === 1 && type === wire.bytes) key = reader.text();
    else if (number === 2 && type === wireTypeOf(field)) {
      value = readValue(field, reader, undefined);
      has = true;
    } else if (number === 0) throw malformed('a field has the number 0');
    else reader.skip(type, number);
  }
  set(
    entries,
    key,
    has ? value : field.type === 'message' ? readMessage(field.message!, emptyReader, undefined) : zeroOf(field),
  );
}

const emptyReader = new ProtoReader(Buffer.alloc(0));

function readValue(field: ProtoField, reader: ProtoReader, before: unknown): unknown {
  switch (field.type) {
    case 'string':
      return reader.text();
    case 'bytes':
      return reader.bytes().toString(field.url ? 'base64url' : 'base64');
    case 'bool':
      return reader.varint() !== 0;
    case 'double':
      return reader.double();
    case 'int64':
      return reader.int64();
    case 'int32':
      return reader.bits32();
    case 'uint32':
      return reader.bits32() >>> 0;
    case 'enum': {
      const number = reader.bits32();
      if (number === 0) return undefined;
      const entry = field.enum!.values.find(candidate => candidate.number === number);
      if (entry) return entry.value;
      throw new TandemError('INVALID', `${field.enum!.fullName} has no value ${number}`);
    }
    default: {
      const outer = reader.enter();
      const value = readMessage(field.message!, reader, before);
      reader.leave(outer);
      return value;
    }
  }
}

/** What an object says by what it does not say. */
function completed(message: ProtoMessage, found: Fields): Fields {
  for (const field of message.fields) {
    const { jsonName: name } = field;
    if (Object.hasOwn(found, name)) {
      if (!field.rest) continue;
      const rest = found[name] as Fields;
      delete found[name];
      for (const key of Object.keys(rest)) if (!Object.hasOwn(found, key)) set(found, key, rest[key]);
      continue;
    }
    const value = absent(field);
    if (value !== undefined) set(found, name, value);
  }
  return found;
}

function absent(field: ProtoField): unknown {
  if (field.nullable) return null;
  if (!field.required) return undefined;
  if (field.label === 'repeated') return [];
  if (field.label === 'map') return {};
  return field.constant ?? zeroOf(field);
}

function zeroOf({ type }: ProtoField): unknown {
  if (type === 'string' || type === 'bytes') return '';
  if (type === 'bool') return false;
  return type === 'enum' || type === 'message' ? undefined : 0;
}

function readAny(reader: ProtoReader): unknown {
  let value: unknown = null;
  while (reader.at < reader.end) {
    const tag = reader.varint();
    const number = Math.floor(tag / 8);
    const type = tag % 8;
    if (number === 1 && type === wire.varint) {
      reader.varint();
      value = null;
    } else if (number === 2 && type === wire.fixed64) value = reader.double();
    else if (number === 3 && type === wire.bytes) value = reader.text();
    else if (number === 4 && type === wire.varint) value = reader.varint() !== 0;
    else if ((number === 5 || number === 6) && type === wire.bytes) {
      const outer = reader.enter();
      value = number === 5 ? readStruct(reader) : readListValue(reader);
      reader.leave(outer);
    } else if (number === 0) throw malformed('a field has the number 0');
    else reader.skip(type, number);
  }
  return value;
}

const structEntry: ProtoField = {
  name: 'fields',
  jsonName: 'fields',
  number: 1,
  label: 'map',
  type: 'message',
  message: anyMessage,
  required: true,
  nullable: false,
};

function readStruct(reader: ProtoReader): Fields {
  const found: Fields = {};
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag !== 10) {
      if (tag < 8) throw malformed('a field has the number 0');
      reader.skip(tag % 8, Math.floor(tag / 8));
      continue;
    }
    const outer = reader.enter();
    readEntry(structEntry, reader, found);
    reader.leave(outer);
  }
  return found;
}

function readListValue(reader: ProtoReader): unknown[] {
  const items: unknown[] = [];
  while (reader.at < reader.end) {
    const tag = reader.varint();
    if (tag !== 10) {
      if (tag < 8) throw malformed('a field has the number 0');
      reader.skip(tag % 8, Math.floor(tag / 8));
      continue;
    }
    const outer = reader.enter();
    items.push(readAny(reader));
    reader.leave(outer);
  }
  return items;
}

function wireTypeOf({ type }: ProtoField): number {
  if (type === 'double') return wire.fixed64;
  return type === 'string' || type === 'bytes' || type === 'message' ? wire.bytes : wire.varint;
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(found: Fields, name: string): unknown[] {
  if (!Object.hasOwn(found, name)) set(found, name, []);
  return found[name] as unknown[];
}

function record(found: Fields, name: string): Fields {
  if (!Object.hasOwn(found, name)) set(found, name, {});
  return found[name] as Fields;
}

/** A client may name a key `__proto__`. */
function set(found: Fields, name: string, value: unknown): void {
  if (name === '__proto__')
    Object.defineProperty(found, name, { value, enumerable: true, configurable: true, writable: true });
  else found[name] = value;
}
