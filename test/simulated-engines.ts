/**
 * The two engines that the data core is simulated on: the model (all that the interface allows, and nothing kinder), and
 * the real one: the embedded engine on a disk that tears and a network that breaks, killed and opened again.
 */
import { linkDialer } from '../src/communication/link-dialer.ts';
import { openLinkServer } from '../src/communication/link-server.ts';
import { sleep } from '../src/core/clock.ts';
import { silentLogger } from '../src/core/logger.ts';
import { silentMeter } from '../src/core/meter.ts';
import type { Random } from '../src/core/random.ts';
import { openEmbeddedEngine } from '../src/log/embedded-engine.ts';
import type { Engine } from '../src/log/engine.ts';
import { engineAnswerer } from '../src/log/engine-answerer.ts';
import { connectEngine } from '../src/log/remote-engine.ts';
import { simulatedDisk } from '../src/simulation/disk.ts';
import { engineModel } from '../src/simulation/engine.ts';
import { type Host, simulatedNetwork } from '../src/simulation/network.ts';
import type { ProcessClock, VirtualClock } from '../src/simulation/virtual-clock.ts';

export interface EngineSide {
  open(): Promise<void>;
  connect(clock: ProcessClock, name: string): Engine;
  /** A process was killed: its connections end. */
  killed(name: string): void;
  /** Goes away in one way or another and comes back. */
  fault(say: (what: string) => void): Promise<void>;
  /** No more faults from here on. */
  calm(): void;
}

export function modelSide(clock: VirtualClock, random: Random): EngineSide {
  const lostAnswerChance = random.next() < 0.7 ? 0.05 : 0;
  const model = engineModel({ clock, random, lostAnswerChance, barrierAppends: random.next() < 0.5 });
  return {
    open: async () => {},
    connect: own => model.connect(own),
    killed: () => {},
    fault: async say => {
      say('engine away');
      model.stop();
      await sleep(clock, random.below(600));
      model.start();
    },
    calm: () => model.setLostAnswerChance(0),
  };
}

export function embeddedSide(clock: VirtualClock, random: Random): EngineSide {
  const shared = { random, logger: silentLogger, meter: silentMeter };
  const disk = simulatedDisk({ clock, random, slowSyncChance: 0.02 });
  const breakChance = random.next() < 0.5 ? 0.002 : 0;
  const network = simulatedNetwork({ clock, random, breakChance, slowChance: 0.01, delayMsMax: 2, cutTimeoutMs: 400 });
  const hosts = new Map<string, Host>();
  let end: () => void = () => {};

  const open = async (): Promise<void> => {
    const own = clock.process();
    const host = network.host('engine');
    const storage = { directory: '/data', disk: disk.mount(), segmentBytes: 65_536 };
    const engine = await openEmbeddedEngine({ ...storage, ...shared, clock: own });
    const answer = engineAnswerer(engine, own);
    await openLinkServer({ ...shared, transports: [host.transport], address: 'sim://engine', answer, clock: own });
    end = () => {
      own.kill();
      host.crash({ silent: random.next() < 0.3 });
    };
  };
  return {
    open,
    connect: (own, name) => {
      const host = network.host(name);
      hosts.set(name, host);
      const dialer = linkDialer({ ...shared, clock: own, transports: [host.transport] });
      return connectEngine({ ...shared, clock: own, dialer, address: 'sim://engine' });
    },
    killed: name => hosts.get(name)?.crash(),
    fault: async say => {
      if (random.next() < 0.4) {
        const name = [...hosts.keys()][random.below(hosts.size)]!;
        say(`${name} cut off from the engine`);
        network.cut(name, 'engine', { oneWay: random.next() < 0.5 });
        await sleep(clock, random.below(1500));
        network.heal();
        return;
      }
      const power = random.next() < 0.5;
      say(power ? 'power cut at the engine' : 'engine killed');
      if (power) disk.powerCut();
      else disk.kill();
      end();
      await sleep(clock, random.below(600));
      await open();
      say('engine is back');
    },
    calm: () => network.setBreakChance(0),
  };
}
