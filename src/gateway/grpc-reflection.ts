/**
 * grpc.reflection, v1 and v1alpha (which differ in their name alone): what is served here, for grpcurl, Postman and the like. It shows public
 * methods only, and no extensions, since proto3 has none.
 */
import { type ProtoFile, type ProtoMessage, plainField } from '../contract/proto-file.ts';
import { grpcCodes } from './grpc-status.ts';
import type { LocalHandler } from './grpc-table.ts';
import { fileDescriptor } from './proto-descriptor.ts';

type Asked = Readonly<Record<string, unknown>>;

export function reflectionFile(version: 'v1' | 'v1alpha'): ProtoFile {
  const of = `grpc.reflection.${version}`;
  const message = (name: string, fields: ProtoMessage['fields']): ProtoMessage => ({
    name,
    fullName: `${of}.${name}`,
    form: 'object',
    fields,
    reserved: [],
  });
  // Members of a oneof have presence; so have these, which is the same in bytes.
  const present = { label: 'optional', required: false } as const;
  const extension = message('ExtensionRequest', [
    plainField(1, 'containing_type', 'string'),
    plainField(2, 'extension_number', 'int32'),
  ]);
  const request = message('ServerReflectionRequest', [
    plainField(1, 'host', 'string'),
    plainField(3, 'file_by_filename', 'string', present),
    plainField(4, 'file_containing_symbol', 'string', present),
    plainField(5, 'file_containing_extension', 'message', { message: extension }),
    plainField(6, 'all_extension_numbers_of_type', 'string', present),
    plainField(7, 'list_services', 'string', present),
  ]);
  const files = message('FileDescriptorResponse', [
    plainField(1, 'file_descriptor_proto', 'bytes', { label: 'repeated' }),
  ]);
  const numbers = message('ExtensionNumberResponse', [
    plainField(1, 'base_type_name', 'string'),
    plainField(2, 'extension_number', 'int32', { label: 'repeated' }),
  ]);
  const service = message('ServiceResponse', [plainField(1, 'name', 'string')]);
  const services = message('ListServiceResponse', [
    plainField(1, 'service', 'message', { message: service, label: 'repeated' }),
  ]);
  const failure = message('ErrorResponse', [
    plainField(1, 'error_code', 'int32'),
    plainField(2, 'error_message', 'string'),
  ]);
  const response = message('ServerReflectionResponse', [
    plainField(1, 'valid_host', 'string'),
    plainField(2, 'original_request', 'message', { message: request }),
    plainField(4, 'file_descriptor_response', 'message', { message: files }),
    plainField(5, 'all_extension_numbers_response', 'message', { message: numbers }),
    plainField(6, 'list_services_response', 'message', { message: services }),
    plainField(7, 'error_response', 'message', { message: failure }),
  ]);
  const method = { name: 'ServerReflectionInfo', method: 'ServerReflectionInfo' };
  return {
    name: `grpc/reflection/${version}/reflection.proto`,
    package: of,
    serviceName: `${of}.ServerReflection`,
    contract: undefined,
    methods: [{ ...method, input: request, output: response, inputStream: true, outputStream: true }],
    errors: new Map(),
    messages: [request, extension, response, files, numbers, services, service, failure],
    enums: [],
    imports: [],
  };
}

/** `files`: all that is served at the moment, with what they import. */
export function reflectionHandlers(files: () => readonly ProtoFile[]): Readonly<Record<string, LocalHandler>> {
  return {
    ServerReflectionInfo: async function* (items) {
      for await (const item of items) {
        const asked = item as Asked;
        yield { validHost: asked.host, originalRequest: asked, ...answered(asked, files()) };
      }
    },
  };
}

function answered(asked: Asked, files: readonly ProtoFile[]): Asked {
  if (asked.listServices !== undefined) {
    const names = files.filter(({ methods }) => methods.length > 0).map(({ serviceName }) => serviceName);
    return { listServicesResponse: { service: names.sort().map(name => ({ name })) } };
  }
  if (typeof asked.fileByFilename === 'string') {
    const file = files.find(({ name }) => name === asked.fileByFilename);
    return file ? withImports(file, files) : notFound(`there is no file '${asked.fileByFilename.slice(0, 200)}'`);
  }
  if (typeof asked.fileContainingSymbol === 'string') {
    const symbol = asked.fileContainingSymbol;
    const file = files.find(candidate => declares(candidate, symbol));
    return file ? withImports(file, files) : notFound(`there is no symbol '${symbol.slice(0, 200)}'`);
  }
  const type = asked.allExtensionNumbersOfType;
  if (typeof type === 'string') {
    const isKnown = files.some(({ messages }) => messages.some(({ fullName }) => fullName === type));
    if (!isKnown) return notFound(`there is no message '${type.slice(0, 200)}'`);
    return { allExtensionNumbersResponse: { baseTypeName: type, extensionNumber: [] } };
  }
  if (asked.fileContainingExtension !== undefined) return notFound('there are no extensions');
  return failed(grpcCodes.INVALID_ARGUMENT, 'the request asks for nothing');
}

function declares(file: ProtoFile, symbol: string): boolean {
  const { serviceName, methods, messages, enums } = file;
  if (methods.length > 0 && (symbol === serviceName || methods.some(({ name }) => symbol === `${serviceName}.${name}`)))
    return true;
  return (
    messages.some(
      ({ fullName, fields }) => symbol === fullName || fields.some(({ name }) => symbol === `${fullName}.${name}`),
    ) ||
    enums.some(
      ({ fullName, values }) => symbol === fullName || values.some(({ name }) => symbol === `${file.package}.${name}`),
    )
  );
}

/** The file first, then what it needs. */
function withImports(file: ProtoFile, files: readonly ProtoFile[]): Asked {
  const needed = [file, ...file.imports.flatMap(name => files.filter(candidate => candidate.name === name))];
  return { fileDescriptorResponse: { fileDescriptorProto: needed.map(one => fileDescriptor(one).toString('base64')) } };
}

function notFound(errorMessage: string): Asked {
  return failed(grpcCodes.NOT_FOUND, errorMessage);
}

function failed(errorCode: number, errorMessage: string): Asked {
  return { errorResponse: { errorCode, errorMessage } };
}
