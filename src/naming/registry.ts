/**
 * The registry: who is where, as heartbeats say. Every process that calls others keeps one. What a service offers
 * (its descriptor) is asked of an instance once per descriptor hash, over the link, so a new service is reachable at once.
 */
import type { Descriptor } from '../contract/descriptor.ts';
import type { Member } from '../failure-detection/beat.ts';
import type { NameConflict } from './descriptors.ts';

export interface Registry {
  /** All processes heard of and not yet forgotten, the dead included for a while (the verdict says so). */
  members(): readonly Member[];
  /** Instances of a service that are neither dead nor forgotten. Same array until something changes. */
  instances(service: string): readonly Member[];
  member(id: string): Member | undefined;
  /** What the service offers; undefined until an instance of it was heard and described itself. */
  descriptor(service: string): Descriptor | undefined;
  /** What its live instances offer, one per version: two during a roll. */
  descriptors(service: string): readonly Descriptor[];
  /** Whether an unknown service may be one not heard of yet: this process has just started or is cut off, or somebody has not yet said what it offers. */
  learning(): boolean;
  /** What this very instance offers; undefined until asked. */
  descriptorOf(member: Member): Descriptor | undefined;
  /** Services whose name two different services claim. */
  conflicts(): readonly NameConflict[];
  /** Services whose descriptor is known, sorted; also those of which no instance is left. */
  services(): readonly string[];
  /** Counts up at each change of members, verdicts or descriptors; cheap to compare. */
  readonly version: number;
  onChange(listener: () => void): () => void;
  /** Resolves when `found` holds, or throws UNAVAILABLE at the deadline (monotonic ms). */
  until(found: (registry: Registry) => boolean, what: string, deadline: number): Promise<void>;
  /** Evidence from a link: a connection to this member broke, or could not be made. */
  reportBroken(id: string): void;
  /** The machine of this member says that nobody listens at its address: it is dead, unless it is heard all the same. */
  reportRefused(id: string): void;
}
