/**
 * Who may look at the dashboard. The monitor listens on loopback and prints an address with a token; the token is good for one
 * visit, which gets a session cookie instead, and a new token is made. So an address in a shell history opens nothing later. A
 * request by another host name than the one listened on is refused, which stops DNS rebinding by web pages.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Random } from '../core/random.ts';

export interface Door {
  /** The token that opens next; undefined when the door is open to all. */
  readonly token: string | undefined;
  /** Takes the token and gives a session for the cookie; undefined when it is wrong or was used. */
  exchange(token: string): string | undefined;
  isOpenTo(cookieHeader: string | undefined): boolean;
}

const sessionsMax = 64;
export const cookieName = 'tandem_dashboard';

export function openDoor(random: Random, first: string | undefined, onNextToken: (token: string) => void): Door {
  let token = first;
  const sessions = new Set<string>();
  return {
    get token() {
      return token;
    },
    exchange(given) {
      if (token === undefined || !equal(given, token)) return undefined;
      token = random.id() + random.id();
      onNextToken(token);
      const session = random.id() + random.id();
      sessions.add(digest(session));
      if (sessions.size > sessionsMax) sessions.delete(sessions.values().next().value!);
      return session;
    },
    isOpenTo(cookieHeader) {
      if (token === undefined) return true;
      for (const pair of (cookieHeader ?? '').split(';')) {
        const [name, value] = pair.trim().split('=');
        if (name === cookieName && value && sessions.has(digest(value))) return true;
      }
      return false;
    },
  };
}

/** A server on loopback answers to loopback names only; one on another address was opened on purpose and answers to all. */
export function isExpectedHost(hostHeader: string | undefined, listensOn: string): boolean {
  if (!/^(127\.|localhost$|::1$)/.test(listensOn)) return true;
  return /^(localhost|[a-z0-9-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i.test(hostHeader ?? '');
}

const digest = (text: string): string => createHash('sha256').update(text).digest('base64');

function equal(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(digest(a)), Buffer.from(digest(b)));
}
