/**
 * From beats, time and evidence to verdicts. Pure: it never looks at a clock, it is told the time.
 * A silent process becomes suspect, then dead. Evidence shortens the wait (a link to it broke, or a newer process took its
 * slot), but does not decide alone: a beat after it outweighs it. A refused connection does decide, for only a machine
 * whose process is gone refuses; who was refused by a process that then still beats (something between the two refuses)
 * takes its refusals for broken links from then on, so it is wrong at most once about each process. An observer that hears nobody,
 * not even its own beats, which travel the same way, is cut off (the bus is lost, or its engine hangs with the connection
 * open): then verdicts stand still, never "everyone died". And when the observer itself stood still (a busy loop,
 * SIGSTOP), that time is no one's silence (the idea of Lifeguard, Dadgar et al. 2017: distrust yourself first).
 */
import { limits } from '../core/limits.ts';
import type { Beat, Member, Verdict } from './beat.ts';
import { PhiDetector, type PhiOptions } from './phi.ts';

export interface MembershipOptions extends PhiOptions {
  /** phi from which a silent process is avoided. */
  readonly suspectPhi: number;
  /** phi from which it is dead, with at least `deadSilentMs` of silence. */
  readonly deadPhi: number;
  readonly deadSilentMs: number;
  /** With evidence this much silence is enough. */
  readonly evidencedSilentMs: number;
  /** A beat heard so soon after a refused connection was on its way when its process died. */
  readonly lateBeatMs: number;
  /** A main loop silent for so long is stuck: out of rotation, restart. */
  readonly stuckMs: number;
  /** Event-loop delay (p99) or main-loop silence from which a process is slow. */
  readonly slowMs: number;
  /** The dead are remembered for so long, for people and for placement. */
  readonly forgetMs: number;
  /** A pause between two looks beyond this was the observer's own. */
  readonly ownPauseMs: number;
  /** With no beat of anybody for so long the observer is cut off. Not above `evidencedSilentMs`, or evidence kills everybody first. */
  readonly cutOffMs: number;
  /** Who hears beats for so long without a break knows everybody: several intervals, as others may still be connecting again after an outage of the bus. */
  readonly knowsAllMs: number;
}

export const membershipDefaults: MembershipOptions = {
  expectedMs: limits.beatIntervalMs,
  deviationMsMin: limits.beatIntervalMs * 0.4,
  samples: 100,
  suspectPhi: 3,
  deadPhi: 8,
  deadSilentMs: limits.beatIntervalMs * 4,
  evidencedSilentMs: limits.beatIntervalMs * 2,
  lateBeatMs: limits.beatIntervalMs / 2,
  stuckMs: 3000,
  slowMs: 250,
  forgetMs: 60_000,
  ownPauseMs: limits.beatIntervalMs * 2,
  cutOffMs: limits.beatIntervalMs * 2,
  knowsAllMs: limits.beatIntervalMs * 6,
};

class Known implements Member {
  beat: Beat;
  verdict: Verdict = 'alive';
  clockAheadMs: number;
  since: number;
  evidence = false;
  /** When its address refused a connection first, since it was heard last. */
  refusedMs: number | undefined;
  /** It beats though it refused: this observer cannot tell by that. */
  outlivedRefusal = false;
  farewell = false;
  readonly detector: PhiDetector;

  constructor(beat: Beat, options: MembershipOptions, nowMs: number, wallMs: number) {
    this.beat = beat;
    this.clockAheadMs = beat.sentAt - wallMs;
    this.since = nowMs;
    this.detector = new PhiDetector(options, nowMs);
  }
}

export class Membership {
  readonly #options: MembershipOptions;
  readonly #members = new Map<string, Known>();
  #list: readonly Member[] | undefined;
  #connected = true;
  #lookedMs: number;
  /** When any beat was heard last. */
  #heardMs: number;
  /** Since when beats are heard without a break; undefined while cut off, and before the first beat. */
  #hearsSinceMs: number | undefined;

  constructor(nowMs: number, options: Partial<MembershipOptions> = {}) {
    this.#options = { ...membershipDefaults, ...options };
    this.#lookedMs = nowMs;
    this.#heardMs = nowMs;
  }

  /** All that are known; the same array until someone comes or is forgotten. A member's fields are always current. */
  members(): readonly Member[] {
    this.#list ??= [...this.#members.values()];
    return this.#list;
  }

  member(id: string): Member | undefined {
    return this.#members.get(id);
  }

