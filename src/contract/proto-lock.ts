/**
 * The numbers that protobuf knows fields by. They are kept in `tandem.lock.json` beside the contract and never given to another field:
 * a client that was built from last year's file reads the bytes of today. Instances publish them in their descriptor, so the
 * gateway serves the very numbers that `tandem gen proto` printed. What the lock does not know yet gets the next free
 * number, in the order of the contract; without a lock that is simply the order.
 */
import { TandemError } from '../core/errors.ts';
import type { BreakingChange } from './compatibility.ts';
import { type ProtoFile, type ProtoMessage, typeText } from './proto-file.ts';

export interface ProtoLock {
  /** `get`: `GetRequest -> stream GetResponse`. */
  readonly methods: { readonly [method: string]: string };
  readonly messages: { readonly [message: string]: LockedMessage };
  readonly enums: { readonly [name: string]: { readonly values: Numbers; readonly reserved?: readonly number[] } };
}
interface LockedMessage {
  /** `qty`: `2 int64`. */
  readonly fields: { readonly [jsonName: string]: string };
  readonly reserved?: readonly number[];
}
type Numbers = { readonly [value: string]: number };

/** Protobuf keeps these for itself. */
const keptFrom = 19_000;
const keptTo = 19_999;

/** The type that callers of today know a field by; undefined of a new one. */
export function lockedType(lock: ProtoLock | undefined, message: string, jsonName: string): string | undefined {
  return lockedField(lock, message, jsonName)?.type;
}

/** Gives every field and enum value its number, and says what is no longer as it was. */
export function assignNumbers(file: ProtoFile, lock: ProtoLock | undefined): BreakingChange[] {
  const found: BreakingChange[] = [];
  const where = (name: string): string => `${file.package}.${name}`;
  for (const message of file.messages) {
    const known = own(lock?.messages, message.name);
    for (const field of message.fields) {
      const locked = lockedField(lock, message.name, field.jsonName);
      if (locked?.type === typeText(field)) field.number = locked.number;
      else if (locked) {
        message.reserved.push(locked.number);
        found.push({
          where: where(`${message.name}.${field.name}`),
          what: `the type changed from ${locked.type} to ${typeText(field)}`,
        });
      }
    }
    for (const [name, text] of Object.entries(known?.fields ?? {})) {
      if (message.fields.some(({ jsonName }) => jsonName === name)) continue;
      message.reserved.push(Number.parseInt(text, 10));
      found.push({ where: where(`${message.name}.${name}`), what: 'the field was removed' });
    }
    for (const number of known?.reserved ?? []) message.reserved.push(number);
    number(message.fields, message.reserved);
  }
  for (const { name, values, reserved } of file.enums) {
    const known = own(lock?.enums, name);
    for (const entry of values) {
      const locked = entry.value === undefined ? undefined : own(known?.values, entry.value);
      if (locked !== undefined) entry.number = locked;
    }
    for (const [value, gone] of Object.entries(known?.values ?? {})) {
      if (values.some(entry => entry.value === value)) continue;
      reserved.push(gone);
      found.push({ where: where(`${name}.${value}`), what: 'the value was removed' });
    }
    for (const gone of known?.reserved ?? []) reserved.push(gone);
    number(
      values.filter(({ value }) => value !== undefined),
      reserved,
    );
  }
  for (const [method, text] of Object.entries(lock?.methods ?? {})) {
    const now = file.methods.find(candidate => candidate.method === method);
    if (!now) found.push({ where: where(method), what: 'the method was removed' });
    else if (methodText(now) !== text)
      found.push({ where: where(method), what: `it changed from (${text}) to (${methodText(now)})` });
  }
  return found;
}

/** @throws INVALID: a number that stands twice would put one field's bytes into another. */
export function checkNumbers(file: ProtoFile): void {
  const enums = file.enums.map(({ name, values, reserved }) => ({ name, fields: values.slice(1), reserved }));
  for (const { name, fields, reserved } of [...file.messages, ...enums]) {
    const seen = new Map<number, string>();
    for (const gone of reserved) seen.set(gone, 'a field that is gone');
    for (const field of fields) {
      const other = seen.get(field.number);
      if (!(Number.isInteger(field.number) && field.number > 0 && field.number < 536_870_912))
        throw wrong(file, `${name}.${field.name} has the number ${field.number}`);
      if (other !== undefined)
        throw wrong(file, `${name}.${field.name} and ${other} both have the number ${field.number}`);
      seen.set(field.number, field.name);
    }
  }
}

