/**
 * The weight that a target deserves by what it reports of itself: free CPU, how long its event loop keeps work waiting, calls
 * in its hands as against the others', and the errors that its caller saw. Each lowers a share, none takes it all: a target
 * without any traffic could not show that it is well again. Reports are late and every caller hears the same ones, so the
 * weight follows them slowly: else all callers would leave a busy target at once, and come back at once.
 */

export interface ReportedLoad {
  /** Share of one core; a process of Node is full at 1, whatever its other threads do. */
  readonly cpu: number;
  /** 99th percentile of event-loop delay, in ms. */
  readonly loopDelayMs: number;
  /** Calls being handled. */
  readonly inflight: number;
}

const weightMin = 0.05;
/** A loop delay of this many ms halves the weight. */
const halvingDelayMs = 20;
/** How much one report counts: with four a second the last two seconds decide. */
const reportShare = 0.12;

/**
 * @param before The weight until now, 1 for a new target.
 * @param meanInflight Of all candidates.
 * @param errorShare Of the calls to it lately, 0..1.
 * @returns Between 0.05 and 1.
 */
export function dynamicWeight(before: number, load: ReportedLoad, meanInflight: number, errorShare: number): number {
  const headroom = Math.max(0, 1 - load.cpu);
  const prompt = halvingDelayMs / (halvingDelayMs + Math.max(0, load.loopDelayMs));
  const queue = Math.sqrt((meanInflight + 1) / (Math.max(meanInflight, load.inflight) + 1));
  const sound = (1 - Math.min(1, errorShare)) ** 2;
  const deserved = Math.max(weightMin, headroom * prompt * queue * sound);
  return before + reportShare * (deserved - before);
}
