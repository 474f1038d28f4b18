/**
 * One run of the link on a bad network: clients call a server that notes what it did; connections break, cuts come and
 * go, the server dies and comes back. What each client was told must agree with what was done: `done` once, `not-done`
 * never, `unknown` at most once.
 */
import { linkDialer } from '../src/communication/link-dialer.ts';
import { openLinkServer } from '../src/communication/link-server.ts';
import { sleep } from '../src/core/clock.ts';
import { isNotDone, TandemError } from '../src/core/errors.ts';
import { silentLogger } from '../src/core/logger.ts';
import { silentMeter } from '../src/core/meter.ts';
import { seededRandom } from '../src/core/random.ts';
import { type Attempt, type Audit, auditEffects } from '../src/simulation/accounting.ts';
import { type Host, simulatedNetwork } from '../src/simulation/network.ts';
import { virtualClock } from '../src/simulation/virtual-clock.ts';

export interface LinkRun {
  readonly audit: Audit;
  readonly outcomes: Readonly<Record<Attempt['outcome'], number>>;
  /** Errors that say not-done or unknown, by code. */
  readonly codes: Readonly<Record<string, number>>;
}

export async function simulateLink(seed: number, calls = 150): Promise<LinkRun> {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const breakChance = random.next() < 0.7 ? 0.01 * random.next() : 0;
  const network = simulatedNetwork({ clock, random, breakChance, slowChance: 0.02, delayMsMax: 5, cutTimeoutMs: 800 });
  const shared = { random, logger: silentLogger, meter: silentMeter };
  const effects: string[] = [];
  const attempts: Attempt[] = [];
  const codes: Record<string, number> = {};
  let stopped = false;

  const startServer = async (): Promise<{ host: Host; kill: () => void }> => {
    const host = network.host('server');
    const own = clock.process();
    const addressed = { transports: [host.transport], address: 'sim://server' };
    await openLinkServer({
      ...shared,
      ...addressed,
      clock: own,
      answer: async incoming => {
        await sleep(own, random.next() * 20);
        if (random.next() < 0.05) throw new TandemError('OVERLOADED', 'busy');
        effects.push(String(incoming.body));
        return { body: incoming.body };
      },
    });
    return {
      host,
      kill: () => {
        own.kill();
        host.crash({ silent: random.next() < 0.3 });
      },
    };
  };

  const client = async (name: string): Promise<void> => {
    const dialer = linkDialer({ ...shared, clock, transports: [network.host(name).transport] });
    for (let n = 0; n < calls / 5; n++) {
      const id = `${name}-${n}`;
      const deadline = clock.monotonic() + 30 + random.below(1000);
      let outcome: Attempt['outcome'] = 'ok';
      try {
        const { body } = await dialer.dial('sim://server').call('do', id, { deadline });
        if (body !== id) throw new Error(`${id} was answered with the answer of ${String(body)}`);
      } catch (error) {
        if (!(error instanceof TandemError)) throw error;
        outcome = isNotDone(error) ? 'fail' : 'unknown';
        codes[error.code] = (codes[error.code] ?? 0) + 1;
      }
      attempts.push({ id, outcome });
      await sleep(clock, random.below(60));
    }
    await dialer.close();
  };

  const faults = async (): Promise<void> => {
    let server = await startServer();
    while (!stopped) {
      await sleep(clock, 100 + random.below(600));
      const luck = random.next();
      if (luck < 0.3) {
        server.kill();
        await sleep(clock, random.below(300));
        server = await startServer();
      } else if (luck < 0.6) {
        network.cut(`client-${random.below(5)}`, 'server', { oneWay: random.next() < 0.5 });
        await sleep(clock, random.below(1200));
        network.heal();
      } else if (luck < 0.8) network.breakConnections('*', 'server');
      else {
        server.host.pause();
        await sleep(clock, random.below(500));
        server.host.resume();
      }
    }
    network.heal();
  };

  await clock.complete(async () => {
    const faulty = faults();
    await Promise.all(Array.from({ length: 5 }, (_, at) => client(`client-${at}`)));
    stopped = true;
    await faulty;
  });
  // whatever is still under way may yet be done
  await clock.advance(10_000);
  const outcomes = { ok: 0, fail: 0, unknown: 0 };
  for (const { outcome } of attempts) outcomes[outcome]++;
  return { audit: auditEffects(attempts, effects), outcomes, codes };
}
