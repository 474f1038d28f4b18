/** For src/log/recovery.test.ts: appends to several logs as fast as it may and prints what was acknowledged, until it is killed. */
import { writeSync } from 'node:fs';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { openEmbeddedEngine } from '../src/log/embedded-engine.ts';
import { nodeDisk } from '../src/log/node-disk.ts';

const [directory = '', round = ''] = process.argv.slice(2);
const engine = await openEmbeddedEngine({ directory, disk: nodeDisk, clock, random, logger, segmentBytes: 64 * 1024 });
const write = async (lane: number): Promise<void> => {
  const log = `log-${lane % 4}`;
  for (let count = 0; count < 20_000; count++) {
    const body = Buffer.from(`${round}:${lane}:${count}:`.padEnd(20 + ((count * 37) % 400), 'x'));
    const result = await engine.log.append(log, 'any', [body], { deadline: clock.monotonic() + 10_000 });
    if (result.kind !== 'appended') throw new Error(`append: ${result.kind}`);
    writeSync(1, `${log} ${result.position}\n`);
  }
};
await Promise.all(Array.from({ length: 16 }, (_, lane) => write(lane)));
