import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, test } from 'node:test';
import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, type ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-node';
import { DeclaredError } from '../core/errors.ts';
import { bytesTo, fakeRegistry, type Handle, openTestGateway, until } from './fixture.test.ts';
import { deskDescriptor, deskFile } from './grpc-fixture.test.ts';
import { fileDescriptor } from './proto-descriptor.ts';

const opened: { close(graceMs: number): unknown }[] = [];
after(async () => {
  for (const one of opened) await one.close(0);
});

// biome-ignore lint/suspicious/noExplicitAny: a client made at run time has methods that no type knows
type AnyClient = any;

async function clientOf(handle: Handle): Promise<{ client: AnyClient; port: number }> {
  const gateway = await openTestGateway(handle, { registry: fakeRegistry([deskDescriptor]) });
  opened.push(gateway);
  const file = fromBinary(FileDescriptorProtoSchema, fileDescriptor(deskFile));
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
  const transport = createGrpcWebTransport({ baseUrl: gateway.url, httpVersion: '1.1' });
  return { client: createClient(registry.getService('desk.Desk')!, transport), port: gateway.port };
}

test('gRPC-Web works over HTTP/1.1: a value, a declared error, a stream', async () => {
  const { client } = await clientOf((_service, method, input) => {
    const { sku, qty } = input as { sku: string; qty: number };
    if (method === 'live')
      return (async function* () {
        for (let i = 0; i < 3; i++) yield { sku, qty: i };
      })();
    if (qty > 5) throw new DeclaredError('outOfStock', 409, { left: 5 });
    return { left: 5 - qty };
  });
  assert.equal((await client.reserve({ sku: 'a', qty: 2n })).left, 3n);
  const failure = (await client.reserve({ sku: 'a', qty: 9n }).catch((thrown: unknown) => thrown)) as ConnectError;
  assert.equal(failure.code, Code.FailedPrecondition);
  const seen: bigint[] = [];
  for await (const { qty } of client.live({ sku: 'a' })) seen.push(qty);
  assert.deepEqual(seen, [0n, 1n, 2n]);
});

test('gRPC proper over HTTP/1.1 is refused with what to do instead', async () => {
  const { port } = await clientOf(() => undefined);
  const head = 'POST /desk.Desk/Reserve HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\nconnection: close\r\n';
  const answer = await bytesTo(port, `${head}content-length: 0\r\n\r\n`);
  assert.match(answer, /^HTTP\/1\.1 505 [\s\S]*gRPC needs HTTP\/2; over HTTP\/1\.1 use gRPC-Web/);
});

test('a client that goes away in the middle of a message leaves nothing behind', async () => {
  const { port } = await clientOf(() => undefined);
  const gateway = opened.at(-1) as unknown as { inflight: number; bodyBytes: number };
  const head = 'POST /desk.Desk/Reserve HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc-web+proto\r\n';
  const socket = connect(port, '127.0.0.1', () => socket.write(`${head}content-length: 100\r\n\r\n\0\0\0`));
  await until('it has begun', () => gateway.bodyBytes === 3);
  socket.destroy();
  await until('its place is given back', () => gateway.inflight + gateway.bodyBytes === 0);
});
