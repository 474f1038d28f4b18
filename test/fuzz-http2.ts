/** HTTP/2 for the fuzzer: connections as bytes at the gateway's own port, and a client beside them that keeps one open. */
import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { openTestGateway } from '../src/gateway/fixture.test.ts';
import { type FuzzProtocol, overTcp } from './fuzz-protocol.ts';
import { badConnections, goodConnections, preface } from './http2-corpus.ts';

const large = 'x'.repeat(300_000);

export const protocol: FuzzProtocol = {
  samples: [...goodConnections, ...badConnections],

  // What nghttp2 holds of a connection is freed with its object, at some collection: collected twice a second, all of it stays below 30 MB.
  rssGrownBytesMax: 400 * 1024 * 1024,

  async serve() {
    const gateway = await openTestGateway(
      (_service, method, input, { signal }) => {
        if (method === 'hook') return { status: 200, headers: [], body: new Uint8Array(10) };
        const sku = (input as { sku?: string } | undefined)?.sku;
        const gone = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        gone.catch(() => {});
        if (method === 'live')
          return (async function* () {
            yield 1;
            await gone;
          })();
        return sku === 'large' ? large : sku === 'slow' ? gone : (input ?? null);
      },
      { headersTimeoutMs: 500, requestTimeoutMs: 500, answerIdleTimeoutMs: 500, keepAliveTimeoutMs: 1000 },
    );
    return { port: gateway.port };
  },

  /** Without a preface it is HTTP/1.1, which has a fuzzer of its own. */
  mend: bytes => Buffer.concat([preface, bytes.subarray(preface.length)]),

  attack: ({ port }, bytes, random) => overTcp(Number(port), bytes, random),

  async openClient({ port }) {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on('error', () => {});
    let asked = 0;
    return {
      ask: () =>
        new Promise((resolve, reject) => {
          const sku = `s${asked++}`;
          const stream = session.request({ ':path': `/stock/${sku}` });
          let text = '';
          stream.on('data', data => (text += data)).on('error', reject);
          stream.on('end', () => {
            try {
              assert.equal(text, JSON.stringify({ sku }));
              resolve();
            } catch (wrong) {
              reject(wrong);
            }
          });
        }),
      close: () => session.destroy(),
    };
  },
};
