/**
 * What one file holds on a simulated disk: what a reader sees now, what a power cut would leave for certain, and the
 * changes between the two, of which a power cut keeps any part: whole, torn at a sector, some sectors, or nothing.
 */
import type { Random } from '../core/random.ts';

/** The unit in which a disk writes. */
const sectorBytes = 512;

export type Change =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number };

export class FileContent {
  readonly #seen = new GrowingBytes();
  readonly #durable = new GrowingBytes();
  #pending: Change[] = [];
  /** Changes whose sync failed: the kernel has forgotten that they are not on disk, so no later sync brings them there. */
  #doomed: Change[] = [];
  /** Changes ever taken out of `#pending`. */
  #settled = 0;

  get size(): number {
    return this.#seen.size;
  }

  read(position: number, length: number): Uint8Array {
    return this.#seen.slice(position, position + length);
  }

  apply(change: Change): void {
    this.#seen.apply(change);
    this.#pending.push(change);
  }

  /** A mark of what a sync that begins now covers. */
  mark(): number {
    return this.#settled + this.#pending.length;
  }

  synced(mark: number): void {
    for (const change of this.#settle(mark)) this.#durable.apply(change);
  }

  syncFailed(mark: number): void {
    this.#doomed.push(...this.#settle(mark));
  }

  #settle(mark: number): Change[] {
    const settled = this.#pending.splice(0, Math.max(0, mark - this.#settled));
    this.#settled += settled.length;
    return settled;
  }

  flipBit(position: number, bit: number): void {
    this.#seen.flip(position, bit);
    this.#durable.flip(position, bit);
  }

  /** The power goes: keeps what was synced and any part of the rest. */
  powerCut(random: Random): void {
    for (const change of [...this.#doomed, ...this.#pending]) {
      for (const kept of survivors(change, random)) this.#durable.apply(kept);
    }
    this.#doomed = [];
    this.#settle(this.mark());
    this.#seen.copy(this.#durable);
  }
}

/** The part of a change that a crash leaves. */
export function survivors(change: Change, random: Random): Change[] {
  const luck = random.next();
  if (luck < 0.35) return [];
  if (luck < 0.6 || change.kind === 'truncate') return [change];
  const { position, bytes } = change;
  if (luck < 0.8) {
    const kept = random.below(bytes.length + 1);
    const end = random.next() < 0.5 ? kept : Math.min(bytes.length, Math.floor(kept / sectorBytes) * sectorBytes);
    return [{ kind: 'write', position, bytes: bytes.subarray(0, end) }];
  }
  const parts: Change[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + sectorBytes - ((position + at) % sectorBytes));
    if (random.next() < 0.5) parts.push({ kind: 'write', position: position + at, bytes: bytes.subarray(at, end) });
    at = end;
  }
  return parts;
}

/** Bytes that grow, zeros in the gaps. */
class GrowingBytes {
  #bytes: Uint8Array = new Uint8Array(0);
  size = 0;

  apply(change: Change): void {
    if (change.kind === 'truncate') {
      if (change.size < this.size) this.#bytes.fill(0, change.size, this.size);
      this.#reserve(change.size);
      this.size = change.size;
      return;
    }
    const end = change.position + change.bytes.length;
    this.#reserve(end);
    this.#bytes.set(change.bytes, change.position);
    this.size = Math.max(this.size, end);
  }

  slice(from: number, to: number): Uint8Array {
    return this.#bytes.slice(Math.min(from, this.size), Math.min(to, this.size));
  }

  flip(position: number, bit: number): void {
    if (position < this.size) this.#bytes[position] = this.#bytes[position]! ^ (1 << bit);
  }

  copy(other: GrowingBytes): void {
    this.#bytes = other.slice(0, other.size);
    this.size = other.size;
  }

  #reserve(size: number): void {
    if (size <= this.#bytes.length) return;
    const grown = new Uint8Array(
      Math.max(size, Math.min(this.#bytes.length * 2, this.#bytes.length + 16_777_216), 4096),
    );
    grown.set(this.#bytes.subarray(0, this.size));
    this.#bytes = grown;
  }
}
