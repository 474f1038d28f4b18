/** The shared memory through which a worker sees the main loop live: its last tick and its open calls. */
export interface BeatMemory {
  readonly buffer: SharedArrayBuffer;
  /** By the main loop: it lives, at this wall time (ms), with so many calls open. */
  tick(wallMs: number, inflight: number): void;
  /** By the worker. */
  read(): { readonly tickedAtMs: number; readonly inflight: number };
}

/** Two slots of 64 bits, so that a wall time fits and is read whole. */
export function beatMemory(buffer: SharedArrayBuffer = new SharedArrayBuffer(16)): BeatMemory {
  const cells = new BigInt64Array(buffer);
  return {
    buffer,
    tick(wallMs, inflight) {
      Atomics.store(cells, 1, BigInt(inflight));
      Atomics.store(cells, 0, BigInt(Math.round(wallMs)));
    },
    read: () => ({ tickedAtMs: Number(Atomics.load(cells, 0)), inflight: Number(Atomics.load(cells, 1)) }),
  };
}
