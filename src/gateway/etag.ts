/**
 * Tags of answers, so that a client need not load again what it has (RFC 9110, 8.8.3). A tag is a hash of what is answered, not a position of the log: a
 * method may compute, ask others or look at the time, and only its answer says whether that changed. It is weak, since the same answer may be sent compressed.
 */
import { hash } from 'node:crypto';

export function tagOf(text: string): string {
  return `W/"${hash('sha256', text, 'base64url').slice(0, 22)}"`;
}

/** Whether If-None-Match names the tag, weakly compared. */
export function isKnownTag(ifNoneMatch: string | undefined, tag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  const opaque = tag.replace(/^W\//, '');
  return ifNoneMatch.split(',', 64).some(each => {
    const given = each.trim();
    return given === '*' || given.replace(/^W\//, '') === opaque;
  });
}
