/** The few things that are asked in another way of a request or answer of HTTP/2 than of one of HTTP/1.1. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { Writable } from 'node:stream';

/** RFC 9113, 7. */
const internalError = 2;

type MaybeHttp2 = { readonly stream?: ServerHttp2Stream };

export const isHttp2 = (request: IncomingMessage): boolean => request.httpVersionMajor === 2;

/** Whether bytes of a body come, or may come. */
export function hasBody(request: IncomingMessage): boolean {
  const { headers } = request;
  const { stream } = request as MaybeHttp2;
  if (stream) return !stream.endAfterHeaders;
  if (headers['transfer-encoding'] !== undefined) return true;
  const length = headers['content-length'];
  return length !== undefined && length !== '0';
}

/** What bytes go out by, with its events: a response of HTTP/2 says `finish` only when its client has finished too. */
export function outOf(response: ServerResponse): Writable {
  return (response as MaybeHttp2).stream ?? response;
}

/** Whether nobody is left to answer to. */
export function isGone(response: ServerResponse): boolean {
  const { stream } = response as MaybeHttp2;
  return stream === undefined ? response.destroyed : stream.destroyed || stream.closed;
}

/** Whether the client has got its answer, or can still. A cancelled stream of HTTP/2 counts as finished to Node. */
export function isAnswered(response: ServerResponse): boolean {
  const { stream } = response as MaybeHttp2;
  return stream ? response.writableEnded && stream.rstCode === 0 : response.writableFinished;
}

/** Ends a request whose body is read elsewhere, when nothing of it came for so long. */
export function endStalled(request: IncomingMessage, idleMs: number): void {
  if (request.complete || !hasBody(request)) return;
  request.setTimeout(idleMs, () => cutOff(request));
  request.once('end', () => request.setTimeout(0));
}

/** Ends an answer so that nobody takes it for a whole one. */
export function breakOff(response: ServerResponse): void {
  const { stream } = response as MaybeHttp2;
  if (!stream) response.destroy();
  else if (!stream.closed) stream.close(internalError);
}

/** Ends a request whose body nobody wants: in HTTP/2 it alone, in HTTP/1.1 with its connection. */
export function cutOff(request: IncomingMessage): void {
  const { stream } = request as MaybeHttp2;
  if (!stream) request.destroy();
  else if (!stream.closed) stream.close();
}
