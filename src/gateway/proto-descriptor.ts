/**
 * A file as google.protobuf.FileDescriptorProto, for clients that ask by reflection: the same that protoc would make of the printed
 * file (the test holds them equal). Field numbers are those of google/protobuf/descriptor.proto.
 */
import type { ProtoEnum, ProtoField, ProtoFile, ProtoMessage } from '../contract/proto-file.ts';
import { pascal } from '../contract/proto-names.ts';
import { ProtoWriter, wire } from './proto-wire.ts';

const typeNumbers = { double: 1, int64: 3, int32: 5, bool: 8, string: 9, message: 11, bytes: 12, uint32: 13, enum: 14 };
const label = { optional: 1, repeated: 3 } as const;

const writer = new ProtoWriter();

export function fileDescriptor(file: ProtoFile): Buffer {
  writer.begin(0);
  text(1, file.name);
  text(2, file.package);
  for (const name of file.imports) text(3, name);
  for (const message of file.messages) part(4, () => writeMessage(message));
  for (const made of file.enums) part(5, () => writeEnum(made));
  if (file.methods.length > 0) part(6, () => writeService(file));
  text(12, 'proto3');
  return writer.finish();
}

function writeMessage({ name, fullName, form, fields, reserved }: ProtoMessage): void {
  text(1, name);
  const oneof = form === 'union' || form === 'any';
  const optional = oneof ? [] : fields.filter(field => field.label === 'optional');
  for (const field of fields) {
    const at = oneof ? 0 : optional.indexOf(field);
    part(2, () => writeField(field, fullName, at < 0 ? undefined : at));
  }
  for (const field of fields) if (field.label === 'map') part(3, () => writeEntry(field));
  if (oneof) part(8, () => text(1, 'kind'));
  for (const { name: own } of optional) part(8, () => text(1, `_${own}`));
  for (const gone of reserved) part(9, () => range(gone, gone + 1));
}

function writeField(field: ProtoField, within: string, oneof: number | undefined): void {
  text(1, field.name);
  int(3, field.number);
  int(4, field.label === 'repeated' || field.label === 'map' ? label.repeated : label.optional);
  if (field.label === 'map') {
    int(5, typeNumbers.message);
    text(6, `.${within}.${entryName(field)}`);
  } else writeType(field);
  if (oneof !== undefined) int(9, oneof);
  text(10, field.jsonName);
  if (field.label === 'optional') int(17, 1);
}

/** A map is a list of pairs. */
function writeEntry(field: ProtoField): void {
  text(1, entryName(field));
  part(2, () => {
    text(1, 'key');
    int(3, 1);
    int(4, label.optional);
    int(5, typeNumbers.string);
    text(10, 'key');
  });
  part(2, () => {
    text(1, 'value');
    int(3, 2);
    int(4, label.optional);
    writeType(field);
    text(10, 'value');
  });
  part(7, () => int(7, 1));
}

function writeType({ type, message, enum: named }: ProtoField): void {
  int(5, typeNumbers[type]);
  const typeName = message?.fullName ?? named?.fullName;
  if (typeName !== undefined) text(6, `.${typeName}`);
}

function writeEnum({ name, values, reserved }: ProtoEnum): void {
  text(1, name);
  for (const value of values)
    part(2, () => {
      text(1, value.name);
      int(2, value.number);
    });
  for (const gone of reserved) part(4, () => range(gone, gone));
}

function writeService({ serviceName, methods }: ProtoFile): void {
  text(1, serviceName.slice(serviceName.lastIndexOf('.') + 1));
  for (const method of methods)
    part(2, () => {
      text(1, method.name);
      text(2, `.${method.input.fullName}`);
      text(3, `.${method.output.fullName}`);
      if (method.inputStream) int(5, 1);
      if (method.outputStream) int(6, 1);
    });
}

function entryName({ name }: ProtoField): string {
  return `${pascal(name)}Entry`;
}

function range(start: number, end: number): void {
  int(1, start);
  int(2, end);
}

function text(number: number, value: string): void {
  writer.tag(number, wire.bytes);
  writer.text(value);
}

function int(number: number, value: number): void {
  writer.tag(number, wire.varint);
  writer.int(value);
}

function part(number: number, write: () => void): void {
  writer.tag(number, wire.bytes);
  const opened = writer.open();
  write();
  writer.close(opened);
}
