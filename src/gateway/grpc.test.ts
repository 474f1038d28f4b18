import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as grpc from '@grpc/grpc-js';
import { type ProtoMessage, plainField } from '../contract/proto-file.ts';
import { catalogue, DeclaredError, type SystemCode, TandemError } from '../core/errors.ts';
import { advance, type Handle, until } from './fixture.test.ts';
import { type AnyClient, clientOf, deskFile, openTestDoor, type TestDoor, unary } from './grpc-fixture.test.ts';
import { healthFile } from './grpc-health.ts';
import { reflectionFile } from './grpc-reflection.ts';
import { declaredStatuses, systemStatuses } from './grpc-status.ts';
import type { OutgoingCall } from './outgoing.ts';
import { decode, encode } from './proto-codec.ts';

const opened: { close(): unknown }[] = [];
after(async () => {
  for (const one of opened.reverse()) await one.close();
});

async function door(
  handle: Handle,
  options: Parameters<typeof openTestDoor>[1] = {},
): Promise<{ at: TestDoor; client: AnyClient }> {
  const at = await openTestDoor(handle, options);
  const client = clientOf(deskFile, at.port);
  opened.push(at, client);
  return { at, client };
}
const line = { sku: 'chair', qty: 3 };
const never = (): never => {
  throw new Error('never called');
};

const any = (fullName: string, ...fields: ProtoMessage['fields']): ProtoMessage => ({
  name: '',
  fullName,
  form: 'object',
  fields,
  reserved: [],
});
const anyMessage = any('Any', plainField(1, 'type_url', 'string'), plainField(2, 'value', 'bytes'));
const statusMessage = any(
  'Status',
  plainField(1, 'code', 'int32'),
  plainField(2, 'message', 'string'),
  plainField(3, 'details', 'message', { message: anyMessage, label: 'repeated' }),
);
const errorInfo = any(
  'ErrorInfo',
  plainField(1, 'reason', 'string'),
  plainField(2, 'domain', 'string'),
  plainField(3, 'metadata', 'string', { label: 'map' }),
);
interface Details {
  readonly code: number;
  readonly details: { typeUrl: string; value: string }[];
}
function detailsOf(failure: grpc.ServiceError): Details {
  return decode(statusMessage, failure.metadata.get('grpc-status-details-bin')[0] as Buffer) as Details;
}

test('each system code has its status, with code, outcome and request id in the details', async () => {
  let thrown: unknown;
  const { client } = await door(() => {
    throw thrown;
  });
  for (const [code, status] of Object.entries(systemStatuses)) {
    thrown = new TandemError(code as SystemCode, `it is ${code}`);
    const { error } = await unary(client, 'Reserve', line);
    assert.equal(grpc.status[error!.code], status, code);
    const { code: again, details } = detailsOf(error!);
    assert.equal(again, error!.code);
    assert.equal(details[0]!.typeUrl, 'type.googleapis.com/google.rpc.ErrorInfo');
    const info = decode(errorInfo, Buffer.from(details[0]!.value, 'base64')) as Record<string, Record<string, string>>;
    assert.deepEqual([info.reason, info.domain], [code, 'desk']);
    assert.equal(info.metadata!.outcome, catalogue[code as SystemCode].outcome);
    assert(info.metadata!.requestId!.length > 10);
  }
});

test('the guide says which status stands for which error', () => {
  const page = readFileSync(new URL('../../docs/guides/grpc.md', import.meta.url), 'utf8');
  for (const [code, status] of [...Object.entries(systemStatuses), ...Object.entries(declaredStatuses)])
    assert.match(page, new RegExp(`\\| \`${status}\` \\|.*\\b${code}\\b`), `${code} is ${status}`);
});

