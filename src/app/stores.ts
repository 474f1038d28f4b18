/** Where an instance keeps its replicas: in LMDB, which is loaded only for a service that has data. */
import type { Service } from '../contract/contract.ts';
import type { StoreSet } from '../replication/lmdb-store.ts';

export async function openStores(service: Service, directory: string): Promise<StoreSet> {
  const { tables, subscriptions } = service.definition;
  if (tables === undefined && subscriptions === undefined) {
    return { open: () => Promise.reject(new Error('this service has no data')), close: () => Promise.resolve() };
  }
  const { openLmdbStores } = await import('../replication/lmdb-store.ts');
  return openLmdbStores({ directory });
}
