/** Where each entry of one log lies. Positions are dense, so the index is an array from the first kept position on. */

/** Segment and offset in one number: a segment is far below 4 GiB. */
export type Location = number;
const offsets = 0x1_0000_0000;

export function locationOf(segment: number, offset: number): Location {
  return segment * offsets + offset;
}
export function segmentOf(location: Location): number {
  return Math.floor(location / offsets);
}
export function offsetOf(location: Location): number {
  return location % offsets;
}

export class LogIndex {
  readonly name: string;
  readonly id: number;
  /** First position kept. */
  first = 1;
  /** Highest position that is durable. */
  durable = 0;
  /** Highest position given out; those above `durable` are being written. */
  tail = 0;
  bytes = 0;
  /** Woken when `durable` moves. */
  readonly waiting: Set<() => void> = new Set();
  #base = 1;
  #locations: Location[] = [];
  #lengths: number[] = [];

  constructor(name: string, id: number) {
    this.name = name;
    this.id = id;
  }

  locate(position: number): Location | undefined {
    return this.#locations[position - this.#base];
  }

  lengthAt(position: number): number {
    return this.#lengths[position - this.#base] ?? 0;
  }

  place(position: number, location: Location, length: number): void {
    if (this.#locations.length === 0) this.#base = position;
    const at = position - this.#base;
    if (at < 0) {
      // A copy that was found before the entries behind it (recovery reads segments in order, and copies come late).
      this.#locations.unshift(...new Array<number>(-at).fill(Number.NaN));
      this.#lengths.unshift(...new Array<number>(-at).fill(0));
      this.#base = position;
    }
    const index = position - this.#base;
    while (this.#locations.length < index) {
      this.#locations.push(Number.NaN);
      this.#lengths.push(0);
    }
    if (!(this.#locations[index]! >= 0)) this.bytes += length;
    this.#locations[index] = location;
    this.#lengths[index] = length;
  }

  /** Forgets entries below `before`. */
  trim(before: number): void {
    if (before <= this.first) return;
    this.first = before;
    const drop = Math.min(Math.max(0, before - this.#base), this.#locations.length);
    for (let i = 0; i < drop; i++) this.bytes -= this.#lengths[i]!;
    this.#locations.splice(0, drop);
    this.#lengths.splice(0, drop);
    this.#base = Math.max(this.#base + drop, this.#locations.length === 0 ? before : this.#base);
  }

  /** First position from `first` to `tail` that recovery did not find; undefined when all are there. */
  gap(): number | undefined {
    for (let position = this.first; position <= this.tail; position++) {
      if (!(this.locate(position)! >= 0)) return position;
    }
    return undefined;
  }

  wake(): void {
    for (const wake of this.waiting) wake();
  }
}

/** Kept entries that lie in a segment. Copies made earlier lie elsewhere, so every kept position is looked at. */
export function livingIn(logs: Iterable<LogIndex>, segment: number): { log: LogIndex; position: number }[] {
  const living: { log: LogIndex; position: number }[] = [];
  for (const log of logs) {
    for (let position = log.first; position <= log.durable; position++) {
      const location = log.locate(position);
      if (location !== undefined && segmentOf(location) === segment) living.push({ log, position });
    }
  }
  return living;
}
