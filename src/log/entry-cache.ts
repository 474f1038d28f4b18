/** The newest entries in memory, so that followers, which are nearly always at the tail, do not read the disk. First in, first out. */
const bytesMax = 16 * 1024 * 1024;
const entriesMax = 65_536;

export class EntryCache {
  readonly #byKey = new Map<number, Uint8Array>();
  #bytes = 0;

  add(logId: number, position: number, body: Uint8Array): void {
    this.#byKey.set(keyOf(logId, position), body);
    this.#bytes += body.length;
    for (const [key, oldest] of this.#byKey) {
      if (this.#bytes <= bytesMax && this.#byKey.size <= entriesMax) break;
      this.#byKey.delete(key);
      this.#bytes -= oldest.length;
    }
  }

  get(logId: number, position: number): Uint8Array | undefined {
    return this.#byKey.get(keyOf(logId, position));
  }
}

/** Both fit: ids below 2^16, positions below 2^37. */
function keyOf(logId: number, position: number): number {
  return position * 65_536 + logId;
}
