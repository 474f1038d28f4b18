import { test } from 'node:test';
import { seededRandom } from '../src/core/random.ts';
import { openGrpcFuzz } from './fuzz-grpc.ts';

test('mutated gRPC calls and connections end, hold nothing, and harm nobody else', async () => {
  const fuzz = await openGrpcFuzz();
  const random = seededRandom(11);
  try {
    for (let batch = 0; batch < 30; batch++) await Promise.all(Array.from({ length: 25 }, () => fuzz.once(random)));
    await fuzz.check();
  } finally {
    await fuzz.close();
  }
});
