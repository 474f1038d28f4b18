/**
 * A contract as protobuf sees it: the file, its messages, enums and the one service. Data that the printer (`tandem gen proto`), the
 * gateway's codec and gRPC reflection all read, so that what a client was built from and what is served cannot differ.
 */
export type ProtoScalar = 'string' | 'bool' | 'double' | 'int64' | 'int32' | 'uint32' | 'bytes';

/**
 * How a message stands for a JSON value. `object`: its fields are the object's. `value`: its only field is the value (of what is no
 * object by itself: a text, a list, something or null). `union`: whichever field of its oneof is set. `any`:
 * google.protobuf.Value. `nothing`: no value at all.
 */
export type ProtoForm = 'object' | 'value' | 'union' | 'any' | 'nothing';

export interface ProtoMessage {
  readonly name: string;
  /** With its package, without a leading dot. */
  readonly fullName: string;
  readonly form: ProtoForm;
  readonly fields: ProtoField[];
  /** Numbers of fields that are gone: never given again. */
  readonly reserved: number[];
}

export interface ProtoEnum {
  readonly name: string;
  readonly fullName: string;
  /** Zero, which proto3 wants, is always the first and stands for no value. */
  readonly values: { readonly name: string; number: number; readonly value: string | undefined }[];
  readonly reserved: number[];
}

export interface ProtoField {
  /** `order_id`. */
  readonly name: string;
  /** `orderId`: the property's own name. */
  readonly jsonName: string;
  number: number;
  /** `optional`: absence can be told from the zero value. */
  readonly label: 'one' | 'optional' | 'repeated' | 'map';
  readonly type: ProtoScalar | 'enum' | 'message';
  readonly message?: ProtoMessage;
  readonly enum?: ProtoEnum;
  /** Of the property in JSON: absence is an error, so an absent number means zero. */
  readonly required: boolean;
  /** Absence says null. */
  readonly nullable: boolean;
  /** The only text that it may be, so absence says it too. */
  readonly constant?: string;
  /** Bytes are base64url in JSON, not base64. */
  readonly url?: boolean;
  /** Of a union's member: whether this value is one. */
  readonly fits?: (value: unknown) => boolean;
  /** Takes the properties that have no field of their own (a map). */
  readonly rest?: boolean;
}

export interface ProtoMethod {
  /** `Reserve`. */
  readonly name: string;
  /** `reserve`, as the contract has it. */
  readonly method: string;
  readonly input: ProtoMessage;
  readonly output: ProtoMessage;
  readonly inputStream: boolean;
  readonly outputStream: boolean;
}

export interface ProtoFile {
  /** `inventory/v2.proto`. */
  readonly name: string;
  /** `inventory.v2`. */
  readonly package: string;
  /** `inventory.v2.Inventory`. */
  readonly serviceName: string;
  /** The contract's own name; undefined of what is not a contract. */
  readonly contract: string | undefined;
  readonly methods: readonly ProtoMethod[];
  /** Messages that declared errors carry, by method and code: `reserve.outOfStock`. */
  readonly errors: ReadonlyMap<string, ProtoMessage>;
  readonly messages: readonly ProtoMessage[];
  readonly enums: readonly ProtoEnum[];
  readonly imports: readonly string[];
}

/** `repeated int64`, `map<string, Stock>`: what the lock file keeps of a field. Presence is left out: it may change. */
export function typeText(field: ProtoField): string {
  const type = field.message?.name ?? field.enum?.name ?? field.type;
  const named = field.message?.fullName.startsWith('google.') ? field.message.fullName : type;
  if (field.label === 'map') return `map<string, ${named}>`;
  return field.label === 'repeated' ? `repeated ${named}` : named;
}

/** `google/protobuf/struct.proto`, for values without a type of their own. */
export const structFile: ProtoFile = structProto();
export const anyMessage: ProtoMessage = structFile.messages.find(({ name }) => name === 'Value')!;

export function plainField(
  number: number,
  name: string,
  type: ProtoField['type'],
  more: Partial<ProtoField> = {},
): ProtoField {
  const jsonName = lowerCamel(name);
  return { name, jsonName, number, label: 'one', type, required: type !== 'message', nullable: false, ...more };
}

/** What protoc makes of a field's name when nobody says otherwise. */
export function lowerCamel(name: string): string {
  return name.replace(/_([a-zA-Z0-9])/g, (_, letter: string) => letter.toUpperCase()).replaceAll('_', '');
}

function structProto(): ProtoFile {
  const message = (name: string, form: ProtoForm): ProtoMessage => ({
    name,
    fullName: `google.protobuf.${name}`,
    form,
    fields: [],
    reserved: [],
  });
  const [struct, value, list] = [message('Struct', 'object'), message('Value', 'any'), message('ListValue', 'object')];
  const nothing: ProtoEnum = {
    name: 'NullValue',
    fullName: 'google.protobuf.NullValue',
    values: [{ name: 'NULL_VALUE', number: 0, value: undefined }],
    reserved: [],
  };
  struct.fields.push(plainField(1, 'fields', 'message', { message: value, label: 'map' }));
  const member = { fits: () => false };
  value.fields.push(
    plainField(1, 'null_value', 'enum', { enum: nothing, ...member }),
    plainField(2, 'number_value', 'double', member),
    plainField(3, 'string_value', 'string', member),
    plainField(4, 'bool_value', 'bool', member),
    plainField(5, 'struct_value', 'message', { message: struct, ...member }),
    plainField(6, 'list_value', 'message', { message: list, ...member }),
  );
  list.fields.push(plainField(1, 'values', 'message', { message: value, label: 'repeated' }));
  return {
    name: 'google/protobuf/struct.proto',
    package: 'google.protobuf',
    serviceName: '',
    contract: undefined,
    methods: [],
    errors: new Map(),
    messages: [struct, value, list],
    enums: [nothing],
    imports: [],
  };
}
