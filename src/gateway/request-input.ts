/**
 * One input from path, query and body. The path wins over the body and the body over the query: what a proxy or a person
 * saw in the address is what counts. Only text is turned into what the schema wants; judging the input is the instance's part.
 */
import { TandemError } from '../core/errors.ts';
import { coerce, type FieldKind } from './field-kinds.ts';
import type { Match, Target } from './router.ts';

const textKind: FieldKind = { kind: 'text', many: false };
const queryFieldsMax = 256;

/** @throws INVALID when the path is badly encoded, or the parts cannot be one object. */
export function inputOf(match: Match, query: string, body: unknown): unknown {
  const { target } = match;
  if (!target.method.input && body === undefined) return undefined;
  const isRecord = typeof body === 'object' && body !== null && !Array.isArray(body);
  if (body !== undefined && !isRecord) {
    if (match.names.length === 0 && query === '') return body;
    throw new TandemError('INVALID', 'the body must be a JSON object, because fields of the path or query join it', {
      details: { issues: [{ path: '', message: 'expected an object' }] },
    });
  }
  if (!target.objectInput && match.names.length === 0 && query === '') return body;
  const input = (body ?? {}) as Record<string, unknown>;
  if (query !== '') addQuery(target, query, input);
  for (let i = 0; i < match.names.length; i++) {
    const name = match.names[i]!;
    input[name] = coerce(decode(match.values[i]!, name), (target.kinds.get(name) ?? textKind).kind);
  }
  return input;
}

function addQuery(target: Target, query: string, input: Record<string, unknown>): void {
  const given = new Set(Object.keys(input));
  let fields = 0;
  for (const [name, text] of new URLSearchParams(query)) {
    if (++fields > queryFieldsMax) throw new TandemError('INVALID', `the query has more than ${queryFieldsMax} fields`);
    if (given.has(name) || name === '__proto__') continue;
    const { kind, many } = target.kinds.get(name) ?? textKind;
    const value = coerce(text, kind);
    if (!many) input[name] = value;
    else if (Array.isArray(input[name])) (input[name] as unknown[]).push(value);
    else input[name] = [value];
  }
}

function decode(text: string, name: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new TandemError('INVALID', `the path is badly percent-encoded at '${name}'`, {
      details: { issues: [{ path: name, message: 'bad percent-encoding' }] },
    });
  }
}
