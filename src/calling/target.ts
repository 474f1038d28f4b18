/** One instance as its caller sees it. */
import type { Channel } from '../core/channel.ts';
import type { Counter } from '../core/meter.ts';
import type { CircuitBreaker } from '../degradation/circuit-breaker.ts';
import type { Beat, Member } from '../failure-detection/beat.ts';
import { Candidate } from './candidate.ts';

export class Target extends Candidate {
  readonly member: Member;
  readonly picked: Counter;
  channel: Channel | undefined;
  /** Its link broke: it is dialled until it is clear whether it lives. */
  checking = false;

  constructor(member: Member, breaker: CircuitBreaker, picked: Counter) {
    super(member.beat.id, member.beat.weight, breaker);
    this.member = member;
    this.picked = picked;
  }

  get ownWeight(): number {
    return this.member.beat.weight;
  }
  get zone(): string | undefined {
    return this.member.beat.zone;
  }
  get load(): Beat['load'] {
    return this.member.beat.load;
  }
  ageMs(wallMs: number): number {
    return wallMs + this.member.clockAheadMs - this.member.beat.startedAt;
  }
}
