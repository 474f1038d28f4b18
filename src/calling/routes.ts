/**
 * Where a call may go, from what the registry says now. Candidates are computed once per registry version and kept, so
 * that a call in the steady state only looks them up. Not keyed: every ready instance that offers the method. Keyed
 * read: every ready replica of the partition. Keyed write: the writer (highest epoch), then the other ready replicas by
 * rank, any of which forwards or takes over.
 */
import type { Descriptor, MethodForm } from '../contract/descriptor.ts';
import { keyOf } from '../contract/key.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { Registry } from '../naming/registry.ts';
import { newestMap, numberOfKey, steadyMap } from '../partitioning/partition-map.ts';
import { ranking } from '../partitioning/placement.ts';
import type { Target } from './target.ts';
import type { Targets } from './targets.ts';

export interface MethodRoute {
  readonly form: MethodForm;
  readonly descriptor: Descriptor;
  /** In any order (pick one), or best first when `ordered`. Empty: nobody is ready. */
  candidates(input: unknown): readonly Target[];
  /** Best first: do not pick, take the first that was not tried. */
  readonly ordered: boolean;
}

const none: readonly Target[] = [];

export class Routes {
  readonly #registry: Registry;
  readonly #targets: Targets;
  #version = -1;
  readonly #byMethod = new Map<string, MethodRoute>();

  constructor(registry: Registry, targets: Targets) {
    this.#registry = registry;
    this.#targets = targets;
  }

  /** Undefined when no known descriptor of the service has the method. */
  of(service: string, method: string): MethodRoute | undefined {
    if (this.#version !== this.#registry.version) {
      this.#version = this.#registry.version;
      this.#byMethod.clear();
      this.#targets.sweep();
    }
    const name = `${service}.${method}`;
    const known = this.#byMethod.get(name);
    if (known) return known;
    const route = this.#route(service, method);
    if (route) this.#byMethod.set(name, route);
    return route;
  }

  #route(service: string, method: string): MethodRoute | undefined {
    const newest = this.#registry.descriptor(service);
    const offers = (descriptor: Descriptor | undefined): MethodForm | undefined =>
      descriptor?.methods.find(form => form.name === method);
    const descriptor = offers(newest) ? newest : this.#registry.descriptors(service).find(offers);
    const form = offers(descriptor);
    if (!descriptor || !form) return undefined;
    const ready = this.#registry
      .instances(service)
      .filter(member => isOpen(member) && offers(this.#registry.descriptorOf(member)));
    const everywhere = this.#preferred(ready);
    if (form.key.length === 0 || !descriptor.keyspace) {
      return { form, descriptor, ordered: false, candidates: () => everywhere };
    }
    // Who has an older map still finds an instance that sends the call on.
    const map = newestMap(ready.map(({ beat }) => beat.map)) ?? steadyMap(descriptor.keyspace.partitions);
    const byPartition = new Map<number, readonly Target[]>();
    return {
      form,
      descriptor,
      ordered: !form.reads,
      candidates: input => {
        const partition = numberOfKey(map, keyOf(form.key, input));
        let found = byPartition.get(partition);
        if (!found) {
          found = form.reads ? this.#replicas(ready, partition) : this.#writers(service, ready, partition);
          byPartition.set(partition, found);
        }
        return found;
      },
    };
  }

  /** Those without complaint; everyone when that is less than half (Envoy's panic threshold: a doubtful one beats an overloaded one). */
  #preferred(members: readonly Member[]): readonly Target[] {
    const alive = members.filter(member => member.verdict === 'alive');
    const chosen = alive.length * 2 >= members.length ? alive : members;
    return chosen.length === 0 ? none : chosen.map(member => this.#targets.of(member));
  }

  #replicas(ready: readonly Member[], partition: number): readonly Target[] {
    const replicas = ready.filter(member => beatOf(member, partition)?.ready);
    return this.#preferred(replicas.length > 0 ? replicas : ready);
  }

  #writers(service: string, ready: readonly Member[], partition: number): readonly Target[] {
    const rank = new Map(
      ranking(
        service,
        partition,
        ready.map(member => member.beat.id),
      ).map((id, index) => [id, index]),
    );
    const scored = ready.map(member => {
      const beat = beatOf(member, partition);
      return {
        member,
        epoch: beat?.epoch ?? 0,
        replica: beat?.ready ? 0 : 1,
        doubt: member.verdict === 'suspect' ? 1 : 0,
        rank: rank.get(member.beat.id)!,
      };
    });
    scored.sort((a, b) => a.doubt - b.doubt || b.epoch - a.epoch || a.replica - b.replica || a.rank - b.rank);
    return scored.map(({ member }) => this.#targets.of(member));
  }
}

function isOpen({ beat, verdict }: Member): boolean {
  return beat.ready && !beat.draining && verdict !== 'dead' && verdict !== 'stuck';
}

function beatOf(member: Member, partition: number): Member['beat']['partitions'][number] | undefined {
  const { partitions } = member.beat;
  for (let i = 0; i < partitions.length; i++) if (partitions[i]!.partition === partition) return partitions[i];
  return undefined;
}
