/** For mutants that break a rule in a replica's rows. */
import type { Head, ReplicaStore } from '../src/replication/store.ts';

/** A store with another way to commit, or to say where it is. */
export function withStore(
  store: ReplicaStore,
  change: { readonly commit?: ReplicaStore['commit']; readonly head?: () => Head },
): ReplicaStore {
  return {
    get head() {
      return change.head?.() ?? store.head;
    },
    get: (table, key) => store.get(table, key),
    scan: (table, prefix, options) => store.scan(table, prefix, options),
    commit: change.commit ?? ((writes, head) => store.commit(writes, head)),
    replace: (rows, head) => store.replace(rows, head),
    capture: () => store.capture(),
    tables: () => store.tables(),
    close: () => store.close(),
  };
}
