/** Names travel in subjects, logs, DNS and URLs, so they keep to what all of those can carry. */
import { TandemError } from '../core/errors.ts';

/** @throws INVALID unless `name` is lower case words of letters and digits, joined by dots or dashes, at most 63 characters. */
export function checkName(what: string, name: string): void {
  if (/^[a-z][a-z0-9]*(?:[-.][a-z0-9]+)*$/.test(name) && name.length <= 63) return;
  throw new TandemError(
    'INVALID',
    `'${name}' is not a ${what} name; use lower case letters and digits, joined by . or -, at most 63 characters, starting with a letter`,
  );
}
