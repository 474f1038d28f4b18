/**
 * A body on its way out, in pieces: the next goes when the one before is taken. A client that takes nothing for a while is given up, because
 * what waits for it is memory; a slow one is not, however long all of it takes.
 */
import type { ServerResponse } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { isGone, outOf } from './http-version.ts';

const pieceBytes = 65_536;

/** Ends the response. Resolves when all is handed over, or the client is gone or given up. */
export async function sendBody(response: ServerResponse, body: Buffer, clock: Clock, idleMs: number): Promise<void> {
  for (let at = 0; at < body.length; at += pieceBytes) {
    if (response.write(body.subarray(at, at + pieceBytes))) continue;
    if (!(await taken(response, 'drain', clock, idleMs))) return;
  }
  const finished = taken(response, 'finish', clock, idleMs);
  response.end();
  await finished;
}

/** False when nobody is left to write to. */
export function taken(
  response: ServerResponse,
  event: 'drain' | 'finish',
  clock: Clock,
  idleMs: number,
): Promise<boolean> {
  if (isGone(response)) return Promise.resolve(false);
  const out = outOf(response);
  return new Promise(resolve => {
    const timer = clock.after(idleMs, () => response.destroy());
    const done = (): void => {
      timer.cancel();
      out.off(event, done).off('close', done);
      resolve(!isGone(response));
    };
    out.on(event, done).on('close', done);
  });
}