test('a declared error carries its data as a message of its own; what is inside stays inside', async () => {
  let thrown: unknown = new DeclaredError('outOfStock', 409, { left: 2 });
  const { client } = await door(() => {
    throw thrown;
  });
  const { error } = await unary(client, 'Reserve', line);
  assert.equal(error!.code, grpc.status.FAILED_PRECONDITION);
  const [, data] = detailsOf(error!).details;
  assert.equal(data!.typeUrl, 'type.googleapis.com/desk.ReserveOutOfStock');
  assert.deepEqual(decode(deskFile.errors.get('reserve.outOfStock')!, Buffer.from(data!.value, 'base64')), { left: 2 });
  thrown = new DeclaredError('gone', 404, undefined);
  assert.equal((await unary(client, 'Reserve', line)).error!.code, grpc.status.NOT_FOUND);
  thrown = new Error('the password is 1234 — ünïcode');
  const inner = (await unary(client, 'Reserve', line)).error!;
  assert.equal(inner.code, grpc.status.INTERNAL);
  assert.doesNotMatch(inner.details, /1234/);
  thrown = new TandemError('INVALID', 'bad – 100 %', { details: { issues: [{ path: 'qty', message: 'too small' }] } });
  const invalid = (await unary(client, 'Reserve', line)).error!;
  assert.equal(invalid.details, 'bad – 100 %');
  assert(detailsOf(invalid).details.some(({ typeUrl }) => typeUrl.endsWith('google.rpc.BadRequest')));
});

test('what is not there is UNIMPLEMENTED, and internal methods are not there', async () => {
  const { at } = await door(never);
  const client = grpc.makeGenericClientConstructor(
    Object.fromEntries(
      ['/desk.Desk/Secret', '/desk.Desk/Reserv', '/nobody.Nobody/Get'].map(path => [
        path.slice(path.lastIndexOf('/') + 1),
        {
          path,
          requestStream: false,
          responseStream: false,
          requestSerialize: () => Buffer.alloc(0),
          requestDeserialize: never,
          responseSerialize: never,
          responseDeserialize: never,
        },
      ]),
    ),
    'x',
  );
  const caller = new client(`127.0.0.1:${at.port}`, grpc.credentials.createInsecure()) as unknown as AnyClient;
  opened.push(caller);
  for (const name of ['Secret', 'Reserv', 'Get']) {
    const { error } = await unary(caller, name, {});
    assert.equal(error!.code, grpc.status.UNIMPLEMENTED, name);
    if (name === 'Reserv') assert.match(error!.details, /did you mean \/desk\.Desk\/Reserve/);
  }
});

test('a unary call answers, with what HTTP says in headers as trailers', async () => {
  let seen: OutgoingCall | undefined;
  const { client } = await door((service, method, input, options) => {
    seen = options;
    if (method === 'ping') return undefined;
    advance(options, 'state/desk/1', 7);
    return { left: (input as { qty: number }).qty, service };
  });
  const { value, trailers } = await unary(client, 'Reserve', line, {
    'idempotency-key': 'abc',
    'tandem-consistency': 'strong',
    authorization: 'Bearer x',
  });
  assert.deepEqual(value, { left: 3 });
  assert.equal(trailers['tandem-level'], 'eventual');
  assert.match(String(trailers['tandem-session']), /^1\./);
  assert.deepEqual([seen!.requestId, seen!.born, seen!.consistency], ['abc', undefined, 'strong']);
  assert.deepEqual(seen!.caller.headers!.authorization, 'Bearer x');
  await unary(client, 'Reserve', line, { 'tandem-session': String(trailers['tandem-session']) });
  assert.equal((seen!.session as { position(log: string): number }).position('state/desk/1'), 7);
  assert.equal((await unary(client, 'Ping', {})).error, undefined);
});

test('the deadline of a client counts, and never more than the method has', async () => {
  let seen: OutgoingCall | undefined;
  const { client } = await door((_service, _method, _input, options) => {
    seen = options;
    throw new TandemError('DEADLINE_EXCEEDED', 'too late');
  });
  await unary(client, 'Reserve', line, {}, { deadline: Date.now() + 700 });
  assert(seen!.timeoutMs <= 700 && seen!.timeoutMs > 300, String(seen!.timeoutMs));
  await unary(client, 'Reserve', line, {}, { deadline: Date.now() + 60_000 });
  assert.equal(seen!.timeoutMs, 2000);
});

