import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { auditEffects } from './accounting.ts';
import { checkConvergence } from './convergence.ts';
import { checkSessions, type Observation } from './sessions.ts';

interface Fault {
  /** Reads forget the session's position. */
  readonly forgets?: 'reads' | 'writes';
  /** One replica applied other entries. */
  readonly diverges?: boolean;
}

/** Sessions over lagging replicas of one log, as `sequential` promises them, or with a fault. */
function run(random: Random, fault: Fault = {}): Observation[] {
  const log: string[] = [''];
  const replicas = [0, 0, 0];
  const seen = new Map<string, { read: number; write: number }>();
  const observations: Observation[] = [];
  let event = 0;
  for (let i = 0; i < 400; i++) {
    for (let at = 0; at < replicas.length; at++) {
      if (random.next() < 0.3) replicas[at] = Math.min(log.length - 1, replicas[at]! + random.below(4));
    }
    const session = `s${random.below(4)}`;
    const past = seen.get(session) ?? { read: 0, write: 0 };
    seen.set(session, past);
    const invoked = event++;
    if (random.next() < 0.4) {
      log.push(`value ${i}`);
      past.write = log.length - 1;
      observations.push({
        session,
        kind: 'write',
        key: 'p0',
        version: past.write,
        value: log.at(-1)!,
        invoked,
        returned: event++,
      });
      continue;
    }
    const at = random.below(replicas.length);
    const floor = Math.max(fault.forgets === 'reads' ? 0 : past.read, fault.forgets === 'writes' ? 0 : past.write);
    replicas[at] = Math.max(replicas[at]!, floor);
    const version = replicas[at]!;
    past.read = Math.max(past.read, version);
    const value = fault.diverges && at === 0 && version > 50 ? `other ${log[version]}` : log[version]!;
    observations.push({ session, kind: 'read', key: 'p0', version, value, invoked, returned: event++ });
  }
  return observations;
}

test('a session that keeps its position is never found guilty', () => {
  for (let seed = 0; seed < 50; seed++) assert.deepEqual(checkSessions(run(seededRandom(seed))), [], `seed ${seed}`);
});

test('each broken guarantee is caught under its name', () => {
  const mutants: readonly (readonly [Fault, string])[] = [
    [{ forgets: 'reads' }, 'monotonic reads'],
    [{ forgets: 'writes' }, 'read your writes'],
    [{ diverges: true }, 'one order'],
  ];
  for (const [fault, guarantee] of mutants) {
    for (let seed = 0; seed < 20; seed++) {
      const found = checkSessions(run(seededRandom(seed), fault));
      assert.ok(
        found.some(violation => violation.guarantee === guarantee),
        `${guarantee}, seed ${seed}`,
      );
    }
  }
});

test('writes that overtake each other, or what was read, are caught', () => {
  const observation = (kind: 'read' | 'write', version: number, at: number): Observation => ({
    session: 's',
    kind,
    key: 'p0',
    version,
    value: `v${version}`,
    invoked: at,
    returned: at + 1,
  });
  const names = (...all: Observation[]): string[] => checkSessions(all).map(({ guarantee }) => guarantee);
  assert.deepEqual(names(observation('write', 2, 0), observation('write', 1, 2)), ['monotonic writes']);
  assert.deepEqual(names(observation('read', 2, 0), observation('write', 1, 2)), ['writes follow reads']);
  assert.deepEqual(names(observation('write', 2, 0), observation('write', 2, 0)), ['one order']);
  assert.deepEqual(names(observation('read', 2, 0), observation('read', 1, 0)), [], 'concurrent reads bind not');
});

test('lost, doubled, resurrected and invented effects are told apart', () => {
  const attempts = [
    { id: 'a', outcome: 'ok' as const },
    { id: 'b', outcome: 'fail' as const },
    { id: 'c', outcome: 'unknown' as const },
    { id: 'd', outcome: 'unknown' as const },
  ];
  assert.equal(auditEffects(attempts, ['a', 'c']).balances, true);
  assert.deepEqual(auditEffects(attempts, ['b', 'c', 'c', 'x']), {
    lost: ['a'],
    doubled: ['c'],
    resurrected: ['b'],
    invented: ['x'],
    balances: false,
  });
});

test('replicas that differ at one position, or stay behind in a calm, are named', () => {
  const state = (replica: string, position: number, digest: string) => ({ partition: 0, replica, position, digest });
  const same = [state('a', 5, 'x'), state('b', 5, 'x'), state('c', 4, 'w')];
  assert.deepEqual(checkConvergence(same, false), []);
  assert.deepEqual(
    checkConvergence(same, true).map(({ kind, a }) => [kind, a.replica]),
    [['behind', 'c']],
  );
  assert.deepEqual(
    checkConvergence([...same, state('d', 4, 'other')], false).map(({ kind, b }) => [kind, b.replica]),
    [['diverged', 'd']],
  );
});
