/** Two connections that pass each other's bytes on, unread, until either ends or both have been silent for long. */
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '../core/clock.ts';

export function tunnel(
  ours: Duplex,
  theirs: Duplex,
  first: Buffer,
  clock: Clock,
  idleMs: number,
  onEnd: () => void,
): void {
  let movedMs = clock.monotonic();
  let over = false;
  let timer: Timer;
  const end = (): void => {
    if (over) return;
    over = true;
    timer.cancel();
    // What is written already still arrives.
    ours.end();
    theirs.end();
    const force = clock.after(lingerMs, () => {
      ours.destroy();
      theirs.destroy();
    });
    let open = 2;
    const closed = (): void => {
      if (--open === 0) force.cancel();
    };
    for (const each of [ours, theirs]) {
      if (each.destroyed) closed();
      else each.once('close', closed);
      each.resume();
    }
    onEnd();
  };
  const pass = (from: Duplex, to: Duplex): void => {
    from.on('data', (bytes: Buffer) => {
      movedMs = clock.monotonic();
      if (!to.writable) return;
      if (!to.write(bytes)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', end).on('close', end).on('error', end);
  };
  const look = (): void => {
    const restMs = movedMs + idleMs - clock.monotonic();
    if (restMs <= 0) end();
    else timer = clock.after(restMs, look);
  };
  timer = clock.after(idleMs, look);
  pass(ours, theirs);
  pass(theirs, ours);
  if (first.length > 0) ours.write(first);
  theirs.resume();
  ours.resume();
}

const lingerMs = 2000;
