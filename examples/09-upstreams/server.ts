// A server that knows nothing of Tandem: node server.ts 3001
import { createServer } from 'node:http';

const server = createServer((request, response) => {
  if (request.url === '/health') return response.end('well\n');
  response.end(`${request.method} ${request.url} at ${process.argv[2]}, for ${request.headers['x-forwarded-for']}\n`);
});
server.listen(Number(process.argv[2] ?? 3001), '127.0.0.1', () => {
  console.log((server.address() as { port: number }).port);
});
