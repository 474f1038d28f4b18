/** A contract as a `.proto` file, for protoc, buf and whatever builds clients from one. */
import {
  lowerCamel,
  type ProtoEnum,
  type ProtoField,
  type ProtoFile,
  type ProtoMessage,
  typeText,
} from './proto-file.ts';

export function protoText(file: ProtoFile): string {
  const parts = [
    `// Made by \`tandem gen proto\` from the contract '${file.contract}'. Do not edit: change the contract and make it anew.`,
    'syntax = "proto3";',
    `package ${file.package};`,
    ...file.imports.map(name => `import "${name}";`),
    ...(file.methods.length > 0 ? [serviceText(file)] : []),
    ...file.messages.map(messageText),
    ...file.enums.map(enumText),
  ];
  return `${parts.join('\n\n')}\n`;
}

function serviceText({ serviceName, methods }: ProtoFile): string {
  const lines = methods.map(({ name, input, output, inputStream, outputStream }) => {
    const takes = `${inputStream ? 'stream ' : ''}${input.name}`;
    return `  rpc ${name}(${takes}) returns (${outputStream ? 'stream ' : ''}${output.name});`;
  });
  return block(`service ${serviceName.slice(serviceName.lastIndexOf('.') + 1)}`, lines);
}

function messageText({ name, form, fields, reserved }: ProtoMessage): string {
  const gone = reserved.length > 0 ? [`  reserved ${reserved.join(', ')};`] : [];
  if (form !== 'union' && form !== 'any')
    return block(`message ${name}`, [...gone, ...fields.map(field => `  ${fieldText(field)}`)]);
  const members = fields.map(field => `    ${fieldText(field)}`);
  return block(`message ${name}`, [...gone, '  oneof kind {', ...members, '  }']);
}

function fieldText(field: ProtoField): string {
  const { name, jsonName, label, number } = field;
  const json = lowerCamel(name) === jsonName ? '' : ` [json_name = ${JSON.stringify(jsonName)}]`;
  return `${label === 'optional' ? 'optional ' : ''}${typeText(field)} ${name} = ${number}${json};`;
}

function enumText({ name, values, reserved }: ProtoEnum): string {
  const gone = reserved.length > 0 ? [`  reserved ${reserved.join(', ')};`] : [];
  return block(`enum ${name}`, [...gone, ...values.map(value => `  ${value.name} = ${value.number};`)]);
}

function block(head: string, lines: readonly string[]): string {
  return lines.length === 0 ? `${head} {}` : `${head} {\n${lines.join('\n')}\n}`;
}
