import { after } from 'node:test';
import { transportSuite } from '../communication/transport.contract-suite.ts';
import { seededRandom } from '../core/random.ts';
import { simulatedNetwork } from './network.ts';
import { virtualClock } from './virtual-clock.ts';

const clock = virtualClock();
after(clock.auto());
let hosts = 0;

transportSuite('simulated', () => {
  const network = simulatedNetwork({ clock, random: seededRandom(++hosts) });
  return { transport: network.host('a').transport, address: 'sim://a/0' };
});
