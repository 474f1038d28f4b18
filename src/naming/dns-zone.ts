/**
 * The names of the zone `tandem.internal` and what each stands for, from the registry: built anew when that changes. Pure.
 *
 *   stock                            the ready instances of service stock
 *   _stock._tcp                      the same, as RFC 2782 spells it
 *   stock-1-x3f9ab.stock             one instance
 *   gateway, _http._tcp.gateway, …   the live gateways, by the doors that clients use, not by their links
 *   naming                           the DNS servers of the app
 *
 * A place that nobody elsewhere can reach (a Unix socket, memory, 0.0.0.0 or ::) is not given out. Names above others
 * exist too, without records (RFC 8020), or resolvers would take all below them for missing.
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { Member, Role } from '../failure-detection/beat.ts';
import type { Registry } from './registry.ts';

/** For private use, as ICANN reserved `.internal` in 2024. */
export const zoneName = 'tandem.internal';

/** One address and port that can be connected to. */
export interface Place {
  /** The name that has its address: the instance's own, or of another zone when it was configured as a host name. */
  readonly host: string;
  readonly port: number;
  /** 4 or 16 bytes; undefined for a host name. */
  readonly address: Uint8Array | undefined;
  readonly zone: string;
  readonly weight: number;
  /** RFC 6763, section 6: key=value. */
  readonly text: readonly string[];
}

export interface Zone {
  readonly names: ReadonlyMap<string, readonly Place[]>;
  /** The failure zone of a host, by the address that its processes have. */
  readonly zones: ReadonlyMap<string, string>;
}

export type ZoneSource = Pick<Registry, 'members' | 'services'>;

/** Roles that have doors for others than Tandem's own processes. */
const doorRoles: readonly Role[] = ['gateway', 'naming'];
/** HAProxy divides weights by 256, so the usual one is many times that: a slow instance, at a tenth, still gets 2 where others get 25. */
const weightUnit = 6400;
const weightMax = 65_535;
const slowShare = 0.1;
const none: readonly Place[] = [];

export function buildZone({ members, services }: ZoneSource): Zone {
  const names = new Map<string, Place[]>();
  const zones = new Map<string, string>();
  const put = (name: string, ...places: readonly Place[]): void => {
    const known = names.get(name);
    if (known) known.push(...places);
    else names.set(name, [...places]);
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const above = name.slice(dot + 1);
      if (!names.has(above)) names.set(above, []);
    }
  };
  const putService = (name: string, ...places: readonly Place[]): void => {
    put(`${name}.${zoneName}`, ...places);
    put(`_${name}._tcp.${zoneName}`, ...places);
  };
  put(zoneName);
  for (const role of doorRoles) put(`${role}.${zoneName}`);
  for (const service of services()) if (!isRole(service)) putService(service);
  const all = members();
  const heaviest = all.reduce((most, { beat }) => Math.max(most, beat.weight), 0);
  const unit = Math.min(weightUnit, weightMax / Math.max(heaviest, 1));
  for (const member of all) {
    const { beat, verdict } = member;
    if (verdict === 'dead') continue;
    const link = parts(beat.address);
    if (link) zones.set(link.host, beat.zone);
    if (beat.role === 'instance' && beat.service !== undefined && isName(beat.service) && !isRole(beat.service)) {
      // A service that is only starting exists already.
      putService(beat.service);
      const place = link && isReady(member) && placeOf(member, link, unit, `${beat.service}.${zoneName}`);
      if (!place) continue;
      putService(beat.service, place);
      put(`${labelOf(beat.id)}.${beat.service}.${zoneName}`, place);
    } else if (doorRoles.includes(beat.role) && isReady(member)) {
      const above = `${beat.role}.${zoneName}`;
      (beat.doors ?? []).forEach((door, index) => {
        const reached = parts(door);
        const place = reached && placeOf(member, reached, unit, above);
        if (!place) return;
        // Who asks for no door in particular gets the first.
        if (index === 0) put(above, place);
        if (index === 0) put(`${labelOf(beat.id)}.${above}`, place);
        put(`_${reached.scheme}._tcp.${above}`, place);
      });
    }
  }
  return { names, zones };
}

/** The places of a name; undefined when there is no such name. */
export function placesOf(zone: Zone, name: string): readonly Place[] | undefined {
  const places = zone.names.get(name);
  return places && places.length === 0 ? none : places;
}

/** What can stand in a message: labels of 63 bytes, 253 in all. Beats come over a wire, and one wrong name would spoil the answers about others. */
function isName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(text);
}

function isRole(name: string): boolean {
  return doorRoles.some(role => role === name);
}

function isReady({ beat, verdict }: Member): boolean {
  return beat.ready && !beat.draining && verdict !== 'stuck' && verdict !== 'dead';
}

function placeOf(
  { beat, verdict }: Member,
  { host, port }: { readonly host: string; readonly port: number },
  unit: number,
  above: string,
): Place | undefined {
  const address = addressBytes(host);
  const label = labelOf(beat.id);
  if (label === '') return undefined;
  if (address ? address.every(byte => byte === 0) : !isName(host.toLowerCase())) return undefined;
  const weight = beat.weight * unit * (verdict === 'alive' ? 1 : slowShare);
  const { id, role, service, descriptorHash, zone, node } = beat;
  const text = [
    'txtvers=1',
    `id=${id}`,
    ...(role === 'instance' ? [`service=${service}`, `version=${descriptorHash}`] : [`role=${role}`]),
    `zone=${zone}`,
    `node=${node}`,
    `weight=${beat.weight}`,
    ...(role === 'instance' ? [] : (beat.doors ?? []).map(door => `door=${door}`)),
  ];
  return {
    host: address ? `${label}.${above}` : host.toLowerCase(),
    port,
    address,
    zone,
    weight: Math.min(weightMax, Math.max(1, Math.round(weight))),
    text: text.filter(each => Buffer.byteLength(each) <= 255).slice(0, 16),
  };
}

/** The id as one label (RFC 1035, 2.3.1). What tells two apart stands at its end, so that is what stays of a long one. */
export function labelOf(id: string): string {
  return id
    .toLowerCase()
    .replace(/[^a-z0-9-]/g, '-')
    .slice(-63)
    .replace(/^-+/, '');
}

/** `tcp://10.0.0.1:4711`, `http://[::1]:3000`. Undefined for an address without host and port. */
function parts(address: string): { readonly scheme: string; readonly host: string; readonly port: number } | undefined {
  const found = /^([a-z0-9]+):\/\/(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})$/.exec(address);
  if (!found) return undefined;
  return { scheme: found[1]!, host: (found[2] ?? found[3])!, port: Number(found[4]) };
}

/** Undefined for what is no IP address. */
export function addressBytes(host: string): Uint8Array | undefined {
  if (isIPv4(host)) return Uint8Array.from(host.split('.'), Number);
  if (!isIPv6(host) || host.includes('%')) return undefined;
  // URL spells an address within it (::ffff:10.0.0.1) in hexadecimal.
  const [head = '', tail] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map(group => Number.parseInt(group, 16));
  const left = groups(head);
  const right = groups(tail ?? '');
  const zeros = Array<number>(8 - left.length - right.length).fill(0);
  return Uint8Array.from([...left, ...zeros, ...right].flatMap(group => [group >> 8, group & 255]));
}
