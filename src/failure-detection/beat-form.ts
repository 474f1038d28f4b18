/**
 * A beat on the wire: msgpack of an array, so that ten beats a second of fifty processes stay small and cheap to read.
 * An empty body is a farewell: the process ended as planned. Foreign or broken bytes are no beat.
 */
import { Packr, Unpackr } from 'msgpackr/pack';
import type { PartitionMap } from '../partitioning/partition-map.ts';
import type { Beat, PartitionBeat, Role } from './beat.ts';

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });
const roles: readonly Role[] = ['instance', 'gateway', 'engine', 'monitor', 'supervisor', 'naming'];

/** A beat with more comes from nobody we know. */
const doorsMax = 16;

export const farewell: Uint8Array = new Uint8Array(0);

export function beatSubject(id: string): string {
  return `beat.${id}`;
}

export function encodeBeat(beat: Beat): Uint8Array {
  const { load, map } = beat;
  const partitions: number[] = [];
  for (const { partition, ready, epoch, position } of beat.partitions) {
    partitions.push(partition, ready ? 1 : 0, epoch, position);
  }
  const packed = packr.pack([
    1,
    beat.id,
    roles.indexOf(beat.role),
    beat.service ?? null,
    beat.node,
    beat.zone,
    beat.pid,
    beat.address,
    beat.startedAt,
    beat.sequence,
    beat.sentAt,
    (beat.ready ? 1 : 0) | (beat.draining ? 2 : 0),
    Math.round(beat.mainLoopSilentMs),
    [load.inflight, load.cpu, load.memoryBytes, load.loopDelayMs],
    beat.descriptorHash,
    partitions,
    beat.entryFormat,
    map ? [map.version, map.first, map.count, map.to, map.divided] : null,
    beat.weight,
    beat.doors ?? [],
  ]);
  return new Uint8Array(packed); // a copy: msgpackr reuses its buffer
}

/** Undefined when the bytes are no beat. */
export function decodeBeat(bytes: Uint8Array): Beat | undefined {
  let form: unknown;
  try {
    form = unpackr.unpack(bytes);
  } catch {
    return undefined;
  }
  if (!Array.isArray(form) || form[0] !== 1 || form.length < 17) return undefined;
  const [
    ,
    id,
    role,
    service,
    node,
    zone,
    pid,
    address,
    startedAt,
    sequence,
    sentAt,
    flags,
    silent,
    load,
    hash,
    cells,
    entryFormat,
    map,
    weight,
    doors,
  ] = form;
  if (typeof id !== 'string' || typeof address !== 'string' || !Array.isArray(load) || !Array.isArray(cells))
    return undefined;
  if (typeof sequence !== 'number' || typeof flags !== 'number' || typeof startedAt !== 'number') return undefined;
  if (service !== null && typeof service !== 'string') return undefined;
  const known = roles[role as number];
  if (!known) return undefined;
  const partitions: PartitionBeat[] = [];
  for (let i = 0; i + 3 < cells.length; i += 4) {
    partitions.push({ partition: cells[i], ready: cells[i + 1] === 1, epoch: cells[i + 2], position: cells[i + 3] });
  }
  return {
    id,
    role: known,
    service: service ?? undefined,
    node: String(node),
    zone: String(zone),
    weight: typeof weight === 'number' && weight > 0 ? weight : 1,
    pid: Number(pid),
    address,
    startedAt,
    sequence,
    sentAt: Number(sentAt),
    ready: (flags & 1) !== 0,
    draining: (flags & 2) !== 0,
    mainLoopSilentMs: Number(silent),
    load: {
      inflight: Number(load[0]),
      cpu: Number(load[1]),
      memoryBytes: Number(load[2]),
      loopDelayMs: Number(load[3]),
    },
    descriptorHash: String(hash),
    partitions,
    entryFormat: Number(entryFormat),
    ...(Array.isArray(map) ? { map: mapOf(map) } : {}),
    ...(Array.isArray(doors) && doors.length > 0 ? { doors: doors.slice(0, doorsMax).map(String) } : {}),
  };
}

function mapOf([version, first, count, to, divided]: number[]): PartitionMap {
  return { version: version!, first: first!, count: count!, to: to!, divided: divided! };
}
