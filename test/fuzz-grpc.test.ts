import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzGrpc } from './fuzz-grpc.ts';

test('two seconds of mutated gRPC: every call ends, nothing is held, and a good client notices nothing', async () => {
  const counts = await fuzzGrpc(2 / 60, 11);
  assert(counts.connection! > 20 && counts['status 3']! > 50 && counts['status 0']! > 5, JSON.stringify(counts));
});
