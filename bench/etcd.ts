/** As much of etcd's API as benches use: put and get by grpc-js, which is what etcd's clients for Node stand on. */
export interface EtcdClient {
  put(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<unknown>;
  close(): void;
}

export async function etcdClient(address: string): Promise<EtcdClient> {
  const grpc = await import('@grpc/grpc-js');
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  const call = (path: string, request: Buffer): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const same = (bytes: Buffer): Buffer => bytes;
      client.makeUnaryRequest(path, same, same, request, { deadline: Date.now() + 10_000 }, (error, value) =>
        error ? reject(error) : resolve(value!),
      );
    });
  return {
    put: (key, value) => call('/etcdserverpb.KV/Put', Buffer.concat([field(1, key), field(2, value)])),
    get: key => call('/etcdserverpb.KV/Range', field(1, key)),
    close: () => client.close(),
  };
}

/** A protobuf field of bytes. */
function field(number: number, text: string): Buffer {
  const bytes = Buffer.from(text);
  const length: number[] = [];
  let left = bytes.length;
  for (; left > 127; left >>>= 7) length.push((left & 127) | 128);
  length.push(left);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...length]), bytes]);
}
