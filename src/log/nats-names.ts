/** One stream per log, named after it: NATS allows fewer characters than we do, so the others are written as `=XX`. */

/** `state/orders/3` of app `shop` is the stream `shop_state_orders_3`. Different logs never share a name. */
export function streamOf(app: string, log: string): string {
  return `${app}_${encode(log)}`;
}

/** The one subject of a log's stream. */
export function subjectOf(app: string, log: string): string {
  return `${app}.log.${encode(log)}`;
}

/** The log of a stream; undefined for a stream that is not one of ours. */
export function logOf(app: string, stream: string): string | undefined {
  if (!stream.startsWith(`${app}_`)) return undefined;
  const text = stream
    .slice(app.length + 1)
    .replace(/_/g, '/')
    .replace(/(?:=[0-9A-F]{2})+/g, hex => Buffer.from(hex.replaceAll('=', ''), 'hex').toString());
  return text;
}

function encode(log: string): string {
  return log
    .replace(/[^a-zA-Z0-9/-]/gu, char => [...Buffer.from(char)].map(byte => `=${hex(byte)}`).join(''))
    .replace(/\//g, '_');
}

function hex(byte: number): string {
  return byte.toString(16).toUpperCase().padStart(2, '0');
}
