/**
 * One record, made safe to write: whatever a caller hands in (circular, huge, a getter that throws, a BigInt) becomes plain
 * data of bounded size, because a diagnostic must never be what brings a process down. It hides nothing by itself:
 * secrets hide themselves through `toJSON`.
 */
export type Level = 'debug' | 'info' | 'warn' | 'error';

export interface LogRecord {
  /** Wall time, ISO 8601. */
  readonly time: string;
  readonly level: Level;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

const caps = {
  messageChars: 8192,
  stringChars: 4096,
  stackChars: 4096,
  depth: 6,
  entries: 64,
  /** Values of one record, over all depths. */
  values: 512,
  lineChars: 65_536,
} as const;

/** A copy of `value` that JSON can write, within the caps. Never throws. */
export function plain(value: unknown): unknown {
  const budget = { left: caps.values as number };
  return plainValue(value, 0, [], budget);
}

function plainValue(value: unknown, depth: number, above: readonly object[], budget: { left: number }): unknown {
  switch (typeof value) {
    case 'string':
      return capped(value, caps.stringChars);
    case 'number':
      return Number.isFinite(value) ? value : String(value);
    case 'boolean':
      return value;
    case 'bigint':
      return String(value);
    case 'undefined':
      return undefined;
    case 'object':
      break;
    default:
      return `[${typeof value}]`;
  }
  if (value === null) return null;
  if (above.includes(value)) return '[circular]';
  if (depth >= caps.depth) return Array.isArray(value) ? `[array of ${value.length}]` : '[object]';
  if (--budget.left < 0) return '[…]';
  try {
    return plainObject(value, depth, [...above, value], budget);
  } catch (error) {
    return `[unreadable: ${error instanceof Error ? capped(error.message, 200) : 'error'}]`;
  }
}

function plainObject(value: object, depth: number, path: readonly object[], budget: { left: number }): unknown {
  if (value instanceof Error) return plainError(value, depth, path, budget);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  const toJson = (value as { toJSON?: unknown }).toJSON;
  if (typeof toJson === 'function') return plainValue(toJson.call(value), depth + 1, path, budget);
  if (value instanceof Map) return plainValue(Object.fromEntries(firstOf(value)), depth + 1, path, budget);
  if (value instanceof Set) return plainValue(firstOf(value), depth + 1, path, budget);
  if (Array.isArray(value)) {
    const items = value.slice(0, caps.entries).map(item => plainValue(item, depth + 1, path, budget));
    if (value.length > caps.entries) items.push(`… ${value.length - caps.entries} more`);
    return items;
  }
  const copy: Record<string, unknown> = {};
  let taken = 0;
  for (const key in value) {
    if (!Object.hasOwn(value, key)) continue;
    if (taken++ >= caps.entries) {
      copy['…'] = 'more fields';
      break;
    }
    copy[capped(key, 200)] = readField(value, key, depth, path, budget);
  }
  return copy;
}

function readField(value: object, key: string, depth: number, path: readonly object[], budget: { left: number }) {
  try {
    return plainValue((value as Record<string, unknown>)[key], depth + 1, path, budget);
  } catch {
    return '[unreadable]';
  }
}

function plainError(error: Error, depth: number, path: readonly object[], budget: { left: number }): unknown {
  const form: Record<string, unknown> = {
    name: capped(String(error.name), 200),
    message: capped(String(error.message), caps.stringChars),
  };
  const { code, details } = error as { code?: unknown; details?: unknown };
  if (code !== undefined) form.code = plainValue(code, depth + 1, path, budget);
  if (details !== undefined) form.details = plainValue(details, depth + 1, path, budget);
  if (typeof error.stack === 'string') form.stack = capped(error.stack, caps.stackChars);
  if (error.cause !== undefined) form.cause = plainValue(error.cause, depth + 1, path, budget);
  return form;
}

function firstOf<T>(items: Iterable<T>): T[] {
  const taken: T[] = [];
  for (const item of items) {
    if (taken.length >= caps.entries) break;
    taken.push(item);
  }
  return taken;
}

export function capped(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars)}… (${text.length} characters)`;
}

/** One line of JSON: time, level and message first, so that a person can read it too. */
export function jsonLine(record: LogRecord): string {
  const { time, level, message, fields } = record;
  const line = JSON.stringify({ time, level, message: capped(message, caps.messageChars), ...own(fields) });
  if (line.length <= caps.lineChars) return line;
  return JSON.stringify({ time, level, message: capped(message, caps.messageChars), truncated: line.length });
}

/** A field may not pose as the record's own time, level or message. */
function own(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { time, level, message, ...rest } = fields;
  const renamed: Record<string, unknown> = rest;
  if (time !== undefined) renamed['fields.time'] = time;
  if (level !== undefined) renamed['fields.level'] = level;
  if (message !== undefined) renamed['fields.message'] = message;
  return renamed;
}

const colors: Readonly<Record<Level, string>> = { debug: '90', info: '36', warn: '33', error: '31' };

/** One line for a person; an error's stack goes below it, indented. Control characters are shown, not obeyed. */
export function prettyLine(record: LogRecord, color: boolean): string {
  const paint = (code: string, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text);
  const clock = record.time.slice(11, 23);
  let line = `${paint('90', clock)} ${paint(colors[record.level], record.level.padEnd(5))} ${visible(capped(record.message, caps.messageChars))}`;
  let stack = '';
  for (const [name, value] of Object.entries(record.fields)) {
    if (value === undefined) continue;
    if (isErrorForm(value)) {
      line += ` ${paint('90', `${name}=`)}${visible(value.message)}`;
      if (record.level === 'error') stack += `\n${indented(value.stack)}`;
    } else line += ` ${paint('90', `${name}=`)}${visible(fieldText(value))}`;
  }
  return line + stack;
}

function fieldText(value: unknown): string {
  if (typeof value !== 'string') return capped(JSON.stringify(value) ?? '', 1000);
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function isErrorForm(value: unknown): value is { message: string; stack: string } {
  const form = value as { message?: unknown; stack?: unknown } | null;
  return typeof form === 'object' && typeof form?.message === 'string' && typeof form.stack === 'string';
}

const indented = (stack: string): string =>
  stack
    .split('\n')
    .map(line => `    ${visible(line.trim())}`)
    .join('\n');

const visible = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not reach a terminal
  text.replace(/[\u0000-\u001f\u007f-\u009f]/g, char =>
    char === '\n' ? '\\n' : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
