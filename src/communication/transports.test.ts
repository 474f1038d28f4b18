import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryTransport } from './memory.ts';
import { tcpTransport } from './tcp.ts';
import { transportSuite } from './transport.contract-suite.ts';
import { unixTransport } from './unix.ts';

transportSuite('memory', () => ({ transport: memoryTransport(), address: 'memory://' }));
transportSuite('tcp', () => ({ transport: tcpTransport(), address: 'tcp://127.0.0.1:0' }));
transportSuite('unix', () => ({
  transport: unixTransport(),
  address: `unix://${join(mkdtempSync(join(tmpdir(), 'link-')), 's')}`,
}));
