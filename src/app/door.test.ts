import assert from 'node:assert/strict';
import { test } from 'node:test';
import { doorUrl } from './door.ts';

test('who listens on all addresses is reached at that of its machine; a name becomes an address', async () => {
  assert.equal(await doorUrl('http', '0.0.0.0', 3000, '10.0.0.11'), 'http://10.0.0.11:3000');
  assert.equal(await doorUrl('http', '::', 3000, 'fd00::11'), 'http://[fd00::11]:3000');
  assert.equal(await doorUrl('https', '10.0.0.12', 3443, '10.0.0.11'), 'https://10.0.0.12:3443');
  assert.match(await doorUrl('http', 'localhost', 3000, '10.0.0.11'), /^http:\/\/(127\.0\.0\.1|\[::1\]):3000$/);
});
