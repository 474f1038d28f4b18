/** For append.ts: the embedded engine in a process of its own, as `tandem up` runs it, fdatasync before each answer. */
import { openLinkServer } from '../src/communication/link-server.ts';
import { tcpTransport } from '../src/communication/tcp.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { openEmbeddedEngine } from '../src/log/embedded-engine.ts';
import { engineAnswerer } from '../src/log/engine-answerer.ts';
import { nodeDisk } from '../src/log/node-disk.ts';

const [directory = '', address = ''] = process.argv.slice(2);
const engine = await openEmbeddedEngine({
  directory: `${directory}/engine`,
  disk: nodeDisk,
  clock,
  random,
  logger,
  durability: 'fsync',
});
await openLinkServer({
  transports: [tcpTransport()],
  address,
  answer: engineAnswerer(engine, clock),
  clock,
  random,
  logger,
  meter,
});
