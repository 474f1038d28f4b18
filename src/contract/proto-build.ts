/**
 * From a contract's descriptor to protobuf: which message, field and type stands for which JSON Schema (docs/guides/grpc.md has the table and its
 * reasons). A field that callers know by a type keeps it as long as that type can carry what the schema says now.
 */
import type { JsonSchema } from '../core/schema.ts';
import { type BreakingChange, fieldsOf, isSchema, requiredOf, valuesOf } from './compatibility.ts';
import type { Descriptor, MethodForm } from './descriptor.ts';
import {
  anyMessage,
  lowerCamel,
  type ProtoEnum,
  type ProtoField,
  type ProtoFile,
  type ProtoForm,
  type ProtoMessage,
  type ProtoMethod,
  structFile,
} from './proto-file.ts';
import { assignNumbers, checkNumbers, lockedType, type ProtoLock } from './proto-lock.ts';
import { fresh, packageOf, pascal, reserve, serviceOf, snake } from './proto-names.ts';
import {
  closureOf,
  elementOf,
  isAny,
  isEnum,
  isRecordWithFields,
  memberName,
  partsOf,
  resolve,
  scalarOf,
  tagOf,
} from './proto-schema.ts';
import { fits, refOf } from './schema-fit.ts';

/** Beyond it a schema is carried as a plain value: deeper than what people name, and less than what a stack holds. */
const depthMax = 40;

export interface BuiltProto {
  readonly file: ProtoFile;
  readonly breaks: readonly BreakingChange[];
}

/** Public methods that are not raw. @throws INVALID for a lock that gives two fields one number. */
export function protoOf(descriptor: Descriptor, lock: ProtoLock | undefined = descriptor.proto): BuiltProto {
  return new Builder(descriptor, lock).built();
}

type Kind = Pick<ProtoField, 'type' | 'message' | 'enum' | 'url' | 'constant'>;
/** What a schema is, once null is taken off it. */
interface Shape extends Kind {
  readonly label: 'one' | 'repeated' | 'map';
}
/** Where a schema stands: what names its messages, whose references it makes, how deep, and what it was locked as. */
interface Place {
  readonly name: string;
  readonly root: JsonSchema;
  readonly refs: Map<string, Shape>;
  readonly depth: number;
  readonly locked: string | undefined;
  /** The pointer that led here, whose name the message takes. */
  readonly ref?: string | undefined;
}

const any: Shape = { label: 'one', type: 'message', message: anyMessage };

class Builder {
  readonly #descriptor: Descriptor;
  readonly #lock: ProtoLock | undefined;
  readonly #package: string;
  readonly #messages: ProtoMessage[] = [];
  readonly #enums: ProtoEnum[] = [];
  readonly #used = new Set<string>();
  readonly #enumNames = new Set<string>();
  /** Named definitions by their whole text: methods that name the same thing share its message. */
  readonly #shared = new Map<string, Shape>();
  #usesStruct = false;

  constructor(descriptor: Descriptor, lock: ProtoLock | undefined) {
    this.#descriptor = descriptor;
    this.#lock = lock;
    this.#package = packageOf(descriptor.service);
  }

