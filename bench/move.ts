/**
 * What writes feel when partitions move, at the load's rate per second (see while-writing.ts): `join`, an instance is added and
 * takes its share of copies and writers; `leave`, one is asked to end and hands its partitions on; `kill`, one is killed (-9),
 * and `gapMs` is then the time without an answer to any write: detection, take-over and the first append.
 */
import type { Bench } from './run.ts';
import { calm, pause, whileWriting } from './while-writing.ts';

/** Until what follows a change is over: copies are given up after a grace of ten seconds. */
const settleMs = 11_000;

const join = whileWriting(async app => {
  await pause(1000);
  await app.join('items');
  await pause(settleMs);
});

const leave = whileWriting(async ({ instances }) => {
  await pause(1000);
  await instances[2]!.stop('SIGTERM');
  await pause(settleMs);
});

const kill = whileWriting(async ({ instances }) => {
  await pause(1000);
  await instances[2]!.stop('SIGKILL');
  await pause(settleMs);
});

export const bench: Bench = {
  ours: ['join', 'leave', 'kill'],
  rounds: 2,
  loads: [50],
  subjects: { calm, join, leave, kill },
};
