/**
 * Bytes of values, results and events: msgpack without records, so that every value is readable on its own and by other
 * languages. Class instances become plain objects. The decoder treats its input as untrusted: no structured-clone extension.
 */
import { Packr } from 'msgpackr';

const packr = new Packr({ useRecords: false, moreTypes: false, structuredClone: false });

/** A fresh copy: msgpackr hands out parts of a shared buffer, and these bytes are kept. */
export function pack(value: unknown): Uint8Array {
  return new Uint8Array(packr.pack(value));
}

export function unpack(bytes: Uint8Array): unknown {
  return packr.unpack(bytes);
}
