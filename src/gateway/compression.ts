/**
 * Answers made smaller, in a coding that the client takes. Small ones and what is compressed already stay as they are; so do streams, whose items must not wait for
 * each other. Answers to requests with cookies stay too, unless asked for: an attacker's page that can make a browser send them and put text into the
 * answer can read a secret in it from the sizes (BREACH). Programs send no cookies by themselves.
 */
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import type { ZlibOptions } from 'node:zlib';
import { headerNames, one } from './headers.ts';

export type Coding = 'zstd' | 'br' | 'gzip';

export interface CompressionOptions {
  readonly compression: boolean | 'always';
  readonly compressionBytesMin: number;
}

/** By preference where a client has none. */
const codings: readonly Coding[] = ['zstd', 'br', 'gzip'];
/** Above it a thread of the pool does it, so that others need not wait; below, going there takes longer. */
const inLoopBytesMax = 16_384;
const compressible =
  /^(?:text\/(?!event-stream)|application\/(?:[\w.+-]+\+)?(?:json|xml|javascript|wasm)\b|application\/(?:x-)?(?:ndjson|yaml|graphql)|image\/svg|font\/(?:ttf|otf))/i;

/** The coding that Accept-Encoding (RFC 9110, 12.5.3) likes best of ours; undefined: none. */
export function codingFor(accept: string | undefined): Coding | undefined {
  if (accept === undefined || accept === '') return undefined;
  const weights = new Map<string, number>();
  for (const part of accept.toLowerCase().split(',', 32)) {
    const [name = '', ...parameters] = part.split(';').map(text => text.trim());
    const written = parameters.find(text => text.startsWith('q='))?.slice(2);
    const weight = written === undefined ? 1 : Number(written);
    weights.set(name === 'x-gzip' ? 'gzip' : name, weight >= 0 && weight <= 1 ? weight : 0);
  }
  const identity = weights.get('identity') ?? 0;
  let best: Coding | undefined;
  let most = 0;
  for (const coding of codings) {
    const weight = weights.get(coding) ?? weights.get('*') ?? 0;
    if (weight > most && weight >= identity) {
      best = coding;
      most = weight;
    }
  }
  return best;
}

/** Whether an answer of this type is worth it, whoever asked: then it varies by what clients take. */
export function isCompressible(type: string | undefined, bytes: number, options: CompressionOptions): boolean {
  return options.compression !== false && bytes >= options.compressionBytesMin && compressible.test(type ?? '');
}

export function codingOf(request: IncomingMessage, { compression }: CompressionOptions): Coding | undefined {
  const coding = codingFor(one(request.headers, 'accept-encoding'));
  if (coding === undefined || compression === 'always') return coding;
  // Our own cookie opens nothing.
  const { cookie } = request.headers;
  const own = `${headerNames.session}=`;
  return cookie === undefined || cookie.split(/;\s*/).every(pair => pair.startsWith(own)) ? coding : undefined;
}

/** At once when it is small. */
export function compress(coding: Coding, body: Buffer): Buffer | Promise<Buffer> {
  const zlib = process.getBuiltinModule('node:zlib');
  const { BROTLI_PARAM_QUALITY: quality, BROTLI_PARAM_SIZE_HINT: hint } = zlib.constants;
  const inLoop = body.length <= inLoopBytesMax;
  if (coding === 'gzip') {
    const options: ZlibOptions = { level: 5 };
    return inLoop ? zlib.gzipSync(body, options) : promisify<Buffer, ZlibOptions, Buffer>(zlib.gzip)(body, options);
  }
  if (coding === 'br') {
    const options = { params: { [quality]: 4, [hint]: body.length } };
    return inLoop
      ? zlib.brotliCompressSync(body, options)
      : promisify<Buffer, typeof options, Buffer>(zlib.brotliCompress)(body, options);
  }
  return inLoop ? zlib.zstdCompressSync(body) : promisify<Buffer, Buffer>(zlib.zstdCompress)(body);
}
