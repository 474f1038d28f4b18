/**
 * Whose names on a cluster these are. Machines of one app share a secret (gateways of each must verify what the others
 * signed), so an app that comes with another one is another app, or the same with a mistake: both are refused before it hears
 * the heartbeats, or finds the data, of the first. Who has changed the secret on purpose says so (`--claim`), while nobody runs.
 */
import { hash } from 'node:crypto';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Engine } from '../log/engine.ts';

/** Holds the print of the secret; the last entry counts. */
export const identityLog = 'app';
/** Several beats: who runs is heard within this. */
const listenMs: number = limits.beatIntervalMs * 4;
const triesMax = 5;

/** @throws CONFIG when another app runs there, UNAVAILABLE */
export async function claimIdentity(
  engine: Engine,
  app: string,
  secret: string,
  claims: boolean,
  clock: Clock,
): Promise<void> {
  const { log } = engine;
  const mine = hash('sha256', `tandem app ${secret}`, 'hex').slice(0, 32);
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + limits.engineTimeoutMs });
  for (let tries = 0; tries < triesMax; tries++) {
    const known = await lastOf(engine, at);
    if (known.print === mine) return;
    if (known.print !== undefined) {
      const runs = await someoneRuns(engine, clock);
      if (runs || !claims)
        throw new TandemError(
          'CONFIG',
          `an app with another secret ${runs ? 'runs' : 'has its data'} on this cluster as '${app}': give this one a name of its own (--engine 'nats://…?app=NAME'), or, if it is the same app, the same TANDEM_SECRET on all machines${runs ? '' : ' (--claim if its secret was changed on purpose)'}`,
        );
    }
    const result = await log.append(identityLog, known.tail, [Buffer.from(mine)], at());
    if (result.kind === 'appended') return;
  }
  throw new TandemError('UNAVAILABLE', 'the cluster did not take the name of this app; try again');
}

async function someoneRuns({ bus }: Engine, clock: Clock): Promise<boolean> {
  let heard = false;
  const stop = bus.subscribe('beat.>', (_, body) => {
    heard ||= body.length > 0;
  });
  await sleep(clock, listenMs);
  stop();
  return heard;
}

async function lastOf(
  { log }: Engine,
  at: () => { deadline: number },
): Promise<{ print: string | undefined; tail: number }> {
  const tail = await log.barrier(identityLog, at()).catch(cause => {
    if (TandemError.from(cause).code === 'NOT_FOUND') return 0;
    throw cause;
  });
  let print: string | undefined;
  for (let next = 1; next <= tail; ) {
    const entries = await log.read(identityLog, next, limits.entryBytesMax, at());
    if (entries.length === 0) break;
    for (const { position, body } of entries) {
      if (body.length > 0) print = Buffer.from(body).toString();
      next = position + 1;
    }
  }
  return { print, tail };
}
