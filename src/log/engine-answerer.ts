/** The engine behind a link: each operation is a method of its own name; follows and subscriptions are streams. */
import type { Answerer, Incoming, Reply } from '../core/channel.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { type AppendForm, appendAll } from './append-group.ts';
import type { Bus, Engine } from './engine.ts';

/** Blobs travel in pieces that fit a frame. */
export const blobPieceBytes: number = 512 * 1024;
const blobBytesMax = 4 * 1024 * 1024 * 1024;

export function engineAnswerer(engine: Engine, clock: Clock): Answerer {
  return incoming => {
    const { method, deadline } = incoming;
    const body = incoming.body as Record<string, never>;
    const options = { deadline };
    if (method === 'log.append') return reply(appendAll(engine.log, incoming.body as readonly AppendForm[], options));
    if (method === 'log.barrier') return reply(engine.log.barrier(body['log']!, options));
    if (method === 'log.read')
      return reply(
        engine.log.read(body['log']!, body['from']!, Math.min(body['bytesMax']!, limits.frameBytesMax / 4), options),
      );
    if (method === 'log.follow') return engine.log.follow(body['log']!, body['from']!, incoming.signal);
    if (method === 'log.begin') return reply(engine.log.begin(body['log']!, body['first']!, options));
    if (method === 'log.trim') return reply(engine.log.trim(body['log']!, body['before']!, options));
    if (method === 'log.info') return reply(engine.log.info(body['log']!, options));
    if (method === 'log.list') return reply(engine.log.list(body['prefix']!, options));
    if (method === 'bus.publish') {
      engine.bus.publish(body['subject']!, body['body']!);
      return { body: null };
    }
    if (method === 'bus.subscribe') return subscription(engine.bus, body['subject']!, clock, incoming.signal);
    if (method === 'blobs.put') return put(engine, incoming);
    if (method === 'blobs.get') return get(engine, body['name']!, deadline);
    if (method === 'blobs.delete') return reply(engine.blobs.delete(body['name']!, options));
    if (method === 'blobs.list') return reply(engine.blobs.list(body['prefix']!, options));
    if (method === 'engine.capabilities') return { body: engine.capabilities };
    throw new TandemError('NOT_FOUND', `the engine does not answer '${method}'`);
  };
}

async function reply(result: Promise<unknown>): Promise<Reply> {
  const body = await result;
  // A cause is an Error and stays at home.
  const kind = (body as { kind?: string } | undefined)?.kind;
  return { body: kind === 'unknown' ? { kind } : (body ?? null) };
}

/** A stream both ways: pieces come in, and one item goes out when the blob is stored. */
async function* put(engine: Engine, incoming: Incoming): AsyncGenerator<null> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of incoming.items ?? []) {
    bytes += (piece as Uint8Array).length;
    if (bytes > blobBytesMax) throw new TandemError('TOO_LARGE', `a blob is limited to ${blobBytesMax} bytes`);
    pieces.push(piece as Uint8Array);
  }
  const { name } = incoming.body as { name: string };
  await engine.blobs.put(name, Buffer.concat(pieces), { deadline: incoming.deadline });
  yield null;
}

async function* get(engine: Engine, name: string, deadline: number): AsyncGenerator<Uint8Array> {
  const bytes = await engine.blobs.get(name, { deadline });
  for (let at = 0; at < bytes.length || at === 0; at += blobPieceBytes) yield bytes.subarray(at, at + blobPieceBytes);
}

/** Messages that wait for a slow subscriber; beyond it the oldest go, as a bus may. */
const waitingMax = 4096;
/**
 * After a batch, so much is gathered for the next: everybody hears everybody's beats, and woken for each one alone, an idle app
 * of ten instances would spend half a core. What comes after a pause goes at once.
 */
const gatherMs = 50;

async function* subscription(
  bus: Bus,
  subject: string,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<readonly (readonly [string, Uint8Array])[]> {
  let waiting: [string, Uint8Array][] = [];
  let wake: (() => void) | undefined;
  const onAbort = (): void => wake?.();
  const unsubscribe = bus.subscribe(subject, (name, body) => {
    if (waiting.length >= waitingMax) waiting.shift();
    waiting.push([name, body]);
    wake?.();
  });
  signal.addEventListener('abort', onAbort);
  try {
    // The first, empty item says that the subscription stands.
    yield [];
    while (!signal.aborted) {
      if (waiting.length === 0) {
        await new Promise<void>(resolve => {
          wake = resolve;
        });
        wake = undefined;
        continue;
      }
      const batch = waiting;
      waiting = [];
      yield batch;
      await sleep(clock, gatherMs, signal);
    }
  } finally {
    unsubscribe();
    signal.removeEventListener('abort', onAbort);
  }
}