  built(): BuiltProto {
    const { service, methods } = this.#descriptor;
    const open = methods.filter(method => method.public && !method.raw);
    reserve(serviceOf(service), this.#used);
    const verbs = new Set<string>();
    const named = open.map(form => ({ form, name: fresh(pascal(form.name), verbs) }));
    // Taken first, so that what a field's message is called never depends on other methods.
    for (const { name } of named) {
      reserve(`${name}Request`, this.#used);
      reserve(`${name}Response`, this.#used);
    }
    const errors = new Map<string, ProtoMessage>();
    const served: ProtoMethod[] = named.map(({ form, name }) => {
      const method = {
        name,
        method: form.name,
        input: this.#root(`${name}Request`, form.input?.schema),
        output: this.#root(`${name}Response`, form.output?.schema),
        inputStream: form.input?.stream ?? false,
        outputStream: form.output?.stream ?? false,
      };
      this.#errors(name, form, errors);
      return method;
    });
    const file: ProtoFile = {
      name: `${this.#package.replaceAll('.', '/')}.proto`,
      package: this.#package,
      serviceName: `${this.#package}.${serviceOf(service)}`,
      contract: service,
      methods: served,
      errors,
      messages: this.#messages,
      enums: this.#enums,
      imports: this.#usesStruct ? [structFile.name] : [],
    };
    const breaks = assignNumbers(file, this.#lock);
    checkNumbers(file);
    return { file, breaks };
  }

  #errors(name: string, form: MethodForm, errors: Map<string, ProtoMessage>): void {
    for (const [code, { data }] of Object.entries(form.errors)) {
      if (!data) continue;
      const message = fresh(`${name}${pascal(code)}`, this.#used);
      errors.set(`${form.name}.${code}`, this.#root(message, data));
    }
  }

  /** What a method takes or gives is always a message of its own. */
  #root(name: string, schema: JsonSchema | undefined): ProtoMessage {
    if (!schema) return this.#message(name, 'nothing');
    const refs = new Map<string, Shape>();
    const place: Place = { name, root: schema, refs, depth: 0, locked: undefined };
    // A named shape is laid out in the method's own message too, so that the method may come to want more than the shape has.
    const pointer = typeof schema.$ref === 'string' ? schema.$ref : '#';
    const { parts, nullable } = partsOf(refOf(schema, pointer));
    if (!nullable && parts.length === 1 && isRecordWithFields(parts[0]!)) {
      const message = this.#message(name, 'object');
      refs.set(pointer, { label: 'one', type: 'message', message });
      this.#fields(message, parts[0]!, place);
      return message;
    }
    if (!nullable && parts.length > 1 && !isEnum(parts)) {
      const message = this.#message(name, 'union');
      refs.set(pointer, { label: 'one', type: 'message', message });
      this.#members(message, parts, place);
      return message;
    }
    const message = this.#message(name, 'value');
    refs.set(pointer, { label: 'one', type: 'message', message });
    this.#valueField(message, parts, nullable, { ...place, name: `${name}Value` });
    return message;
  }

  #message(name: string, form: ProtoForm): ProtoMessage {
    const message: ProtoMessage = { name, fullName: `${this.#package}.${name}`, form, fields: [], reserved: [] };
    this.#messages.push(message);
    return message;
  }

  #fields(message: ProtoMessage, schema: JsonSchema, place: Place): void {
    const used = new Set<string>();
    const required = new Set(requiredOf(schema));
    for (const [jsonName, property] of Object.entries(fieldsOf(schema))) {
      const name = fresh(snake(jsonName), used, '_');
      const locked = lockedType(this.#lock, message.name, jsonName);
      const here = { ...place, name: message.name + pascal(jsonName), locked, ref: undefined };
      message.fields.push({ ...this.#property(property, required.has(jsonName), here), name, jsonName });
    }
    const rest = schema.additionalProperties;
    if (isSchema(rest)) {
      const name = fresh('additional_fields', used, '_');
      const jsonName = fresh('additionalFields', new Set(message.fields.map(field => field.jsonName.toLowerCase())));
      const locked = lockedType(this.#lock, message.name, jsonName);
      const item = this.#item(rest, { ...place, name: `${message.name}AdditionalField`, locked: elementOf(locked) });
      const map = { label: 'map', number: 0, required: false, nullable: false, rest: true } as const;
      message.fields.push({ ...item, ...map, name, jsonName });
    }
  }

  #property(schema: unknown, required: boolean, place: Place): Omit<ProtoField, 'name' | 'jsonName'> {
    const { parts, nullable } = partsOf(schema, place.root);
    // Both absent and null: absence can say one of them, unless callers know the field without the other.
    const both = nullable && !required && (place.locked === undefined || place.locked.endsWith('OrNull'));
    const shape = both ? this.#orNull(parts, place) : this.#shape(parts, place);
    const listOrNull = nullable && !both && shape.label !== 'one';
    const sent = listOrNull ? this.#orNull(parts, place) : shape;
    const scalar = sent.type !== 'message' && sent.label === 'one';
    const label = scalar && (!required || nullable) ? 'optional' : sent.label;
    return { ...sent, label, number: 0, required, nullable: nullable && !both && !listOrNull };
  }

  /** The shape of a list's item or a map's value, which is always one and never absent. */
  #item(schema: unknown, place: Place): Kind {
    const { parts, nullable } = partsOf(schema, place.root);
    if (nullable) return this.#orNull(parts, place);
    const shape = this.#shape(parts, place);
    if (shape.label === 'one') return shape;
    const name = fresh(`${place.name}${shape.label === 'map' ? 'Map' : 'List'}`, this.#used);
    const message = this.#message(name, 'value');
    const more = { number: 0, required: true, nullable: false };
    message.fields.push({ ...shape, ...more, name: 'values', jsonName: 'values' });
    return { type: 'message', message };
  }

  #orNull(parts: readonly JsonSchema[], place: Place): Shape {
    if (parts.length === 0 || isAny(parts)) return this.#any();
    const message = this.#message(fresh(`${place.name}OrNull`, this.#used), 'value');
    this.#valueField(message, parts, true, place);
    return { label: 'one', type: 'message', message };
  }

  #valueField(message: ProtoMessage, parts: readonly JsonSchema[], nullable: boolean, place: Place): void {
    const locked = lockedType(this.#lock, message.name, 'value');
    let shape = this.#shape(parts, { ...place, locked });
    // A list has no absence that could say null.
    if (nullable && shape.label !== 'one') {
      const list = this.#message(fresh(`${place.name}${shape.label === 'map' ? 'Map' : 'List'}`, this.#used), 'value');
      const more = { number: 0, required: true, nullable: false };
      list.fields.push({ ...shape, ...more, name: 'values', jsonName: 'values' });
      shape = { label: 'one', type: 'message', message: list };
    }
    const label = nullable && shape.type !== 'message' ? 'optional' : shape.label;
    message.fields.push({
      ...shape,
      label,
      number: 0,
      required: true,
      nullable,
      name: 'value',
      jsonName: 'value',
    });
  }

  #shape(parts: readonly JsonSchema[], place: Place): Shape {
    if (place.depth > depthMax || isAny(parts)) return this.#any();
    const locked = place.locked;
    if (isEnum(parts)) return this.#enum(parts, place);
    if (parts.length > 1) {
      if (locked === 'google.protobuf.Value') return this.#any();
      const message = this.#message(fresh(place.name, this.#used), 'union');
      const shape: Shape = { label: 'one', type: 'message', message };
      if (place.ref !== undefined) place.refs.set(place.ref, shape);
      this.#members(message, parts, place);
      return shape;
    }
    const schema = parts[0]!;
    if (typeof schema.$ref === 'string') return this.#ref(schema.$ref, place);
    const scalar = scalarOf(schema, locked);
    if (scalar) return { ...scalar, label: 'one' };
    const below = { ...place, depth: place.depth + 1, locked: elementOf(locked), ref: undefined };
    if (schema.type === 'array' && isSchema(schema.items) && !Array.isArray(schema.prefixItems)) {
      return { ...this.#item(schema.items, below), label: 'repeated' };
    }
    if (schema.type !== 'object') return this.#any();
    if (isRecordWithFields(schema)) {
      const message = this.#message(fresh(place.name, this.#used), 'object');
      const shape: Shape = { label: 'one', type: 'message', message };
      if (place.ref !== undefined) place.refs.set(place.ref, shape);
      this.#fields(message, schema, { ...below, locked: undefined });
      return shape;
    }
    return { ...this.#item(schema.additionalProperties ?? {}, below), label: 'map' };
  }

  /** A definition that is being read and is no message by then refers to itself through lists alone: only a plain value holds that. */
  #ref(ref: string, place: Place): Shape {
    const known = place.refs.get(ref);
    if (known) return known.message === anyMessage ? this.#any() : known;
    const schema = refOf(place.root, ref);
    const id = ref.startsWith('#/$defs/') ? ref.slice('#/$defs/'.length) : '';
    const isNamed = id !== '' && !id.startsWith('__');
    const text = isNamed ? closureOf(place.root, ref) : '';
    const shared = isNamed ? this.#shared.get(text) : undefined;
    if (shared) {
      place.refs.set(ref, shared);
      return shared;
    }
    place.refs.set(ref, any);
    const { parts, nullable } = partsOf(schema, place.root);
    const here = { ...place, name: isNamed ? pascal(id) : place.name, depth: place.depth + 1, ref };
    const shape = nullable ? this.#orNull(parts, here) : this.#shape(parts, here);
    place.refs.set(ref, shape);
    if (isNamed) this.#shared.set(text, shape);
    return shape;
  }

  #enum(parts: readonly JsonSchema[], place: Place): Shape {
    const values = [...new Set(parts.flatMap(part => valuesOf(part)!.map(text => JSON.parse(text) as string)))];
    if (values.length === 1 && parts[0]!.const !== undefined)
      return { label: 'one', type: 'string', constant: values[0]! };
    if (place.locked === 'string') return { label: 'one', type: 'string' };
    const name = fresh(place.name, this.#used);
    const prefix = snake(name).toUpperCase();
    const entries: ProtoEnum['values'] = [
      { name: fresh(`${prefix}_UNSPECIFIED`, this.#enumNames, '_'), number: 0, value: undefined },
    ];
    for (const value of values)
      entries.push({
        name: fresh(`${prefix}_${snake(value).toUpperCase()}`, this.#enumNames, '_'),
        number: 0,
        value,
      });
    const made: ProtoEnum = { name, fullName: `${this.#package}.${name}`, values: entries, reserved: [] };
    this.#enums.push(made);
    const shape: Shape = { label: 'one', type: 'enum', enum: made };
    return shape;
  }

  #members(message: ProtoMessage, parts: readonly JsonSchema[], place: Place): void {
    const used = new Set(['kind']);
    const tag = tagOf(parts, place.root);
    for (const part of parts) {
      const resolved = resolve(part, place.root);
      const value = tag === undefined ? undefined : String((fieldsOf(resolved)[tag] as JsonSchema).const);
      const name = fresh(value === undefined ? memberName(part, resolved) : snake(value), used, '_');
      const jsonName = lowerCamel(name);
      const locked = lockedType(this.#lock, message.name, jsonName);
      const here = { ...place, name: message.name + pascal(name), depth: place.depth + 1, locked, ref: undefined };
      const kind = this.#item(part, here);
      const { root } = place;
      message.fields.push({
        ...kind,
        name,
        jsonName,
        number: 0,
        label: 'one',
        required: true,
        nullable: false,
        fits: given => fits(part, given, root),
      });
    }
  }

  #any(): Shape {
    this.#usesStruct = true;
    return any;
  }
}
