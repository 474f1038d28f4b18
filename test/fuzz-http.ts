/**
 * HTTP/1.1 out of order, at the door of upstreams: requests and answers of the corpora, mutated at random, for minutes. Another parser judges: whatever
 * reaches the upstream must be a request to Node's strict one (llhttp), and whatever reaches a client an answer to it. All the while an honest client
 * asks for things of its own, and must get just those. `node --conditions=tandem-source test/fuzz-http.ts --minutes 5 [--seed N]`.
 */
import { createServer, get, type IncomingMessage } from 'node:http';
import { connect, createServer as createByteServer, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { upstreamForm } from '../src/contract/upstream.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import { badForProxies, badRequests } from '../src/upstreams/bad-requests.fixture.test.ts';
import { openDoor } from '../src/upstreams/door.ts';
import { Upstreams } from '../src/upstreams/upstreams.ts';

const seeds: readonly string[] = [
  ...Object.values(badRequests),
  ...Object.values(badForProxies),
  'GET /a?b=c HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nconnection: keep-alive\r\n\r\n',
  'POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world',
  'POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nx-t: 1\r\n\r\n',
  'GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nHEAD /3 HTTP/1.1\r\nhost: a\r\n\r\n',
  'PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nok',
  'GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n',
  'GET /w HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nbytes',
];
const answers: readonly string[] = [
  'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello',
  'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nset-cookie: a=b\r\nconnection: close\r\n\r\nuntil the end',
  'HTTP/1.0 404 Not Found\r\ncontent-type: text/plain\r\n\r\nno',
  'HTTP/1.1 204 No Content\r\netag: "x"\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nbytes',
];
const words = [
  '\r\n',
  '\r\n\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '0',
  '-1',
  'chunked',
  'identity',
  '\x7f',
  '\xff',
  'HTTP/1.1',
  'HTTP/1.0',
]
  .concat([
    'content-length: 5\r\n',
    'transfer-encoding: chunked\r\n',
    'host: b\r\n',
    'connection: close\r\n',
    'connection: host\r\n',
    '0\r\n\r\n',
  ])
  .concat([
    'content-length: 0\r\n',
    'expect: 100-continue\r\n',
    'GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n',
    'ffffffff\r\n',
    'x'.repeat(300),
  ]);

export function mutate(random: Random, corpus: readonly string[]): string {
  const any = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
  let text = any(corpus);
  for (let times = random.below(5); times >= 0; times--) {
    const at = random.below(text.length + 1);
    const to = Math.min(text.length, at + random.below(12));
    const kind = random.below(7);
    if (kind === 0) text = text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    else if (kind === 1) text = text.slice(0, at) + text.slice(to);
    else if (kind === 2) text = text.slice(0, at) + text.slice(at, to) + text.slice(at);
    else if (kind === 3) text = text.slice(0, at) + any(corpus).slice(random.below(40));
    else if (kind === 4) text = text.slice(0, at);
    else text = text.slice(0, at) + any(words) + text.slice(at);
  }
  return text;
}

export interface Counts {
  requests: number;
  answered: number;
  refused: number;
  reached: number;
  answers: number;
  passed: number;
  honest: number;
  seed: number;
  memoryMb: number;
}

/** Longer than asked, until enough has happened. */
const busyMsMax = 60_000;

/** @throws when a promise is broken, with the input that did it. */
export async function fuzzHttp(minutes: number, seed: number): Promise<Counts> {
  const random = seededRandom(seed);
  const counts: Counts = {
    requests: 0,
    answered: 0,
    refused: 0,
    reached: 0,
    answers: 0,
    passed: 0,
    honest: 0,
    seed,
    memoryMb: 0,
  };
  const broken: string[] = [];
  let last = '';
  const judge = createServer({ maxHeaderSize: 32_768 }, (request, response) => {
    counts.reached++;
    if (request.headers.host === undefined) broken.push(last);
    request.on('data', () => {});
    request.on('end', () => response.end(`at ${request.url}`));
    request.on('error', () => {});
  });
  judge.on('upgrade', (_request, socket: Socket) =>
    socket.end('HTTP/1.1 400 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'),
  );
  judge.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: Socket) => {
    // What is cut by the door, because its client was wrong or left, is no whole request; a verb that llhttp has not heard of is one.
    const fine = ['ECONNRESET', 'EPIPE', 'HPE_INVALID_EOF_STATE', 'HPE_INVALID_METHOD'].includes(error.code ?? '');
    if (!fine) broken.push(`${error.code}: ${JSON.stringify(error.rawPacket?.toString('latin1'))}`);
    socket.destroy();
  });
  let reply = '';
  const liar = createByteServer(socket => {
    socket.on('error', () => {});
    socket.on('data', () => socket.end(reply, 'latin1'));
  });
  for (const server of [judge, liar]) await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const urlOf = (server: typeof judge | typeof liar): string =>
    `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  const groups = [
    upstreamForm({ targets: [urlOf(judge)], health: false }),
    upstreamForm({ prefix: '/liar', targets: [urlOf(liar)], health: false, tries: 1, answerTimeout: '1s' }),
  ];
  const upstreams = new Upstreams({ groups, clock, random, logger, meter });
  await upstreams.open();
  const door = await openDoor({
    upstreams,
    clock,
    logger,
    meter,
    port: 0,
    headersTimeoutMs: 300,
    bodyTimeoutMs: 300,
    checkIntervalMs: 50,
  });

  const send = (text: string): Promise<string> =>
    new Promise(resolve => {
      let came = '';
      const socket = connect(door.port, '127.0.0.1');
      const cut = random.below(text.length + 1);
      socket.write(text.slice(0, cut), 'latin1');
      const rest = clock.after(random.below(2), () => socket.write(text.slice(cut), 'latin1'));
      // Most say at once that they are done, the others let the door run into its deadline.
      const patience = clock.after(random.below(20) === 0 ? 900 : 25, () => socket.destroy());
      socket.on('data', data => {
        came += data.toString('latin1');
      });
      socket.on('error', () => {});
      socket.on('close', () => {
        rest.cancel();
        patience.cancel();
        resolve(came);
      });
    });
  const ask = (path: string): Promise<{ status: number; text: string } | string> =>
    new Promise(resolve => {
      const asked = get(`${door.url}${path}`, { agent: false }, (response: IncomingMessage) => {
        let text = '';
        response.on('data', data => {
          text += data;
        });
        response.on('end', () => resolve({ status: response.statusCode!, text }));
        response.on('error', error => resolve(String(error)));
      });
      asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? String(error)));
    });

  const end = performance.now() + minutes * 60_000;
  /** On a busy machine little happens in seconds; what is judged is a number of requests, not of seconds. */
  const isOver = (): boolean => {
    const { requests, reached, answers: lies, honest: asked } = counts;
    const isEnough = requests > 50 && reached > 10 && lies > 20 && asked > 20;
    return performance.now() > (isEnough ? end : end + busyMsMax);
  };
  const rounds = async (work: () => Promise<void>): Promise<void> => {
    while (!isOver() && broken.length === 0) await work();
  };
  const attack = (): Promise<void> =>
    rounds(async () => {
      last = mutate(random, seeds);
      counts.requests++;
      const status = /^HTTP\/1\.1 (\d{3}) /.exec(await send(last))?.[1];
      if (status === undefined) return;
      if (Number(status) < 400) counts.answered++;
      else counts.refused++;
    });
  const lie = (): Promise<void> =>
    rounds(async () => {
      reply = mutate(random, answers);
      counts.answers++;
      const given = await ask('/liar');
      if (typeof given === 'object' && given.status < 500) counts.passed++;
      else if (typeof given === 'object' && given.status === 503) broken.push('the liar is not asked any more');
      else if (typeof given === 'string' && given.startsWith('HPE_'))
        broken.push(`${given}: the answer ${JSON.stringify(reply)}`);
      // One that fails again and again would be left alone.
      reply = answers[0]!;
      await ask('/liar');
    });
  const honest = (): Promise<void> =>
    rounds(async () => {
      const path = `/honest/${counts.honest++}`;
      const given = await ask(path);
      if (typeof given === 'string' || given.text !== `at ${path}`)
        broken.push(`honest ${path}: ${JSON.stringify(given)} beside ${JSON.stringify(last)}`);
      await new Promise(resolve => setTimeout(resolve, 2));
    });
  await Promise.all([...Array.from({ length: 16 }, attack), lie(), honest()]);
  counts.memoryMb = Math.round(process.memoryUsage().rss / 1_048_576);
  await door.close(0);
  upstreams.close();
  judge.close();
  judge.closeAllConnections();
  liar.close();
  if (broken.length > 0) throw new Error(`seed ${seed}: ${broken[0]!.slice(0, 1000)}`);
  return counts;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
  console.log(
    JSON.stringify(await fuzzHttp(Number(values.minutes ?? 5), Number(values.seed ?? Date.now() % 1_000_000))),
  );
  process.exit(0);
}
