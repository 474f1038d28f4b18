/**
 * Whether a backup holds all that its logs need: a state log that was trimmed needs a snapshot that leads up to its first entry,
 * an entry that names a blob needs that blob. Blobs are read after the cut, so what did not hear that it should keep them may have
 * removed one: entries that are missing show by their positions, blobs only here.
 */
import { decodeEvent } from '../events/event.ts';
import { unpack } from '../replication/codec.ts';
import { decodeEntry } from '../replication/entry.ts';
import { decodeReference, isReference } from '../replication/large-entries.ts';

interface TrimmedLog {
  readonly first: number;
  readonly tail: number;
  /** Ends here: what it held lies in the logs that go on from it. */
  isSealed: boolean;
}

const manifestName = /^snapshot\/(.+)\/(\d{16})\/manifest$/;

export class Completeness {
  readonly #trimmed = new Map<string, TrimmedLog>();
  /** Blobs that entries name, with the entry. */
  readonly #named = new Map<string, string>();
  readonly #blobs = new Set<string>();
  /** Snapshots with a manifest: log and position, and how many chunks they have. */
  readonly #snapshots: {
    readonly log: string;
    readonly position: number;
    readonly name: string;
    readonly chunks: number;
  }[] = [];

  log(name: string, first: number, tail: number): void {
    if (name.startsWith('state/') && first > 1) this.#trimmed.set(name, { first, tail, isSealed: false });
  }

  entries(log: string, first: number, bodies: readonly Uint8Array[]): void {
    if (log.startsWith('topic/'))
      for (const [at, body] of bodies.entries()) {
        const blob = largeIn(body);
        if (blob !== undefined) this.#named.set(blob, `${log} at ${first + at}`);
      }
    if (!log.startsWith('state/')) return;
    const trimmed = this.#trimmed.get(log);
    for (const [at, body] of bodies.entries()) {
      if (isReference(body)) this.#named.set(decodeReference(body).blob, `${log} at ${first + at}`);
      else if (trimmed && body.length > 0) trimmed.isSealed ||= isSeal(body);
    }
  }

  /** `bytes` of manifests only. */
  blob(name: string, bytes: Uint8Array | undefined): void {
    this.#blobs.add(name);
    const [, partition, position] = manifestName.exec(name) ?? [];
    if (partition === undefined || !bytes) return;
    const chunks = chunksOf(bytes);
    if (chunks === undefined) return;
    const snapshot = name.slice(0, name.lastIndexOf('/'));
    this.#snapshots.push({ log: `state/${partition}`, position: Number(position), name: snapshot, chunks });
  }

  /** In words; undefined when nothing is. */
  missing(): string | undefined {
    for (const [blob, entry] of this.#named)
      if (!this.#blobs.has(blob)) return `the blob '${blob}' that ${entry} names`;
    for (const [log, { first, tail, isSealed }] of this.#trimmed) {
      const leads = this.#snapshots.some(
        snapshot =>
          snapshot.log === log &&
          snapshot.position >= first - 1 &&
          snapshot.position <= tail &&
          this.#isWhole(snapshot),
      );
      if (!leads && !isSealed) return `a snapshot of ${log}, which begins at ${first}`;
    }
    return undefined;
  }

  #isWhole({ name, chunks }: { name: string; chunks: number }): boolean {
    for (let chunk = 0; chunk < chunks; chunk++)
      if (!this.#blobs.has(`${name}/${String(chunk).padStart(6, '0')}`)) return false;
    return true;
  }
}

/** What cannot be read is none: whether that matters, whoever applies it says. */
function isSeal(body: Uint8Array): boolean {
  try {
    return decodeEntry(body).seal !== undefined;
  } catch {
    return false;
  }
}

/** The blob of a large event; what cannot be read names none. */
function largeIn(body: Uint8Array): string | undefined {
  try {
    return body.length > 0 ? decodeEvent(body).large?.blob : undefined;
  } catch {
    return undefined;
  }
}

function chunksOf(manifest: Uint8Array): number | undefined {
  try {
    return (unpack(manifest) as { chunks?: number }).chunks;
  } catch {
    return undefined;
  }
}

export function isManifest(blob: string): boolean {
  return manifestName.test(blob);
}
