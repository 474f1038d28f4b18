import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hidden, isNatsAddress, parseNatsAddress } from './nats-address.ts';

const refused = (address: string, message: RegExp): void =>
  assert.throws(() => parseNatsAddress(address), { code: 'CONFIG', message });

test('an address that says something unknown or impossible is refused by name, without its password', () => {
  refused('nats://', /write nats:\/\/host:4222/);
  refused('nats://a:4222?replica=3', /'replica' is not known; known are app, creds/);
  refused('nats://a:4222?replicas=2', /replicas are 1, 3 or 5/);
  refused('nats://a:4222?sync=never', /sync is 'checked' or 'unchecked'/);
  refused('nats://a:4222?app=a.b', /letters, digits and dashes/);
  assert.throws(
    () => parseNatsAddress('nats://shop:secret@a:4222?x=1'),
    (error: Error) => !error.message.includes('secret'),
  );
});

test('an address names servers, credentials and what to ask where', () => {
  assert.deepEqual(
    parseNatsAddress('nats+tls://shop:s%2Fe@a:4222,b:4223/?app=shop&monitor=http://a:8222,http://b:8222&replicas=3'),
    {
      servers: ['a:4222', 'b:4223'],
      user: 'shop',
      password: 's/e',
      creds: undefined,
      tls: true,
      app: 'shop',
      replicas: 3,
      monitors: ['http://a:8222', 'http://b:8222'],
      sync: 'checked',
    },
  );
  assert.equal(hidden('nats://shop:secret@a:4222'), 'nats://…@a:4222');
  assert.deepEqual(['nats://a', 'nats+tls://a', 'tls://a', 'tcp://a'].map(isNatsAddress), [true, true, false, false]);
});
