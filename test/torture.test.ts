// Ten seconds of `npm run torture`: real processes are killed and stopped while clients write, read and make transactions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { torture } from './torture.ts';

test('so it is while the partitions of the service are doubled', { timeout: 200_000 }, async () => {
  const { wrong, story, answers, errors } = await torture({ forMs: 8000, seed: 3, reshard: true });
  assert.deepEqual(wrong, [], `${story.join('\n')}\n${JSON.stringify(errors)}`);
  assert.ok(answers.ok > 80, `too little happened: ${JSON.stringify(answers)}`);
  assert.ok(
    story.some(line => line.includes('"count":8')),
    story.join('\n'),
  );
});

test('what clients of real processes see under kill -9 and SIGSTOP is linearizable, atomic and in order', {
  timeout: 150_000,
}, async () => {
  const { wrong, story, answers, errors } = await torture({ forMs: 10_000, seed: 2 });
  assert.deepEqual(wrong, [], `${story.join('\n')}\n${JSON.stringify(errors)}`);
  assert.ok(answers.ok > 100, `too little happened: ${JSON.stringify(answers)}`);
  assert.ok(story.filter(line => line.includes('kill -9')).length >= 1, story.join('\n'));
});
