import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linkDialer } from '../communication/link-dialer.ts';
import { openLinkServer } from '../communication/link-server.ts';
import { memoryTransport } from '../communication/memory.ts';
import { tcpTransport } from '../communication/tcp.ts';
import type { Transport } from '../communication/transport.ts';
import { systemClock as clock } from '../core/clock.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { systemRandom as random } from '../core/random.ts';
import { openEmbeddedEngine } from './embedded-engine.ts';
import { engineSuite, type Opened } from './engine.contract-suite.ts';
import type { Engine } from './engine.ts';
import { engineAnswerer } from './engine-answerer.ts';
import { nodeDisk } from './node-disk.ts';
import { connectEngine } from './remote-engine.ts';

async function embedded(segmentBytes: number): Promise<Opened> {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-engine-'));
  const open = (): Promise<Engine> =>
    openEmbeddedEngine({ directory, disk: nodeDisk, clock, random, logger, segmentBytes });
  let engine = await open();
  return {
    engine,
    reopen: async () => {
      await engine.close();
      engine = await open();
      return engine;
    },
    close: async () => {
      await engine.close();
      rmSync(directory, { recursive: true });
    },
  };
}

async function overLink(transport: Transport, address: string): Promise<Opened> {
  const inner = await embedded(8 * 1024 * 1024);
  const transports = [transport];
  const serve = (engine: Engine, at: string) =>
    openLinkServer({ transports, address: at, answer: engineAnswerer(engine, clock), clock, random, logger, meter });
  let server = await serve(inner.engine, address);
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = connectEngine({ dialer, address: server.address, clock, random, logger });
  return {
    engine,
    reopen: async () => {
      await server.close();
      server = await serve(await inner.reopen(), server.address);
      return engine;
    },
    close: async () => {
      await engine.close();
      await dialer.close();
      await server.close();
      await inner.close();
    },
  };
}

engineSuite('embedded', () => embedded(8 * 1024 * 1024));
engineSuite('embedded, with segments that roll all the time', () => embedded(64 * 1024));
engineSuite('embedded, over tcp', () => overLink(tcpTransport(), 'tcp://127.0.0.1:0'));
engineSuite('embedded, over memory', () => overLink(memoryTransport(), 'memory://engine'));
