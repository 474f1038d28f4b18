/**
 * From the bytes of a question to the bytes of its answer, the registry given. No I/O.
 *
 * Ready places of the asker's failure zone come first (SRV priority 0, others 10; RFC 2782), and within a zone an answer begins with any of them, so
 * that programs that take the first address spread. Negative answers carry the SOA, so that they too are kept for a second at most (RFC 2308). Who has
 * not yet heard of everybody says SERVFAIL, never "no such name": resolvers ask another server then.
 */

import type { Random } from '../core/random.ts';
import { type DnsQuery, type DnsQuestion, readQuery } from './dns-query.ts';
import {
  bareReply,
  type DnsData,
  type DnsRecord,
  type DnsReply,
  payloadBytes,
  recordTypes,
  replyCodes,
  typeOf,
  writeReply,
} from './dns-reply.ts';
import { buildZone, type Place, placesOf, type Zone, type ZoneSource, zoneName } from './dns-zone.ts';
import type { Registry } from './registry.ts';

export type DnsRegistry = ZoneSource & Pick<Registry, 'version' | 'learning'>;

/** How a question came, for how long an answer may be. */
export type Carrier = 'udp' | 'tcp';

export interface DnsAnswererOptions {
  readonly registry: DnsRegistry;
  /** The failure zone of this process: that of askers who are on no known host. */
  readonly zone: string;
  readonly ttlSeconds: number;
  readonly random: Random;
}

/** The reply, or undefined when there is none to be given. `from` is the asker's IP address. */
export type DnsAnswerer = (bytes: Uint8Array, from: string, carrier: Carrier) => Uint8Array | undefined;

const datagramBytesMin = 512;
/** A datagram to this machine is not fragmented: there counts what the asker takes, up to what HAProxy takes at most. */
const loopbackBytesMax = 8192;
const messageBytesMax = 65_535;
const farPriority = 10;
const classInternet = 1;

export function dnsAnswerer(options: DnsAnswererOptions): DnsAnswerer {
  const { registry } = options;
  let zone: Zone | undefined;
  let version = -1;
  return (bytes, from, carrier) => {
    const query = readQuery(bytes);
    if (query.kind === 'silence') return undefined;
    if (query.kind === 'refused') return bareReply(query.header, query.code);
    if (!zone || version !== registry.version) {
      zone = buildZone(registry);
      version = registry.version;
    }
    const reply = answer(query, zone, zone.zones.get(from) ?? options.zone, options);
    return writeReply(query.header, query.question, query.edns, reply, roomOf(query, from, carrier));
  };
}

/** RFC 1035, 4.2.1; RFC 6891, 6.2.3 to 6.2.5. */
function roomOf({ edns }: Extract<DnsQuery, { kind: 'query' }>, from: string, carrier: Carrier): number {
  if (carrier === 'tcp') return messageBytesMax;
  const most = from === '127.0.0.1' || from === '::1' ? loopbackBytesMax : payloadBytes;
  return Math.min(most, Math.max(datagramBytesMin, edns?.payloadBytes ?? 0));
}

const empty = { answers: [], authorities: [], additionals: [] };
const error = (code: number): DnsReply => ({ code, authoritative: false, ...empty });

function answer(
  { question, edns }: Extract<DnsQuery, { kind: 'query' }>,
  zone: Zone,
  near: string,
  { registry, ttlSeconds: ttl, random }: DnsAnswererOptions,
): DnsReply {
  if (edns && edns.version > 0) return error(replyCodes.badVersion);
  const { name, type } = question;
  if (question.class !== classInternet) return error(replyCodes.refused);
  if (type === recordTypes.AXFR || type === recordTypes.IXFR) return error(replyCodes.refused);
  if (name !== zoneName && !name.endsWith(`.${zoneName}`)) return error(replyCodes.refused);
  const soa = soaRecord(registry.version, ttl);
  const places = placesOf(zone, name);
  const found = places ? recordsOf(question, inOrder(places, near, random), near, soa, ttl) : [];
  if (places && found.length > 0) {
    return {
      code: replyCodes.ok,
      authoritative: true,
      answers: found,
      authorities: [],
      additionals: hostsOf(found, zone, ttl),
    };
  }
  if ((!places || places.length === 0) && name !== zoneName && registry.learning())
    return error(replyCodes.serverFailure);
  const code = places ? replyCodes.ok : replyCodes.noSuchName;
  return { ...empty, code, authoritative: true, authorities: [{ ...soa, name: zoneName }] };
}

function recordsOf(
  { name, type }: DnsQuestion,
  places: readonly Place[],
  near: string,
  soa: DnsRecord,
  ttl: number,
): readonly DnsRecord[] {
  const records = (data: readonly DnsData[]): DnsRecord[] => data.map(each => ({ ttl, data: each }));
  const isApex = name === zoneName;
  switch (type) {
    case recordTypes.A:
    case recordTypes.AAAA:
      return records(addresses(places)).filter(({ data }) => typeOf(data) === type);
    case recordTypes.SRV:
      return records(places.map(place => service(place, near)));
    case recordTypes.TXT:
      return records(places.map(({ text }) => ({ kind: 'txt', strings: text })));
    case recordTypes.SOA:
      return isApex ? [soa] : [];
    case recordTypes.NS:
      return isApex ? records([{ kind: 'ns', target: nameServer }]) : [];
    case recordTypes.ANY:
      // One of the sets, as RFC 8482 (4.1) has it: a question of 40 bytes is not worth all of them.
      return isApex ? [soa] : records(places.map(place => service(place, near)));
    default:
      return [];
  }
}

/** Each once: instances share their machine's. */
function addresses(places: readonly Place[]): DnsData[] {
  const seen = new Map<string, DnsData>();
  for (const { address } of places) if (address) seen.set(address.join(), { kind: 'address', bytes: address });
  return [...seen.values()];
}

function service({ weight, port, host, zone }: Place, near: string): DnsData {
  return { kind: 'srv', priority: zone === near ? 0 : farPriority, weight, port, target: host };
}

/** The addresses of the hosts that records name, so that nobody has to ask for them. */
function hostsOf(records: readonly DnsRecord[], zone: Zone, ttl: number): DnsRecord[] {
  const names = new Set(records.map(({ data }) => (data.kind === 'srv' || data.kind === 'ns' ? data.target : '')));
  return [...names].flatMap(name => addresses(placesOf(zone, name) ?? []).map(data => ({ name, ttl, data })));
}

/** Those of the asker's zone first; each part begins with any of its places. By chance, not in turn: askers ask for A and AAAA in pairs. */
function inOrder(places: readonly Place[], near: string, random: Random): readonly Place[] {
  if (places.length < 2) return places;
  const here = places.filter(({ zone }) => zone === near);
  const there = places.filter(({ zone }) => zone !== near);
  return [...rotated(here, random), ...rotated(there, random)];
}

function rotated(places: readonly Place[], random: Random): readonly Place[] {
  const first = random.below(places.length);
  return [...places.slice(first), ...places.slice(0, first)];
}

const nameServer = `naming.${zoneName}`;

/** RFC 1035, 3.3.13; its last number is for how long "no such name" is kept (RFC 2308, 4). Nobody transfers the zone, so the others are for show. */
function soaRecord(version: number, ttl: number): DnsRecord {
  return {
    ttl,
    data: { kind: 'soa', server: nameServer, mailbox: `hostmaster.${zoneName}`, times: [version, 60, 10, 600, ttl] },
  };
}
