// The driver's judgement, by a connection that answers as told: what counts as done, not done or unknown, what is sent again, and
// what a read makes of a replica that lags. The same against real servers is in test/nats-engine.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock as clock } from '../core/clock.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { systemRandom as random } from '../core/random.ts';
import { parseNatsAddress } from './nats-address.ts';
import type { NatsLink } from './nats-connection.ts';
import { NatsLog } from './nats-log.ts';

const soon = (ms = 2000): { deadline: number } => ({ deadline: clock.monotonic() + ms });
const body = Buffer.from('x');
const named = (name: string): Error => Object.assign(new Error(name), { name });

const nobody = named('NoRespondersError');
const silence = named('TimeoutError');
const accepted = (seq: number): object => ({ seq });
const refused = (err_code: number, description: string): object => ({ error: { err_code, description } });

interface Script {
  /** Answers to requests, in order; the last one stays. */
  readonly answers?: readonly object[];
  /** Positions that reads find, in order; the last one stays. */
  readonly reads?: readonly (readonly number[])[];
  readonly state?: { readonly first_seq: number; readonly last_seq: number };
  readonly replicas?: number;
}

/** A log on a connection that answers as told, and what was sent over it. */
function scripted({ answers = [], reads = [], state = { first_seq: 1, last_seq: 9 }, replicas = 1 }: Script) {
  const sent: string[] = [];
  const next = <T>(list: readonly T[], kind: string): T => {
    const at = sent.filter(line => line === kind).length;
    sent.push(kind);
    return list[Math.min(at, list.length - 1)]!;
  };
  const config = {
    ...{ retention: 'limits', storage: 'file', discard: 'new', deny_delete: true, num_replicas: replicas },
    ...{ allow_atomic: true, allow_direct: true },
  };
  const link = {
    connected: true,
    replicas,
    address: parseNatsAddress('nats://a?sync=unchecked'),
    onConnection: () => () => {},
    headers: () => new Map(),
    connection: {
      publish: () => sent.push('publish'),
      request: () => {
        const answer = next(answers, 'request');
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve({ json: () => answer });
      },
    },
    manager: {
      getAccountInfo: () => Promise.resolve({ streams: 1 }),
      streams: {
        info: () => Promise.resolve({ config, created: 'once', state: { ...state, bytes: 1 } }),
        purge: (_: string, { seq }: { seq: number }) => Promise.resolve(sent.push(`purge ${seq}`)),
      },
      direct: {
        getBatch: () => Promise.resolve(next(reads, 'read').map(seq => ({ seq, data: body }))),
      },
    },
  } as unknown as NatsLink;
  const stopped = new AbortController().signal;
  return { log: new NatsLog({ link, clock, random, logger, stopped, entryBytesMax: 1000 }), sent };
}

test('an append without an answer is unknown and sent once', async () => {
  const { log, sent } = scripted({ answers: [silence] });
  assert.equal((await log.append('a', 9, [body], soon())).kind, 'unknown');
  assert.deepEqual(sent, ['request']);
});

test('a refusal by a replica that was storing is unknown, one by the guard is a conflict', async () => {
  const refusal = async (code: number, text: string, replicas = 3) =>
    scripted({ answers: [refused(code, text)], replicas }).log.append('a', 9, [body], soon());
  assert.equal((await refusal(10_077, 'store is closed')).kind, 'unknown');
  assert.equal((await refusal(10_023, 'insufficient resources')).kind, 'unknown');
  assert.equal((await refusal(99_999, 'something new')).kind, 'unknown');
  assert.deepEqual(await refusal(10_071, 'wrong last sequence: 12'), { kind: 'conflict', tail: 12 });
  await assert.rejects(refusal(10_023, 'insufficient resources', 1), { code: 'UNAVAILABLE', outcome: 'not-done' });
  await assert.rejects(refusal(10_047, 'insufficient storage'), { code: 'UNAVAILABLE', outcome: 'not-done' });
});

test('an append that nobody took is offered again until its deadline, and is not done then', async () => {
  const { log, sent } = scripted({ answers: [nobody, nobody, accepted(10)] });
  assert.deepEqual(await log.append('a', 9, [body], soon()), { kind: 'appended', position: 10 });
  assert.equal(sent.length, 3);
  const never = scripted({ answers: [nobody] });
  await assert.rejects(never.log.append('a', 9, [body], soon(100)), { code: 'UNAVAILABLE', outcome: 'not-done' });
});

test('a barrier that nobody took is offered again while the log exists', async () => {
  assert.equal(await scripted({ answers: [nobody, accepted(10)] }).log.barrier('a', soon()), 10);
  const state = { first_seq: 0, last_seq: 0 };
  assert.equal(await scripted({ answers: [nobody], state }).log.barrier('a', soon()), 0);
});

test('a replica that answers less than this process has seen is asked again', async () => {
  const { log, sent } = scripted({ answers: [accepted(9)], reads: [[], [], [9]] });
  assert.deepEqual(await log.read('a', 9, 1000, soon()), [], 'nothing is known yet');
  await log.barrier('a', soon());
  assert.deepEqual(await log.read('a', 9, 1000, soon()), [{ position: 9, body }]);
  assert.equal(sent.filter(line => line === 'read').length, 3);
  const stuck = scripted({ answers: [accepted(9)], reads: [[]] });
  await stuck.log.barrier('a', soon());
  await assert.rejects(stuck.log.read('a', 9, 1000, soon(100)), { code: 'DEADLINE_EXCEEDED' });
});

test('a read gives no position twice, none past a gap, and says what was trimmed', async () => {
  const positions = async (found: readonly number[], state = { first_seq: 1, last_seq: 9 }) =>
    (await scripted({ reads: [found], state }).log.read('a', 3, 1000, soon())).map(entry => entry.position);
  assert.deepEqual(await positions([3, 4, 6, 7]), [3, 4]);
  assert.deepEqual(await positions([3, 3, 4]), [3]);
  await assert.rejects(positions([5, 6]), { code: 'NOT_FOUND' });
});

test('a trim takes nothing away beyond the tail, which would move it', async () => {
  const { log, sent } = scripted({});
  await log.trim('a', 5, soon());
  await log.trim('a', 100, soon());
  await log.trim('a', 1, soon());
  assert.deepEqual(sent, ['purge 5', 'purge 10']);
});
