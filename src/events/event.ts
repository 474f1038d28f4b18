/**
 * An event as it lies in a topic's log. Each carries its source and the source's own number, so that a reader which
 * skips what it has taken from that source sees every event once, however often a relay sent it (data core, rule 16).
 */
import { TandemError } from '../core/errors.ts';
import { pack, unpack } from '../replication/codec.ts';
import type { NamedBlob } from '../replication/large-entries.ts';

export interface StoredEvent {
  /** A state log (`state/inventory/3#<incarnation>`) for `tx.emit`, a process start for `publish`. */
  readonly source: string;
  /** Grows with every event of that source; see `numberOf`. */
  readonly number: number;
  readonly key: string;
  /** The event itself, packed: only its handler unpacks it. Empty while it is `large`. */
  readonly body: Uint8Array;
  /** Where the body lies, and its size, when no entry of the log could hold it. */
  readonly large?: (NamedBlob & { readonly bytes: number }) | undefined;
  /** Wall time of the source in ms. */
  readonly at: number;
  readonly traceparent: string | undefined;
  /** Set on what was redriven: the one subscription (`service.name`) that it is meant for; the others skip it. */
  readonly only?: string | undefined;
}

/** Events of one log entry that can be told apart; an entry of 1 MiB holds fewer. */
const eventsPerEntryMax = 65_536;

/** The number of the `index`-th event of the entry at `position`: ordered as the log is. */
export function numberOf(position: number, index: number): number {
  return position * eventsPerEntryMax + index;
}

const format = 1;
/** The body is a blob. */
const largeFormat = 2;

export function encodeEvent(event: StoredEvent): Uint8Array {
  const { source, number, key, body, at, traceparent = null, only = null, large } = event;
  if (!large) return pack([format, source, number, key, body, at, traceparent, only]);
  return pack([largeFormat, source, number, key, body, at, traceparent, only, large.blob, large.sha256, large.bytes]);
}

/** @throws CORRUPT when the bytes are not an event of a known format. */
export function decodeEvent(bytes: Uint8Array): StoredEvent {
  const fields = unpacked(bytes) as unknown[];
  if (!Array.isArray(fields) || (fields[0] !== format && fields[0] !== largeFormat)) {
    throw new TandemError(
      'CORRUPT',
      `an event has format ${String(fields?.[0])}, this version reads ${format} and ${largeFormat}; upgrade before reading on`,
    );
  }
  const [found, source, number, key, body, at, traceparent, only, blob, sha256, size] = fields;
  if (
    typeof source !== 'string' ||
    typeof number !== 'number' ||
    typeof key !== 'string' ||
    !(body instanceof Uint8Array)
  ) {
    throw new TandemError('CORRUPT', 'an event lacks its source, number, key or body');
  }
  return {
    source,
    number,
    key,
    body,
    at: at as number,
    traceparent: (traceparent as string | null) ?? undefined,
    ...(only ? { only: only as string } : {}),
    ...(found === largeFormat
      ? { large: { blob: blob as string, sha256: sha256 as string, bytes: size as number } }
      : {}),
  };
}

/** The event itself; `whole` before (see `large-events.ts`). @throws CORRUPT when the bytes cannot be read. */
export function bodyOf(event: StoredEvent): unknown {
  return unpacked(event.body);
}

/** The log position in which an event of a state log was emitted. */
export function positionOf(number: number): number {
  return Math.floor(number / eventsPerEntryMax);
}

function unpacked(bytes: Uint8Array): unknown {
  try {
    return unpack(bytes);
  } catch (cause) {
    throw new TandemError('CORRUPT', 'an event cannot be decoded', { cause });
  }
}