test('a client that cancels aborts the call behind', async () => {
  let signal: AbortSignal | undefined;
  const { at, client } = await door((_service, _method, _input, options) => {
    signal = options.signal;
    return new Promise((_, reject) => options.signal.addEventListener('abort', () => reject(options.signal.reason)));
  });
  const call = client.Reserve(line, () => {});
  await until('the call arrived', () => signal !== undefined);
  assert.equal(at.admission.inflight, 1);
  call.cancel();
  await until('it was aborted', () => signal!.aborted);
  await until('its place is free', () => at.admission.inflight === 0 && at.admission.bodyBytes === 0);
});

test('a server stream waits for its reader, and ends with it', async () => {
  let made = 0;
  let ended = false;
  const { client } = await door(async function* () {
    try {
      for (;;) yield { sku: 'x'.repeat(10_000), qty: made++ };
    } finally {
      ended = true;
    }
  });
  const call = client.Live({ sku: 'a' });
  call.on('error', () => {});
  await new Promise(resolve => call.once('data', resolve));
  call.pause();
  let before = -1;
  await until('the source stands still', () => {
    const still = before === made;
    before = made;
    return still;
  });
  assert(made < 1000, `${made} items were made for a reader that took one`);
  call.cancel();
  await until('the source ended', () => ended);
});

test('a client stream and a both-way stream reach the service item by item', async () => {
  const { client } = await door((_service, method, input) => {
    const items = input as AsyncIterable<{ qty: number }>;
    if (method === 'count')
      return (async () => {
        let sum = 0;
        for await (const { qty } of items) sum += qty;
        return sum;
      })();
    return (async function* () {
      for await (const item of items) yield { ...item, qty: item.qty * 2 };
    })();
  });
  const sum = await new Promise((resolve, reject) => {
    const call = client.Count((failure: unknown, value: unknown) => (failure ? reject(failure) : resolve(value)));
    for (let qty = 1; qty <= 100; qty++) call.write({ sku: 'a', qty });
    call.end();
  });
  assert.equal(sum, 5050);
  const call = client.Talk();
  const answers: number[] = [];
  for (const qty of [1, 2, 3]) {
    const answer = new Promise<{ qty: number }>(resolve => call.once('data', resolve));
    call.write({ sku: 'a', qty });
    answers.push((await answer).qty);
  }
  assert.deepEqual(answers, [2, 4, 6]);
  const status = new Promise<grpc.StatusObject>(resolve => call.once('status', resolve));
  call.end();
  call.resume();
  assert.equal((await status).code, 0);
});

test('a client that streams faster than the service takes is held back', async () => {
  let release = (): void => {};
  const { at, client } = await door(async (_service, _method, input) => {
    const iterator = (input as AsyncIterable<unknown>)[Symbol.asyncIterator]();
    await iterator.next();
    await new Promise<void>(resolve => {
      release = resolve;
    });
    let count = 1;
    while (!(await iterator.next()).done) count++;
    return count;
  });
  const result = new Promise(resolve => {
    const call = client.Count((_failure: unknown, value: unknown) => resolve(value));
    for (let i = 0; i < 500; i++) call.write({ sku: 'x'.repeat(10_000), qty: i });
    call.end();
  });
  let before = -1;
  await until('nothing more comes', () => {
    const still = before === at.admission.bodyBytes && before > 0;
    before = at.admission.bodyBytes;
    return still;
  });
  assert(before < 1_000_000, `${before} bytes wait for a service that took one item`);
  release();
  assert.equal(await result, 500);
  await until('all room is given back', () => at.admission.bodyBytes === 0);
});

