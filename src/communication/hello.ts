/**
 * The first frame in each direction: "this is the link, and these are the versions I speak". Both ends then use the
 * highest that both know; with none in common the connection ends, and nothing was called.
 */
import type { Reader } from './decode.ts';
import { frameType, magic, versionMax, versionMin } from './frame.ts';
import type { Wire } from './wire.ts';

export function writeHello(wire: Wire): void {
  wire.begin(frameType.hello, 0);
  const { slab } = wire;
  slab.reserve(6);
  slab.at = slab.bytes.writeUInt32BE(magic, slab.at);
  slab.bytes[slab.at++] = versionMin;
  slab.bytes[slab.at++] = versionMax;
  wire.commit();
}

/** What is wrong with the other end's hello, or undefined. Bytes after the known ones are left for later versions. */
export function readHello(type: number, reader: Reader): string | undefined {
  if (type !== frameType.hello || reader.end - reader.at < 6 || reader.uint32() !== magic)
    return 'it does not speak the link protocol';
  const min = reader.byte();
  const max = reader.byte();
  if (min <= versionMax && max >= versionMin) return undefined;
  return `it speaks versions ${min} to ${max} of the link protocol, and this end ${versionMin} to ${versionMax}`;
}
