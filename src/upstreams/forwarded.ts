/**
 * What an upstream is told of the client that it does not see: `Forwarded` (RFC 7239), the X-Forwarded fields that came before it, and
 * `Via`. What a client says of itself is not passed on, unless it is a proxy that is trusted to say it.
 */
import type { Fields } from './fields.ts';

export interface Said {
  readonly address: string;
  readonly proto: 'http' | 'https';
  /** Whether the other side of the connection may speak for others. */
  readonly trusted: boolean;
}

export function forwardedLines({ address, proto, trusted }: Said, host: string, fields: Fields): string {
  const node = address.includes(':') ? `"[${address}]"` : address;
  let before = '';
  let chain = '';
  let seenHost = host;
  let seenProto: string = proto;
  if (trusted) {
    const { forwardedFor, forwardedHost, forwardedProto } = fields;
    if (forwardedFor !== undefined && /^[\w.:[\],\s-]+$/.test(forwardedFor)) {
      before = `${forwardedFor}, `;
      chain = forwardedFor
        .split(/\s*,\s*/)
        .map(
          each =>
            `for=${/^[\w.-]+$/.test(each) ? each : `"${each.includes(']') || !each.includes(':') ? each : `[${each}]`}"`}, `,
        )
        .join('');
    }
    if (forwardedHost !== undefined && /^[\w.:[\]-]+$/.test(forwardedHost)) seenHost = forwardedHost;
    if (forwardedProto === 'http' || forwardedProto === 'https') seenProto = forwardedProto;
  }
  const quotedHost = /^[\w.-]*$/.test(seenHost) ? seenHost : `"${seenHost}"`;
  return (
    `x-forwarded-for: ${before}${address}\r\nx-forwarded-host: ${seenHost}\r\nx-forwarded-proto: ${seenProto}\r\n` +
    `forwarded: ${chain}for=${node};host=${quotedHost};proto=${seenProto}\r\nvia: 1.1 tandem\r\n`
  );
}
