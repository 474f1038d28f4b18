/** Blobs in NATS's object store: chunks first, then the entry that names them, so that a blob is there whole or not at all. */
import type { ObjectStore } from '@nats-io/obj';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Blobs, EngineOptions } from './engine.ts';
import type { NatsLink } from './nats-connection.ts';
import { untilConnected, within } from './nats-request.ts';

export function natsBlobs(link: NatsLink, clock: Clock): Blobs {
  let opened: Promise<ObjectStore> | undefined;
  const store = (): Promise<ObjectStore> => {
    opened ??= (async () => {
      const { Objm } = await import('@nats-io/obj');
      return new Objm(link.connection).create(`${link.address.app}-blobs`, {
        replicas: link.replicas,
        storage: 'file' as never,
      });
    })();
    opened.catch(() => {
      opened = undefined;
    });
    return opened;
  };
  const run = async <T>(
    what: string,
    { deadline }: EngineOptions,
    work: (objects: ObjectStore) => Promise<T>,
  ): Promise<T> => {
    await untilConnected(link, clock, deadline);
    try {
      return await within(store().then(work), deadline, clock, what);
    } catch (cause) {
      if (cause instanceof TandemError) throw cause;
      const corrupt = /digest|size mismatch/i.test(String(cause));
      throw new TandemError(corrupt ? 'CORRUPT' : 'UNAVAILABLE', `${what}: ${String(cause)}`, { cause });
    }
  };
  const absent = (name: string): TandemError => new TandemError('NOT_FOUND', `there is no blob ${name}`);
  return {
    put: (name, bytes, options) =>
      run(`storing ${name}`, options, async objects => {
        await objects.putBlob({ name }, bytes);
      }),
    get: (name, options) =>
      run(`reading ${name}`, options, async objects => {
        const found = await objects.getBlob(name);
        if (!found) throw absent(name);
        return found;
      }),
    delete: (name, options) =>
      run(`deleting ${name}`, options, async objects => {
        const info = await objects.info(name);
        if (info && !info.deleted) await objects.delete(name);
      }),
    list: (prefix, options) =>
      run(`listing ${prefix}`, options, async objects => {
        const names: string[] = [];
        for (const { name, deleted } of await objects.list()) if (!deleted && name.startsWith(prefix)) names.push(name);
        return names.sort();
      }),
  };
}
