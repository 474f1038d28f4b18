/**
 * A raw method's exchange: the request as it came, and the answer as the service gives it. Small bodies go in one piece, which can be sent again to another
 * instance; large ones, of methods that take such, stream both ways with the slower end's pace.
 */
import type { IncomingMessage } from 'node:http';
import type { AnswerMeta } from '../contract/call.ts';
import type { RawHead, RawRequestForm } from '../contract/raw.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Answer } from './answer.ts';
import { type BodyBounds, readBody, tooLarge } from './body.ts';
import * as headers from './headers.ts';
import { hasBody } from './http-version.ts';
import type { GatewayCaller, OutgoingCall } from './outgoing.ts';
import type { Target } from './router.ts';
import { splitTarget } from './split-target.ts';
import { Upload } from './upload.ts';

/** Declared bodies up to here are held even where larger ones stream. */
const heldBytesMax = 65_536;

export interface RawParts {
  readonly clock: Clock;
  readonly caller: GatewayCaller;
  readonly streamMsMax: number;
  readonly requestTimeoutMs: number;
}

export async function serveRaw(
  parts: RawParts,
  target: Target,
  request: IncomingMessage,
  answer: Answer,
  options: OutgoingCall,
  bounds: BodyBounds,
  gone: AbortController,
): Promise<void> {
  const { clock, caller, streamMsMax } = parts;
  const { method, service } = target;
  const headTimeoutMs = options.timeoutMs;
  const late = new TandemError('DEADLINE_EXCEEDED', `${service}.${method.name} had ${headTimeoutMs} ms to answer`);
  const awaitHead = (): ReturnType<Clock['after']> => clock.after(headTimeoutMs, () => gone.abort(late));
  let timer = awaitHead();
  timer.cancel();
  const { body, items } = await bodyOf(parts, target, request, answer, bounds, () => {
    timer = awaitHead();
  });
  if (!items) timer = awaitHead();
  const form: RawRequestForm = { ...headOf(request, answer), body, streams: { headTimeoutMs } };
  const asked = {
    ...options,
    deadline: clock.monotonic() + streamMsMax,
    ...(items && { items, timeoutMs: streamMsMax }),
  };
  const answered = caller.stream(service, method.name, form, asked)[Symbol.asyncIterator]();
  try {
    const first = await answered.next();
    timer.cancel();
    const { meta, ...head } = first.value as RawHead;
    options.session.merge(meta.session);
    answer.session = options.session;
    const { level, staleness, instance, degraded = false } = meta;
    const shown: AnswerMeta = { level, staleness, instance, degraded, requestId: answer.requestId };
    if (head.body) answer.raw({ ...head, body: head.body }, shown);
    else await answer.rawStream(head, shown, answered as AsyncIterator<Uint8Array>);
  } catch (cause) {
    throw items?.failure ?? (gone.signal.reason === late ? late : cause);
  } finally {
    timer.cancel();
    await answered.return?.();
  }
}

async function bodyOf(
  { clock, requestTimeoutMs }: RawParts,
  { method }: Target,
  request: IncomingMessage,
  answer: Answer,
  bounds: BodyBounds,
  onEnd: () => void,
): Promise<{ body: RawRequestForm['body']; items?: Upload }> {
  if (!hasBody(request)) return { body: null };
  const { bodyBytesMax: bytesMax = bounds.bytesMax } = method;
  const written = request.headers['content-length'];
  const declared = written === undefined ? Number.POSITIVE_INFINITY : Number(written);
  if (declared <= heldBytesMax || bytesMax <= bounds.bytesMax)
    return { body: await readBody(request, { ...bounds, bytesMax }) };
  if (written !== undefined && declared > bytesMax) throw tooLarge(bytesMax);
  const onBytes = (bytes: number): void => {
    answer.bytesIn += bytes;
  };
  return { body: 'items', items: new Upload(request, { bytesMax, clock, idleMs: requestTimeoutMs, onBytes, onEnd }) };
}

function headOf(request: IncomingMessage, answer: Answer): Pick<RawRequestForm, 'method' | 'url' | 'headers'> {
  const { path, query } = splitTarget(request.url ?? '/');
  const host = request.headers.host ?? 'localhost';
  return {
    method: request.method ?? 'GET',
    url: `${answer.client.scheme}://${host}${path}${query === '' ? '' : `?${query}`}`,
    headers: headers.endToEnd(headers.headerPairs(request), request.headers.connection),
  };
}
