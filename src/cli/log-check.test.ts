import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { encodeEvent } from '../events/event.ts';
import type { DumpedEntry } from '../log/repair.ts';
import { pack } from '../replication/codec.ts';
import { chainHash, encodeEntry, type LogEntry } from '../replication/entry.ts';
import { labelOf, renewed } from '../replication/incarnation.ts';
import { LargeEntries } from '../replication/large-entries.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { checkLogs, exported, type WrittenTransaction } from './log-check.ts';

const genesis = { incarnation: 'i', service: 's', partition: 0, partitions: 1 };
const row = (value: unknown): Uint8Array => pack([1, value]);

/** A state log of such entries; each continues the one before it unless it says otherwise. */
function stateLog(...entries: readonly Partial<LogEntry>[]): DumpedEntry[] {
  let parent = '';
  return entries.map((entry, at) => {
    const whole = { parent, author: 'x', epoch: 1, time: at, writes: [], emitted: [], ...entry };
    const body = encodeEntry(whole);
    if (entry.parent === undefined) parent = chainHash(body);
    return { log: 'state/s/0', position: at + 1, body };
  });
}
function topicLog(...numbers: readonly number[]): DumpedEntry[] {
  return numbers.map((number, at) => {
    const event = { source: 'state/s/0#i', number, key: 'k', body: pack(1), at: 0, traceparent: undefined };
    return { log: 'topic/t/0', position: at + 1, body: encodeEvent(event) };
  });
}
async function* stream(entries: readonly DumpedEntry[]): AsyncGenerator<DumpedEntry> {
  yield* entries;
}
const unread = (name: string): Promise<Uint8Array> => Promise.reject(new Error(`there is no blob '${name}'`));
const findings = async (entries: readonly DumpedEntry[]): Promise<readonly string[]> =>
  (await checkLogs(stream(entries), unread)).findings.map(({ position, what }) => `${position} ${what}`);

const put = (id: string, ...rest: LogEntry['writes']): LogEntry['writes'] => [['$request', id, row(0)], ...rest];

test('a log that was restored and then divided is gone on from under the name that it had last', async () => {
  const origin = stateLog(
    { genesis },
    { claims: true, medium: ':first' },
    { claims: true, author: '', medium: 'r1:second' },
    { seal: { incarnations: ['a', 'b'] } },
  );
  const hash = chainHash(origin.at(-1)!.body);
  const label = labelOf('state/s/0', { incarnation: 'i', ...renewed({ medium: ':first' }, 3, 'r1:second') });
  const heir = (named: string, position = 4): DumpedEntry[] => {
    const predecessor = { label: named, position, hash, ancestors: [] };
    const [begins] = stateLog({ genesis: { ...genesis, incarnation: 'a', partition: 1, predecessor } });
    return [{ ...begins!, log: 'state/s/1' }];
  };
  assert.deepEqual(await findings([...origin, ...heir(label)]), []);
  assert.match((await findings([...origin, ...heir(label, 5)])).join(), /does not go on from where state\/s\/0#i~/);
});

test('logs in order are found in order, in whatever order they are read', async () => {
  const state = stateLog(
    { genesis },
    { writes: put('r1', ['stock', 'a', row(1)]) },
    { parent: 'f'.repeat(32), author: 'stranger' },
    { writes: [['$request', 'r1', undefined]] },
    { writes: put('r1', ['stock', 'a', undefined]) },
  );
  const written: WrittenTransaction[] = [];
  const checked = await checkLogs(stream([...state, ...topicLog(1, 2, 1, 2, 3)].reverse()), unread, one =>
    written.push(one),
  );
  assert.deepEqual(checked, { logs: 2, entries: 10, requests: 2, events: 3, foreign: 1, repeats: 2, findings: [] });
  assert.equal(
    exported(written, 'edn'),
    [
      '{:index 0 :type :invoke :process 0 :f :txn :value [[:w "state/s/0/stock/a" 1]] :log "state/s/0" :position 2}',
      '{:index 1 :type :ok :process 0 :f :txn :value [[:w "state/s/0/stock/a" 1]] :log "state/s/0" :position 2}',
      '{:index 2 :type :invoke :process 0 :f :txn :value [[:w "state/s/0/stock/a" nil]] :log "state/s/0" :position 5}',
      '{:index 3 :type :ok :process 0 :f :txn :value [[:w "state/s/0/stock/a" nil]] :log "state/s/0" :position 5}',
      '',
    ]
      .join('\n')
      .replaceAll(/ :(?=type|process|f |value|log|position)/g, ', :'),
  );
  assert.equal(JSON.parse(exported(written, 'json')).length, 4);
});

test('gaps, doubled requests, clocks that go back, wrong beginnings and lost events are found', async () => {
  const good = stateLog({ genesis }, {}, {});
  assert.deepEqual(await findings([good[0]!, good[2]!]), ['3 the entry before it is 1']);
  assert.deepEqual(await findings(stateLog({ genesis }, { writes: put('r1') }, { writes: put('r1') })), [
    '3 request r1 took effect a second time',
  ]);
  assert.deepEqual(await findings(stateLog({ genesis, time: 100 }, { time: 60 })), [
    '2 its time is 40 ms before that of an earlier entry',
  ]);
  assert.deepEqual(await findings(stateLog({})), ['1 the log does not begin with its genesis']);
  assert.deepEqual(await findings(stateLog({ genesis }, { genesis })), ['2 a second genesis']);
  assert.deepEqual(await findings(topicLog(1, 3, 2)), ['3 event 2 of state/s/0#i comes after 3: readers skip it']);
  const unreadable = { log: 'state/s/0', position: 1, body: new Uint8Array([0xc1]) };
  assert.equal((await findings([unreadable])).length, 1);
});

test('what a large entry holds is judged as any other, and one whose blob is gone or another is told', async () => {
  const large = new LargeEntries({ random: seededRandom(1), clock: virtualClock() } as never);
  const [first, second] = stateLog({ genesis }, { writes: put('r1', ['stock', 'a', row(1)]) });
  const { blob, reference } = large.refer('state/s/0', 2, chainHash(first!.body), second!.body);
  const third = { parent: chainHash(reference), author: 'x', epoch: 1, time: 2, writes: put('r1'), emitted: [] };
  const log: DumpedEntry[] = [
    first!,
    { ...second!, body: reference },
    { log: 'state/s/0', position: 3, body: encodeEntry(third) },
  ];
  const told = async (read: (name: string) => Promise<Uint8Array>): Promise<readonly string[]> =>
    (await checkLogs(stream(log), read)).findings.map(({ position, what }) => `${position} ${what}`);
  assert.deepEqual(await told(async name => (name === blob ? second!.body : first!.body)), [
    '3 request r1 took effect a second time',
  ]);
  assert.deepEqual(await told(unread), [`2 there is no blob '${blob}'`]);
  assert.deepEqual(await told(async () => first!.body), [`2 blob '${blob}' is not what the log names by that hash`]);
});