test('messages are taken compressed, and a bomb is refused', async () => {
  const { at } = await door((_service, _method, input) => ({ left: 1, note: (input as { sku: string }).sku }));
  const client = clientOf(deskFile, at.port, { 'grpc.default_compression_algorithm': 2 });
  opened.push(client);
  const sku = 'x'.repeat(50_000);
  assert.deepEqual((await unary(client, 'Reserve', { sku, qty: 1 })).value, { left: 1, note: sku });
  const bomb = gzipSync(encode(deskFile.methods[0]!.input, { sku: 'x'.repeat(5_000_000), qty: 1 }));
  assert.equal((await raw(at.port, frame(bomb, 1), { 'grpc-encoding': 'gzip' })).status, '8');
});

test('health and reflection answer', async () => {
  let ready = true;
  const { at } = await door(never, { ready: () => ready });
  const health = clientOf(healthFile, at.port);
  opened.push(health);
  const check = async (service: string): Promise<unknown> => {
    const { value, error } = await unary(health, 'Check', { service });
    return error ? error.code : (value as { status: string }).status;
  };
  assert.equal(await check(''), 'SERVING');
  assert.equal(await check('desk.Desk'), 'NOT_SERVING');
  assert.equal(await check('desk'), 'NOT_SERVING');
  assert.equal(await check('nobody'), grpc.status.NOT_FOUND);
  ready = false;
  assert.equal(await check(''), 'NOT_SERVING');
  for (const version of ['v1', 'v1alpha'] as const) {
    const client = clientOf(reflectionFile(version), at.port);
    opened.push(client);
    const call = client.ServerReflectionInfo();
    const ask = async (question: object): Promise<Record<string, Record<string, unknown>>> => {
      const answer = new Promise<Record<string, Record<string, unknown>>>(resolve => call.once('data', resolve));
      call.write(question);
      return answer;
    };
    const { listServicesResponse } = await ask({ listServices: '' });
    assert.deepEqual(
      (listServicesResponse!.service as { name: string }[]).map(({ name }) => name),
      [
        'desk.Desk',
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      ],
    );
    const first = (await ask({ fileByFilename: 'desk.proto' })).fileDescriptorResponse!.fileDescriptorProto as string[];
    const second = (await ask({ fileContainingSymbol: 'desk.Desk.Reserve' })).fileDescriptorResponse!;
    assert.deepEqual(second.fileDescriptorProto, first);
    assert.equal((await ask({ fileContainingSymbol: 'desk.Nothing' })).errorResponse!.errorCode, grpc.status.NOT_FOUND);
    const extension = { containingType: 'desk.ReserveRequest', extensionNumber: 1 };
    assert.equal((await ask({ fileContainingExtension: extension })).errorResponse!.errorCode, grpc.status.NOT_FOUND);
    assert.deepEqual(
      (await ask({ allExtensionNumbersOfType: 'desk.ReserveRequest' })).allExtensionNumbersResponse!.extensionNumber,
      [],
    );
    call.end();
  }
});

test('whoever watches the health of a service hears each change', async () => {
  let ready = true;
  const listeners = new Set<() => void>();
  const { at } = await door(never, { ready: () => ready });
  at.registry.onChange = listener => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  const health = clientOf(healthFile, at.port);
  opened.push(health);
  const call = health.Watch({ service: '' });
  call.on('error', () => {});
  const seen: string[] = [];
  call.on('data', ({ status }: { status: string }) => seen.push(status));
  await until('it was told', () => seen.length === 1);
  ready = false;
  for (const listener of listeners) listener();
  await until('it was told again', () => seen.length === 2);
  assert.deepEqual(seen, ['SERVING', 'NOT_SERVING']);
  call.cancel();
  await until('nobody listens', () => listeners.size === 0);
});

function frame(message: Buffer, flag = 0, length: number = message.length): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

interface RawAnswer {
  readonly http: number;
  readonly status: string | undefined;
  readonly message: string;
  readonly reset: number | undefined;
}

