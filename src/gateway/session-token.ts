/**
 * A client's session (its causal past) as a signed token: `1.<positions>.<signature>`. Positions are `log=base36`, joined by `&`; a
 * log that shares its folder with the one before is written `/name`, so sixty partitions of a service fit a cookie. The signature is
 * HMAC-SHA256, cut to 128 bits (RFC 2104, section 5), so nobody can make a gateway wait for positions that do not exist.
 *
 * A token whose signature is wrong (an old secret, a forgery) counts as a session that has forgotten everything: its reads go
 * behind a barrier. Refusing would lock clients out when the secret changes; a fresh session could let one read its own past.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { SessionForm } from '../core/meta.ts';

export interface SessionTokens {
  write(form: SessionForm): string;
  /** What the token says; `forgotten` when it cannot be trusted. */
  read(token: string): SessionForm;
}

const forgotten: SessionForm = { positions: [], overflowed: true };
const tokenBytesMax = 8192;
/** Tokens that were checked lately: a client sends one with every call until it sees more, and reading one costs as much as the rest of a call. */
const checkedMax = 128;

export function sessionTokens(secret: string): SessionTokens {
  const sign = (text: string): string =>
    createHmac('sha256', secret).update(text).digest().subarray(0, 16).toString('base64url');
  const checked = new Map<string, SessionForm>();
  return {
    write(form) {
      const text = `1.${encode(form)}`;
      return `${text}.${sign(text)}`;
    },
    read(token) {
      const before = checked.get(token);
      if (before) return before;
      const dot = token.lastIndexOf('.');
      if (token.length > tokenBytesMax || dot < 2 || !token.startsWith('1.')) return forgotten;
      const expected = Buffer.from(sign(token.slice(0, dot)));
      const given = Buffer.from(token.slice(dot + 1));
      if (expected.length !== given.length || !timingSafeEqual(expected, given)) return forgotten;
      const form = decode(token.slice(2, dot));
      if (checked.size >= checkedMax) checked.delete(checked.keys().next().value!);
      checked.set(token, form);
      return form;
    },
  };
}

function encode(form: SessionForm): string {
  let folder = '';
  const pairs = form.positions.map(([log, position]) => {
    const slash = log.lastIndexOf('/');
    const short = slash > 0 && log.slice(0, slash) === folder;
    folder = log.slice(0, Math.max(slash, 0));
    return `${short ? log.slice(slash) : log}=${position.toString(36)}`;
  });
  if (form.overflowed) pairs.push('!');
  return pairs.join('&');
}

function decode(text: string): SessionForm {
  const positions: [string, number][] = [];
  let overflowed = false;
  let folder = '';
  for (const pair of text.split('&')) {
    if (pair === '!') overflowed = true;
    const equals = pair.indexOf('=');
    if (equals <= 0) continue;
    const written = pair.slice(0, equals);
    const log = written.startsWith('/') ? folder + written : written;
    folder = log.slice(0, Math.max(log.lastIndexOf('/'), 0));
    positions.push([log, Number.parseInt(pair.slice(equals + 1), 36)]);
  }
  return overflowed ? { positions, overflowed } : { positions };
}
