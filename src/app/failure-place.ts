/**
 * Where in a user's files a load failed. What was thrown has a stack frame there; what could not even be parsed (or
 * linked: an import that does not exist) has none, Node writes the place above its message instead.
 */
import { fileURLToPath } from 'node:url';

/** ` (/app/hello.ts, line 7)`, of a file at fault other than `path` too; empty when nothing says where. */
export function failurePlace(cause: unknown, path: string): string {
  if (!(cause instanceof Error)) return '';
  const stack = cause.stack ?? '';
  const [, at, line] = /^((?:file:\/\/)?\/.+):(\d+)\n/.exec(stack) ?? [];
  if (at !== undefined) return ` (${at.startsWith('file:') ? fileURLToPath(at) : at}, line ${line})`;
  const frame = stack.split('\n').find(text => text.includes(path));
  const place = frame && /:(\d+):\d+\)?$/.exec(frame);
  return place ? ` (${path}, line ${place[1]})` : '';
}
