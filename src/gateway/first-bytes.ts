/**
 * What a connection is, is told by its first bytes: they are looked at and put back before anybody else reads. A connection that says too little, too
 * slowly or nothing is ended, so that waiting ones do not gather.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';

export interface Undecided {
  readonly clock: Clock;
  /** For the bytes that decide. */
  readonly timeoutMs: number;
  /** Those that still wait: whoever drains ends them. */
  readonly sockets: Set<Socket>;
}

/** `decide` sees all that has come: it says what to do with the connection, or nothing as long as that is too little. Bytes before `skip` are not put back. */
export function firstBytes(
  socket: Socket,
  { clock, timeoutMs, sockets }: Undecided,
  decide: (bytes: Buffer) => { readonly skip?: number; readonly next: () => void } | undefined,
): void {
  const timer = clock.after(timeoutMs, () => socket.destroy());
  let bytes: Buffer = Buffer.alloc(0);
  const leave = (): void => {
    timer.cancel();
    sockets.delete(socket);
  };
  const end = (): void => void socket.destroy();
  const onReadable = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (!chunk) return;
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    const decision = decide(bytes);
    if (!decision) return;
    socket.off('readable', onReadable).off('close', leave).off('end', end);
    leave();
    const rest = decision.skip ? bytes.subarray(decision.skip) : bytes;
    if (rest.length > 0) socket.unshift(rest);
    decision.next();
    // Only now: whoever took it over listens for errors of its own.
    socket.off('error', end);
  };
  sockets.add(socket);
  socket.on('error', end).on('end', end).on('close', leave).on('readable', onReadable);
}
