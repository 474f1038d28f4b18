// Chaos: kills -9 one random process of each role in turn while orders come in, and measures what customers felt.
import type { Replay } from './replay.ts';
import { pause } from './replay.ts';
import { isWhole, type RunningApp } from './running-app.ts';

export interface Blow {
  readonly role: string;
  readonly victim: string;
  readonly pid: number;
  /** Until the supervisor knew; null when it never did. */
  readonly detectedMs: number | null;
  /** Until every wanted process was ready again and an order went through. */
  readonly restoredMs: number | null;
  readonly failed: number;
  readonly retried: number;
  readonly degraded: number;
}

const roles = ['instance', 'gateway', 'engine', 'monitor', 'naming', 'supervisor'] as const;

/** Spreads the blows over `forMs`; the last leaves time to recover before the end. */
export async function chaos(
  app: RunningApp,
  replay: Replay,
  forMs: number,
  random: () => number,
  tell: (blow: Blow) => void,
  signal: AbortSignal,
): Promise<Blow[]> {
  const blows: Blow[] = [];
  const gapMs = forMs / (roles.length + 1);
  const startedAt = performance.now();
  for (const [index, role] of roles.entries()) {
    await pause(startedAt + gapMs * (index + 0.7) - performance.now(), signal);
    if (signal.aborted) break;
    const blow = await strike(app, replay, role, random, signal);
    if (blow) {
      blows.push(blow);
      tell(blow);
    }
  }
  return blows;
}

async function strike(
  app: RunningApp,
  replay: Replay,
  role: (typeof roles)[number],
  random: () => number,
  signal: AbortSignal,
): Promise<Blow | undefined> {
  const state = app.state();
  const candidates =
    role === 'supervisor'
      ? [{ name: 'supervisor', pid: app.supervisorPid }]
      : (state?.processes ?? []).filter(process => process.role === role && process.ready);
  const victim = candidates[Math.floor(random() * candidates.length)];
  if (!victim) return undefined;
  const { tally } = replay;
  const before = { failed: tally.failed, retried: tally.failedTries, degraded: tally.degraded };
  const answeredBefore = tally.requests;
  process.kill(victim.pid, 'SIGKILL');
  const at = performance.now();
  let detectedMs: number | null = null;
  let restoredMs: number | null = null;
  if (role === 'supervisor') {
    await app.ended;
    detectedMs = performance.now() - at;
    app.relaunch();
  }
  while (performance.now() - at < 30_000 && !signal.aborted) {
    const now = app.state();
    const same =
      role === 'supervisor'
        ? now?.supervisor.pid === victim.pid
        : now?.processes.find(process => process.pid === victim.pid)?.ready === true;
    if (!same && detectedMs === null) detectedMs = performance.now() - at;
    if (!same && now && isWhole(now) && tally.requests > answeredBefore) {
      restoredMs = performance.now() - at;
      break;
    }
    await pause(10);
  }
  return {
    role,
    victim: victim.name,
    pid: victim.pid,
    detectedMs,
    restoredMs,
    failed: tally.failed - before.failed,
    retried: tally.failedTries - before.retried,
    degraded: tally.degraded - before.degraded,
  };
}

export function describeBlow(blow: Blow): string {
  const ms = (value: number | null): string => (value === null ? 'never' : `${Math.round(value)} ms`);
  return `kill -9 ${blow.victim} (${blow.role}, pid ${blow.pid}): detected ${ms(blow.detectedMs)}, full service ${ms(blow.restoredMs)}, requests failed ${blow.failed}, tried again ${blow.retried}, degraded ${blow.degraded}`;
}