  /** Takes in a beat, at the observer's monotonic and wall time. True when it changes where calls may go: not for load, position or time alone. */
  heard(beat: Beat, nowMs: number, wallMs: number = beat.sentAt): boolean {
    if (this.#cutOff(nowMs)) {
      this.#excuse(nowMs - this.#heardMs, nowMs);
      this.#hearsSinceMs = undefined;
    }
    this.#heardMs = nowMs;
    this.#hearsSinceMs ??= nowMs;
    const known = this.#members.get(beat.id);
    if (!known) {
      const fresh = new Known(beat, this.#options, nowMs, wallMs);
      fresh.verdict = this.#judge(fresh, nowMs);
      this.#members.set(beat.id, fresh);
      this.#list = undefined;
      this.#suspectPredecessors(beat);
      return true;
    }
    if (beat.sequence <= known.beat.sequence || known.farewell) return false;
    const changed = !routesAlike(known.beat, beat);
    known.beat = beat;
    known.clockAheadMs = beat.sentAt - wallMs;
    known.detector.heard(nowMs);
    this.#clear(known, nowMs);
    return this.#update(known, nowMs) || changed;
  }

  /** The process said that it ends. */
  left(id: string, nowMs: number): boolean {
    const known = this.#members.get(id);
    if (!known) return false;
    known.farewell = true;
    return this.#update(known, nowMs);
  }

  /** A link to it broke or could not be made. */
  broken(id: string, nowMs: number): boolean {
    const known = this.#members.get(id);
    if (!known || known.verdict === 'dead') return false;
    known.evidence = true;
    return this.#update(known, nowMs);
  }

  /** Its machine says that nobody listens at its address. */
  refused(id: string, nowMs: number): boolean {
    const known = this.#members.get(id);
    if (known && !known.outlivedRefusal) known.refusedMs ??= nowMs;
    return this.broken(id, nowMs);
  }

  /** It was heard. */
  #clear(known: Known, nowMs: number): void {
    if (known.refusedMs !== undefined) {
      if (nowMs - known.refusedMs <= this.#options.lateBeatMs) return;
      known.refusedMs = undefined;
      known.outlivedRefusal = true;
    }
    known.evidence = false;
  }

  /** The bus was lost or found. While it is lost all verdicts stand still. */
  connection(connected: boolean, nowMs: number): void {
    if (connected && !this.#connected) {
      for (const { detector } of this.#members.values()) detector.excuse(detector.silentMs(nowMs), nowMs);
      this.#heardMs = nowMs;
      this.#hearsSinceMs = undefined;
    }
    this.#connected = connected;
    this.#lookedMs = nowMs;
  }

  /** To be called about once per beat interval. True when a verdict changed or someone was forgotten. */
  look(nowMs: number): boolean {
    const pauseMs = nowMs - this.#lookedMs;
    this.#lookedMs = nowMs;
    if (pauseMs > this.#options.ownPauseMs) {
      this.#excuse(pauseMs, nowMs);
      this.#heardMs = Math.min(nowMs, this.#heardMs + pauseMs);
    }
    if (this.#cutOff(nowMs)) return false;
    let changed = false;
    for (const known of this.#members.values()) {
      if (this.#update(known, nowMs)) changed = true;
      if (known.verdict === 'dead' && nowMs - known.since > this.#options.forgetMs) {
        this.#members.delete(known.beat.id);
        this.#list = undefined;
        changed = true;
      }
    }
    return changed;
  }

  /** Whether beats were heard for so long without a break that everybody who beats must be known. */
  knowsAll(nowMs: number): boolean {
    if (this.#hearsSinceMs === undefined || this.#cutOff(nowMs)) return false;
    return nowMs - this.#hearsSinceMs >= this.#options.knowsAllMs;
  }

  #cutOff(nowMs: number): boolean {
    return !this.#connected || nowMs - this.#heardMs >= this.#options.cutOffMs;
  }

  #excuse(ms: number, nowMs: number): void {
    for (const { detector } of this.#members.values()) detector.excuse(ms, nowMs);
  }

  /** A process that begins in the slot of another (`inventory-3-…`) on the same node is evidence against the older one. */
  #suspectPredecessors(beat: Beat): void {
    const slot = slotPart(beat.id);
    for (const other of this.#members.values()) {
      const { beat: old } = other;
      if (old.id !== beat.id && old.node === beat.node && old.startedAt < beat.startedAt && slotPart(old.id) === slot) {
        other.evidence = true;
      }
    }
  }

  #update(known: Known, nowMs: number): boolean {
    const verdict = this.#judge(known, nowMs);
    if (verdict === known.verdict) return false;
    known.verdict = verdict;
    known.since = nowMs;
    return true;
  }

  #judge(known: Known, nowMs: number): Verdict {
    const { suspectPhi, deadPhi, deadSilentMs, evidencedSilentMs, stuckMs, slowMs } = this.#options;
    if (known.farewell) return 'dead';
    if (this.#cutOff(nowMs)) return known.evidence && known.verdict === 'alive' ? 'suspect' : known.verdict;
    const silentMs = known.detector.silentMs(nowMs);
    const phi = known.detector.phi(nowMs);
    if (known.refusedMs !== undefined || (known.evidence && silentMs >= evidencedSilentMs)) return 'dead';
    if (phi >= deadPhi && silentMs >= deadSilentMs) return 'dead';
    if (known.evidence || phi >= suspectPhi) return 'suspect';
    const { mainLoopSilentMs, load } = known.beat;
    if (mainLoopSilentMs >= stuckMs) return 'stuck';
    if (mainLoopSilentMs >= slowMs || load.loopDelayMs >= slowMs) return 'slow';
    return 'alive';
  }
}

function slotPart(id: string): string {
  const dash = id.lastIndexOf('-');
  return dash > 0 ? id.slice(0, dash) : id;
}

/** Whether two beats of one process send calls to the same places. */
function routesAlike(a: Beat, b: Beat): boolean {
  if (a.ready !== b.ready || a.draining !== b.draining || a.address !== b.address) return false;
  if (a.doors?.join() !== b.doors?.join()) return false;
  if (a.map?.version !== b.map?.version || a.map?.divided !== b.map?.divided) return false;
  if (a.descriptorHash !== b.descriptorHash || a.partitions.length !== b.partitions.length) return false;
  for (let i = 0; i < a.partitions.length; i++) {
    const left = a.partitions[i]!;
    const right = b.partitions[i]!;
    if (left.partition !== right.partition || left.ready !== right.ready || left.epoch !== right.epoch) return false;
  }
  return true;
}
