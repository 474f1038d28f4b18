/** Which records a name has, from the registry. Pure. Names are compared without case (RFC 4343). */
import type { Answer } from 'dns-packet';
import type { Member } from '../failure-detection/beat.ts';
import type { Registry } from './registry.ts';

export interface DnsAnswers {
  /** `foreign`: not our zone. `name`: exists, with or without records of the type. */
  readonly found: 'name' | 'nothing' | 'foreign';
  readonly answers: readonly Answer[];
  readonly additionals: readonly Answer[];
}

export const zone = 'tandem.internal';
/** Records in one answer; more would not fit a datagram anyway. */
const answersMax = 64;

export function answerQuestion(
  registry: Pick<Registry, 'instances' | 'services' | 'members'>,
  question: { readonly name: string; readonly type: string },
  ttl: number,
): DnsAnswers {
  const name = question.name.toLowerCase().replace(/\.$/, '');
  if (name === zone) return { found: 'name', answers: [], additionals: [] };
  if (!name.endsWith(`.${zone}`)) return { found: 'foreign', answers: [], additionals: [] };
  const label = name.slice(0, -zone.length - 1);
  const service = /^_([^.]+(?:\.[^_.][^.]*)*)\._tcp$/.exec(label)?.[1] ?? label;
  const members = membersOf(registry, service);
  if (members) return records(members, question, service, ttl);
  const dot = label.indexOf('.');
  const one = dot < 0 ? undefined : membersOf(registry, label.slice(dot + 1));
  const member = one?.find(({ beat }) => beat.id.toLowerCase() === label.slice(0, dot));
  if (member) return records([member], question, label.slice(dot + 1), ttl);
  return { found: 'nothing', answers: [], additionals: [] };
}

/** Ten for an ordinary instance, so that a slow one (1) still counts beside it; at most what 16 bits hold. */
function srvWeight(weight: number, isWell: boolean): number {
  return Math.min(65_535, Math.max(1, Math.round(weight * (isWell ? 10 : 1))));
}

/** Ready ones only; undefined when the service is not known. `gateway` is a name like that of a service. */
function membersOf(
  registry: Pick<Registry, 'instances' | 'services' | 'members'>,
  service: string,
): readonly Member[] | undefined {
  const members =
    service === 'gateway'
      ? registry.members().filter(({ beat, verdict }) => beat.role === 'gateway' && verdict !== 'dead')
      : registry.instances(service);
  if (members.length === 0 && service !== 'gateway' && !registry.services().includes(service)) return undefined;
  return members.filter(
    ({ beat, verdict }) => beat.ready && !beat.draining && verdict !== 'stuck' && verdict !== 'dead',
  );
}

function records(
  members: readonly Member[],
  question: { readonly name: string; readonly type: string },
  service: string,
  ttl: number,
): DnsAnswers {
  const answers: Answer[] = [];
  const additionals: Answer[] = [];
  const hosts = new Set<string>();
  for (const { beat, verdict } of members.slice(0, answersMax)) {
    const place = /^tcp:\/\/(\d+\.\d+\.\d+\.\d+):(\d+)$/.exec(beat.address);
    if (!place) continue;
    const [, host, port] = place;
    if ((question.type === 'A' || question.type === 'ANY') && !hosts.has(host!)) {
      hosts.add(host!);
      answers.push({ type: 'A', name: question.name, ttl, data: host! });
    }
    if (question.type === 'SRV' || question.type === 'ANY') {
      const target = `${beat.id}.${service}.${zone}`;
      const weight = srvWeight(beat.weight, verdict === 'alive');
      answers.push({
        type: 'SRV',
        name: question.name,
        ttl,
        data: { priority: 0, weight, port: Number(port), target },
      });
      additionals.push({ type: 'A', name: target, ttl, data: host! });
    }
  }
  return { found: 'name', answers, additionals };
}
