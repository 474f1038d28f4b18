/**
 * The id of a nested call, derived from its parent's so that a handler which runs again sends the same ids again
 * (data core, rule 15): hash of (parent id, method, key, ordinal among equals), length-prefixed so that no two
 * different tuples read alike. Parent ids come from outside, hence a cryptographic hash: nobody can aim at another's id.
 */
import { hash } from 'node:crypto';

export function derivedRequestId(parentId: string, method: string, key: string, ordinal: number): string {
  const text = `${parentId.length}:${parentId}${method.length}:${method}${key.length}:${key}${ordinal}`;
  return hash('sha256', text, 'base64url').slice(0, 22);
}
