/**
 * The embedded engine: all logs of an app in one shared sequence of segments, so that one fdatasync commits a batch of
 * many logs (group commit). While a batch is on its way to the disk the next one gathers. An append is answered only
 * when its batch is durable; after a failed sync nothing is ever acknowledged again (the kernel may have dropped the
 * pages: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
 */
import { join } from 'node:path';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { type EmbeddedEngineOptions, EmbeddedLog } from './embedded-log.ts';
import type { Engine } from './engine.ts';
import { openMetadata } from './engine-metadata.ts';
import { FileBlobs } from './file-blobs.ts';
import { LocalBus } from './local-bus.ts';
import { recover } from './recovery.ts';

/** @throws CONFLICT (in use), CORRUPT (damage), CONFIG (read-only, newer format). */
export async function openEmbeddedEngine(options: EmbeddedEngineOptions): Promise<Engine> {
  const { disk, directory } = options;
  const segmentsDirectory = join(directory, 'segments');
  const blobsDirectory = join(directory, 'blobs');
  try {
    await disk.makeDirectory(segmentsDirectory);
    await disk.makeDirectory(blobsDirectory);
  } catch (cause) {
    throw new TandemError(
      'CONFIG',
      `the data directory ${directory} cannot be used: ${(cause as Error).message}; choose another with --data, or mend its rights`,
      { cause },
    );
  }
  const lock = await disk.lock(directory);
  try {
    const metadata = await openMetadata(options);
    if (metadata.copied)
      options.logger.warn(
        'the data is a copy: it was moved to another disk, or put back from a copy that may be older; clients that have seen what is not in it are told so',
        { directory },
      );
    const recovered = await recover(disk, segmentsDirectory);
    if (recovered.cut > 0)
      options.logger.warn('a write that was cut short is cut off; nothing in it was acknowledged', {
        bytes: recovered.cut,
      });
    const log = new EmbeddedLog(options, segmentsDirectory, metadata.incarnation, recovered);
    await log.start();
    const blobs = new FileBlobs(disk, blobsDirectory, options.random);
    await blobs.clean();
    return {
      log,
      bus: new LocalBus(),
      blobs,
      capabilities: {
        driver: 'embedded',
        entryBytesMax: limits.entryBytesMax,
        acknowledged: options.durability === 'os' ? 'in the page cache' : 'on disk (fdatasync)',
        barrierAppends: false,
      },
      close: async () => {
        await log.close();
        await lock.release();
      },
    };
  } catch (cause) {
    await lock.release();
    throw cause;
  }
}
