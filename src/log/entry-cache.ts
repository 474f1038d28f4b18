/**
 * The newest entries in memory, so that followers, which are nearly always at the tail, do not read the disk. First in,
 * first out by a ring: a Map alone would do, but finding its oldest key walks over all that were deleted before it.
 */
const bytesMax = 16 * 1024 * 1024;
const entriesMax = 32_768;

export class EntryCache {
  readonly #byKey = new Map<number, Uint8Array>();
  readonly #ring = new Float64Array(entriesMax);
  #oldest = 0;
  #count = 0;
  #bytes = 0;

  add(logId: number, position: number, body: Uint8Array): void {
    const key = keyOf(logId, position);
    while (this.#count === entriesMax || (this.#count > 0 && this.#bytes + body.length > bytesMax)) this.#drop();
    this.#ring[(this.#oldest + this.#count) % entriesMax] = key;
    this.#count++;
    this.#bytes += body.length;
    this.#byKey.set(key, body);
  }

  get(logId: number, position: number): Uint8Array | undefined {
    return this.#byKey.get(keyOf(logId, position));
  }

  #drop(): void {
    const key = this.#ring[this.#oldest]!;
    this.#oldest = (this.#oldest + 1) % entriesMax;
    this.#count--;
    this.#bytes -= this.#byKey.get(key)?.length ?? 0;
    this.#byKey.delete(key);
  }
}

/** Both fit: ids below 2^16, positions below 2^37. */
function keyOf(logId: number, position: number): number {
  return position * 65_536 + logId;
}
