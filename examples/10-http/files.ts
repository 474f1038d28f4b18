// What HTTP has beside JSON: signed webhooks, uploads and downloads of any size, a whole app mounted under a path.
//   tandem dev files.ts
//   curl -T large.iso localhost:3000/files/large.iso && curl -O localhost:3000/files/large.iso
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { contract } from 'tandem';
import * as z from 'zod';

export const files = contract('files', {
  upload: { http: 'PUT /files/:name', raw: true, bodyBytesMax: 10_000_000_000, idempotent: true },
  download: { http: 'GET /files/:name', raw: true },
  paid: { http: 'POST /hooks/paid', raw: true },
  admin: { http: 'ANY /admin/*rest', raw: true },
});

/** Any function from Request to Response will do: `app.fetch` of Hono, or Fastify through its `inject`. */
const admin = { fetch: (request: Request) => Response.json({ path: new URL(request.url).pathname }) };

export default files.implement({
  config: z.object({
    directory: z.string().default('.tandem/files'),
    webhookSecret: z.string().default('of examples'),
  }),
  methods: {
    upload: async (request, ctx) => {
      const path = placeOf(request, ctx.config.directory);
      await mkdir(ctx.config.directory, { recursive: true });
      // Beside it first, so that nobody reads half a file, and an upload that breaks leaves the old one.
      const half = `${path}.${ctx.requestId}`;
      try {
        await pipeline(request.body ?? Readable.from([]), createWriteStream(half), { signal: ctx.signal });
        await rename(half, path);
      } catch (broken) {
        await rm(half, { force: true });
        throw broken;
      }
      return new Response(null, { status: 201, headers: { location: new URL(request.url).pathname } });
    },
    download: async (request, ctx) => {
      const path = placeOf(request, ctx.config.directory);
      const found = await stat(path).catch(() => undefined);
      if (!found) return new Response('no such file\n', { status: 404 });
      const body = Readable.toWeb(createReadStream(path)) as ReadableStream<Uint8Array>;
      // With its length the client sees how far it is, and an answer that breaks does not look whole.
      return new Response(body, { headers: { 'content-length': String(found.size) } });
    },
    paid: async (request, ctx) => {
      // What is signed are the bytes as they came: parse only afterwards.
      const bytes = Buffer.from(await request.arrayBuffer());
      const right = createHmac('sha256', ctx.config.webhookSecret).update(bytes).digest();
      const given = Buffer.from(request.headers.get('x-signature') ?? '', 'hex');
      if (given.length !== right.length || !timingSafeEqual(given, right)) return new Response(null, { status: 401 });
      ctx.logger.info('paid', { order: (JSON.parse(bytes.toString()) as { order: string }).order });
      return new Response(null, { status: 204 });
    },
    admin: request => admin.fetch(request),
  },
});

function placeOf(request: Request, directory: string): string {
  const name = decodeURIComponent(new URL(request.url).pathname.slice('/files/'.length));
  // A name must not lead out of the directory.
  return join(directory, Buffer.from(name).toString('base64url'));
}