function wrong(file: ProtoFile, what: string): TandemError {
  return new TandemError(
    'INVALID',
    `the proto numbers of '${file.contract}' in tandem.lock.json cannot be: ${what}; give the newer one the next free number (a merge may have joined two edits)`,
  );
}

/** What to keep: all that is there now, and for ever the numbers that were. */
export function lockOf(file: ProtoFile, before: ProtoLock | undefined): ProtoLock {
  const messages: Record<string, LockedMessage> = {};
  for (const message of file.messages) messages[message.name] = lockedMessage(message);
  const enums: Record<string, ProtoLock['enums'][string]> = {};
  for (const { name, values, reserved } of file.enums) {
    const kept = values.flatMap(({ value, number: at }) => (value === undefined ? [] : [[value, at] as const]));
    enums[name] = { values: Object.fromEntries(kept), ...(reserved.length > 0 && { reserved: sorted(reserved) }) };
  }
  // A message that is gone may come back with its method; its numbers are still those that somebody knows.
  for (const [name, message] of Object.entries(before?.messages ?? {})) messages[name] ??= message;
  for (const [name, values] of Object.entries(before?.enums ?? {})) enums[name] ??= values;
  const methods = Object.fromEntries(file.methods.map(method => [method.method, methodText(method)]));
  return { methods, messages, enums };
}

/** Fields and methods that the lock does not hold yet, as `GetRequest.sku`. */
export function unlocked(file: ProtoFile, lock: ProtoLock | undefined): string[] {
  return [
    ...file.methods.filter(({ method }) => own(lock?.methods, method) === undefined).map(({ method }) => method),
    ...file.messages.flatMap(message =>
      message.fields
        .filter(field => lockedType(lock, message.name, field.jsonName) !== typeText(field))
        .map(field => `${message.name}.${field.name}`),
    ),
    ...file.enums.flatMap(({ name, values }) =>
      values
        .filter(({ value }) => value !== undefined && own(own(lock?.enums, name)?.values, value) === undefined)
        .map(({ value }) => `${name}.${value}`),
    ),
  ];
}

function lockedMessage(message: ProtoMessage): LockedMessage {
  return {
    fields: Object.fromEntries(message.fields.map(field => [field.jsonName, `${field.number} ${typeText(field)}`])),
    ...(message.reserved.length > 0 && { reserved: sorted(message.reserved) }),
  };
}

function methodText({ input, output, inputStream, outputStream }: ProtoFile['methods'][number]): string {
  return `${inputStream ? 'stream ' : ''}${input.name} -> ${outputStream ? 'stream ' : ''}${output.name}`;
}

/** Numbers those that have none (0): always above all that ever were. */
function number(entries: readonly { number: number }[], reserved: readonly number[]): void {
  let last = 0;
  for (const entry of entries) last = Math.max(last, entry.number);
  for (const gone of reserved) last = Math.max(last, gone);
  for (const entry of entries) {
    if (entry.number !== 0) continue;
    last = last + 1 >= keptFrom && last < keptTo ? keptTo + 1 : last + 1;
    entry.number = last;
  }
}

function lockedField(
  lock: ProtoLock | undefined,
  message: string,
  jsonName: string,
): { number: number; type: string } | undefined {
  const text = own(own(lock?.messages, message)?.fields, jsonName);
  if (text === undefined) return undefined;
  const space = text.indexOf(' ');
  return { number: Number(text.slice(0, space)), type: text.slice(space + 1) };
}

/** A name may be anything, `constructor` too. */
function own<T>(record: { readonly [name: string]: T } | undefined, name: string): T | undefined {
  return record && Object.hasOwn(record, name) ? record[name] : undefined;
}

function sorted(numbers: readonly number[]): number[] {
  return [...new Set(numbers)].sort((a, b) => a - b);
}
