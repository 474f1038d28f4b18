/** What the control link answers by way of the app's own members: the same of `tandem up` and of `tandem dev`. */
import type { AppLink } from './app-link.ts';
import type { ControlAnswers } from './control.ts';

/** @throws (each of them) what `link` throws while the app is not there yet. */
export function linkAnswers(
  link: () => AppLink,
): Omit<ControlAnswers, '$ps' | '$engine' | '$story' | '$scale' | '$stop'> {
  return {
    $call: ({ service, method, input, timeoutMs }) => link().call(service, method, input, timeoutMs),
    $publish: async ({ topic, event, when, timeoutMs }) => {
      await link().publish(topic, event, when ?? {}, timeoutMs);
      return null;
    },
    $deadLetters: ({ subscription, limit, timeoutMs }) => link().deadLetters(subscription, limit, timeoutMs),
    $topics: ({ topic, timeoutMs }) => link().topics(topic ?? undefined, timeoutMs),
    $tables: ({ service, timeoutMs }) => link().tables(service ?? undefined, timeoutMs),
    $parked: ({ subscription, limit, timeoutMs }) => link().parked(subscription, limit, timeoutMs),
    $replay: ({ subscription, from, timeoutMs }) => link().replay(subscription, from, timeoutMs),
    $discard: ({ subscription, key, timeoutMs }) => link().discard(subscription, key, timeoutMs),
    $undeclared: ({ service, timeoutMs }) => link().undeclared(service ?? undefined, timeoutMs),
    $dropTable: ({ service, table, timeoutMs }) => link().dropTable(service, table, timeoutMs),
    $balance: ({ change, timeoutMs }) => link().balance(change ?? undefined, timeoutMs),
    $reshard: ({ service, to, timeoutMs }) => link().reshard(service, to ?? undefined, timeoutMs),
    $partitionMap: ({ service, timeoutMs }) => link().partitionMap(service, timeoutMs),
    $redrive: ({ subscription, limit, timeoutMs }) => link().redrive(subscription, limit, timeoutMs),
  };
}