function raw(port: number, body: Buffer, more: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
  return new Promise(resolve => {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    const stream = session.request({
      ':method': 'POST',
      ':path': '/desk.Desk/Reserve',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...more,
    });
    let http = 0;
    let status: string | undefined;
    let message = '';
    const note = (headers: Record<string, unknown>): void => {
      if (headers['grpc-status'] !== undefined) status = String(headers['grpc-status']);
      if (headers['grpc-message'] !== undefined) message = decodeURIComponent(String(headers['grpc-message']));
    };
    stream.on('response', headers => {
      http = headers[':status']!;
      note(headers);
    });
    stream.on('trailers', note);
    stream.on('error', () => {});
    stream.on('close', () => {
      session.destroy();
      resolve({ http, status, message, reset: stream.rstCode });
    });
    stream.resume();
    stream.end(body);
  });
}

const good = encode(deskFile.methods[0]!.input, line);
const bad: readonly [name: string, body: Buffer, headers: Record<string, string>, status: string, says: RegExp][] = [
  ['no message', Buffer.alloc(0), {}, '3', /takes one message, and none came/],
  ['two messages', Buffer.concat([frame(good), frame(good)]), {}, '3', /several came/],
  ['a cut head', Buffer.from([0, 0, 0]), {}, '3', /ends in the middle of a message/],
  ['a cut message', frame(good).subarray(0, 8), {}, '3', /ends in the middle/],
  ['a length beyond what comes', frame(good, 0, good.length + 1), {}, '3', /ends in the middle/],
  ['a length of 4 GB', frame(good, 0, 0xffff_ffff), {}, '8', /over 1000000 bytes/],
  ['bytes after the message', Buffer.concat([frame(good), Buffer.from([7])]), {}, '3', /ends in the middle/],
  ['a flag that is none', frame(good, 2), {}, '3', /neither 0 nor 1/],
  ['the flag of trailers', frame(good, 0x80), {}, '3', /neither 0 nor 1/],
  ['compressed without an encoding', frame(good, 1), {}, '3', /no grpc-encoding is named/],
  ['compressed, and not gzip', frame(good, 1), { 'grpc-encoding': 'gzip' }, '3', /cannot be decompressed/],
  ['an unknown encoding', frame(good), { 'grpc-encoding': 'snappy' }, '12', /'snappy' is not taken/],
  ['no protobuf', frame(Buffer.from([0xff, 0xff])), {}, '3', /not well-formed protobuf/],
  ['a field number of 0', frame(Buffer.from([0, 0])), {}, '3', /number 0/],
  ['a text that is not UTF-8', frame(Buffer.from([0x0a, 1, 0xff])), {}, '3', /not UTF-8/],
  ['a timeout of nine digits', frame(good), { 'grpc-timeout': '123456789S' }, '3', /grpc-timeout/],
  ['a timeout without a unit', frame(good), { 'grpc-timeout': '12' }, '3', /grpc-timeout/],
  ['a negative timeout', frame(good), { 'grpc-timeout': '-1S' }, '3', /grpc-timeout/],
];
test('bad input gets a status that says what is wrong, and the next call is answered', async () => {
  const { at, client } = await door((_service, _method, input) => ({ left: (input as { qty: number }).qty }));
  for (const [name, body, more, status, says] of bad) {
    const answer = await raw(at.port, body, more);
    assert.equal(answer.status, status, `${name}: ${answer.message}`);
    assert.match(answer.message, says, name);
    assert.equal(answer.http, 200, name);
  }
  assert.equal((await raw(at.port, frame(good), { 'content-type': 'application/grpc+json' })).http, 415);
  assert.equal((await raw(at.port, Buffer.alloc(0), { ':method': 'GET' })).http, 405);
  assert.deepEqual((await unary(client, 'Reserve', line)).value, { left: 3 });
  assert.deepEqual([at.admission.inflight, at.admission.bodyBytes], [0, 0]);
});

test('an item that is no message ends the stream as INVALID_ARGUMENT', async () => {
  const { at } = await door(async (_service, _method, input) => {
    let count = 0;
    for await (const _item of input as AsyncIterable<unknown>) count++;
    return count;
  });
  const body = Buffer.concat([frame(good), frame(Buffer.from([0x0a, 9, 1]))]);
  const answer = await raw(at.port, body, { ':path': '/desk.Desk/Count' });
  assert.equal(answer.status, '3', answer.message);
});
