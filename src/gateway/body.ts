/**
 * Bodies: bounded, each and all together, and JSON only for methods that are not raw. The bounds are checked against what
 * is declared before anything is read, and again against what arrives, because chunked bodies declare nothing.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { type SystemCode, TandemError, type TandemErrorOptions } from '../core/errors.ts';

/** Nesting of a JSON body: far above any sane input, far below what overflows a stack. */
const depthMax = 64;

export interface BodyBounds {
  readonly clock: Clock;
  /** For all of it. */
  readonly timeoutMs: number;
  /** Of this body. */
  readonly bytesMax: number;
  /** Whether so many bytes have room beside the bodies of all others. @throws OVERLOADED. */
  check(bytes: number): void;
  /** As `check`, and keeps the room. */
  take(bytes: number): void;
}

/** @throws TOO_LARGE when the body is over its bound, OVERLOADED when all together are, DEADLINE_EXCEEDED (408) when it does not come, CANCELED when the client went away. */
export async function readBody(request: IncomingMessage, bounds: BodyBounds): Promise<Buffer> {
  const { bytesMax, clock, timeoutMs } = bounds;
  const declared = Number(request.headers['content-length'] ?? 0);
  if (declared > bytesMax) throw tooLarge(bytesMax);
  bounds.check(declared);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const settle = (finish: () => void): void => {
      timer.cancel();
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
      finish();
    };
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      try {
        if (bytes > bytesMax) throw tooLarge(bytesMax);
        bounds.take(chunk.length);
        chunks.push(chunk);
      } catch (refused) {
        request.pause();
        settle(() => reject(refused));
      }
    };
    const onEnd = (): void => settle(() => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, bytes)));
    const onClose = (): void =>
      settle(() => reject(new TandemError('CANCELED', 'the client went away before its body was complete', notDone)));
    const timer = clock.after(timeoutMs, () => settle(() => reject(late())));
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

const notDone = { outcome: 'not-done' } as const;

export function tooLarge(bytesMax: number): TandemError {
  return new TandemError('TOO_LARGE', `the body is over ${bytesMax} bytes`, { details: { bytesMax } });
}

/** A refusal for which HTTP has a sharper status than the catalogue. */
export class StatusError extends TandemError {
  readonly status: number;

  constructor(status: number, code: SystemCode, message: string, options: TandemErrorOptions = {}) {
    super(code, message, options);
    this.status = status;
  }
}

/** The body did not come in time. */
export function late(): StatusError {
  return new StatusError(408, 'DEADLINE_EXCEEDED', 'the request did not arrive in time', notDone);
}

/** @throws UNSUPPORTED (415) unless the body is declared to be plain JSON. */
export function checkMediaType(request: IncomingMessage): void {
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw new StatusError(415, 'UNSUPPORTED', `content-encoding '${encoding}' is not taken; send the body as it is`);
  const type = request.headers['content-type'];
  if (type === 'application/json') return;
  if (type === undefined || !/^application\/(?:[\w.+-]+\+)?json\s*(?:;\s*charset="?utf-?8"?\s*)?$/i.test(type))
    throw new StatusError(415, 'UNSUPPORTED', `content-type '${type ?? ''}' is not taken; send application/json`);
}

/** @throws INVALID when it is not JSON in UTF-8. */
export function parseJson(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined;
  if (!isUtf8(bytes)) throw new TandemError('INVALID', 'the body is not UTF-8');
  const text = bytes.toString('utf8');
  if (tooDeep(text)) throw new TandemError('INVALID', `the body is nested deeper than ${depthMax} levels`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TandemError('INVALID', `the body is not JSON: ${(cause as Error).message}`, { cause });
  }
}

function tooDeep(text: string): boolean {
  if (text.length <= 2 * depthMax) return false;
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text.charCodeAt(i);
    if (quoted) {
      if (char === 92) i++;
      else if (char === 34) quoted = false;
    } else if (char === 34) quoted = true;
    else if (char === 123 || char === 91) {
      if (++depth > depthMax) return true;
    } else if (char === 125 || char === 93) depth--;
  }
  return false;
}
