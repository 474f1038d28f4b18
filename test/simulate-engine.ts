/**
 * One run of the embedded engine on a disk that fails: eager writers race for the same logs by compare-and-append, the
 * process is killed or the power goes at any moment, and the engine opens again on what is left. Invariants: what was
 * acknowledged is at its position, for good; what was refused is nowhere; nothing is there twice; a follower saw nothing
 * that is not there now; and what it saw is in order.
 */
import { sleep } from '../src/core/clock.ts';
import { TandemError } from '../src/core/errors.ts';
import { silentLogger } from '../src/core/logger.ts';
import { seededRandom } from '../src/core/random.ts';
import { openEmbeddedEngine } from '../src/log/embedded-engine.ts';
import type { Engine, Entry } from '../src/log/engine.ts';
import { type Attempt, auditEffects } from '../src/simulation/accounting.ts';
import { simulatedDisk } from '../src/simulation/disk.ts';
import { type ProcessClock, virtualClock } from '../src/simulation/virtual-clock.ts';

export interface EngineRun {
  readonly wrong: readonly string[];
  readonly acknowledged: number;
  readonly unknown: number;
  readonly crashes: number;
}

const logs = ['state/a/0', 'state/a/1', 'topic/t/0'];

export async function simulateEngine(seed: number, lives = 6): Promise<EngineRun> {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const disk = simulatedDisk({ clock, random, slowSyncChance: 0.02 });
  const attempts: (Attempt & { readonly log: string; readonly position: number })[] = [];
  const followed = new Map<string, string[]>();
  const wrong: string[] = [];
  let ids = 0;

  const writer = async (engine: Engine, own: ProcessClock, eager: boolean): Promise<void> => {
    for (;;) {
      const log = logs[random.below(logs.length)]!;
      const deadline = own.monotonic() + 1000;
      const body = `${++ids} ${'x'.repeat(random.below(random.next() < 0.1 ? 3000 : 60))}`;
      const id = body.split(' ')[0]!;
      const attempt = { id, log, outcome: 'unknown' as Attempt['outcome'], position: 0 };
      attempts.push(attempt);
      try {
        const expected = log.startsWith('topic') ? 'any' : await engine.log.barrier(log, { deadline });
        const result = await engine.log.append(log, expected, [Buffer.from(body)], { deadline });
        if (result.kind === 'conflict') attempt.outcome = 'fail';
        if (result.kind === 'appended') {
          attempt.outcome = 'ok';
          attempt.position = result.position;
        }
      } catch (error) {
        if (!(error instanceof TandemError) || error.outcome !== 'not-done') throw error;
        attempt.outcome = 'fail';
        await sleep(own, 20);
      }
      if (!eager) await sleep(own, random.below(10));
    }
  };
  const follower = async (engine: Engine, log: string): Promise<void> => {
    const seen = followed.get(log) ?? [];
    followed.set(log, seen);
    for await (const batch of engine.log.follow(log, seen.length + 1, new AbortController().signal)) {
      for (const { position, body } of batch) {
        if (position !== seen.length + 1) wrong.push(`${log}: followed ${position} after ${seen.length}`);
        seen.push(idOf(body));
      }
    }
  };
  const open = async (own: ProcessClock): Promise<Engine> =>
    openEmbeddedEngine({
      directory: '/data',
      disk: disk.mount(),
      clock: own,
      random,
      logger: silentLogger,
      segmentBytes: 16_384,
    });
  const readAll = async (engine: Engine, log: string): Promise<string[]> => {
    const all: Entry[] = [];
    for (;;) {
      const next = await engine.log.read(log, all.length + 1, 5000, { deadline: clock.monotonic() + 10_000 });
      if (next.length === 0) return all.map(({ body }) => idOf(body));
      all.push(...next);
    }
  };

  for (let life = 0; life < lives; life++) {
    const own = clock.process();
    const engine = await clock.complete(open(own));
    const failed = (error: unknown): void => void wrong.push(String((error as Error)?.stack ?? error));
    for (let at = 0; at < 6; at++) writer(engine, own, at < 2).catch(failed);
    for (const log of logs) follower(engine, log).catch(failed);
    await clock.advance(random.next() * 150);
    if (random.next() < 0.2) {
      disk.failSyncs(1);
      await clock.advance(20);
    }
    if (random.next() < 0.5) disk.kill();
    else disk.powerCut();
    own.kill();
    disk.failSyncs(0);
  }

  const engine = await clock.complete(open(clock.process()));
  for (const log of logs) {
    const there = await clock.complete(readAll(engine, log));
    const ofLog = attempts.filter(attempt => attempt.log === log);
    const audit = auditEffects(ofLog, there);
    if (!audit.balances) wrong.push(`${log}: ${JSON.stringify(audit)}`);
    for (const { id, outcome, position } of ofLog) {
      if (outcome === 'ok' && there[position - 1] !== id) wrong.push(`${log}: ${id} is not at ${position}`);
    }
    (followed.get(log) ?? []).forEach((id, at) => {
      if (there[at] !== id) wrong.push(`${log}: ${id} was followed at ${at + 1}, now ${there[at]} is there`);
    });
  }
  await clock.complete(engine.close());
  const count = (outcome: Attempt['outcome']): number => attempts.filter(attempt => attempt.outcome === outcome).length;
  return { wrong: wrong.slice(0, 5), acknowledged: count('ok'), unknown: count('unknown'), crashes: lives };
}

function idOf(body: Uint8Array): string {
  return Buffer.from(body).toString().split(' ')[0]!;
}
