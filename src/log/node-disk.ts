/** Files by node:fs. The lock is an abstract Unix socket named after the directory's inode: the kernel frees it with the process. */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import type { Disk, DiskFile } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';

class NodeFile implements DiskFile {
  readonly #handle: FileHandle;
  #size: number;

  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#handle.read(buffer, done, length - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return buffer.subarray(0, done);
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
    this.#size = Math.max(this.#size, position + bytes.length);
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  async truncate(size: number): Promise<void> {
    await this.#handle.truncate(size);
    this.#size = size;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

export const nodeDisk: Disk = {
  async open(path, options) {
    const flags = (options?.create ? constants.O_CREAT : 0) | (options?.durable ? constants.O_DSYNC : 0);
    const handle = await open(path, constants.O_RDWR | flags, 0o600);
    return new NodeFile(handle, (await handle.stat()).size);
  },
  async list(directory) {
    try {
      return await readdir(directory);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw cause;
    }
  },
  makeDirectory: async path => void (await mkdir(path, { recursive: true })),
  async place(path) {
    const { ino, birthtimeNs } = await stat(path, { bigint: true });
    return `${ino}.${birthtimeNs}`;
  },
  rename,
  remove: path => rm(path, { force: true }),
  async syncDirectory(path) {
    const handle = await open(path, constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  lock: directory => (process.platform === 'linux' ? lockBySocket(directory) : lockByPid(directory)),
};

async function lockBySocket(directory: string): Promise<{ release(): Promise<void> }> {
  const { dev, ino } = await stat(directory).catch(async () => {
    await (await open(directory, 'a', 0o600)).close();
    return stat(directory);
  });
  const name = `\0tandem-${dev}-${ino}`;
  // Who finds it taken asks by whom.
  const server = createServer(socket => socket.on('error', () => {}).end(String(process.pid)));
  await new Promise<void>((done, failed) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'EADDRINUSE') failed(cause);
      else void holderOf(name).then(pid => failed(inUse(directory, pid)));
    });
    server.listen(name, done);
  });
  server.unref();
  return { release: () => new Promise(done => server.close(() => done())) };
}

/** The pid of who holds the lock; undefined when it does not say so at once. */
function holderOf(name: string): Promise<number | undefined> {
  return new Promise(done => {
    let said = '';
    const socket = connect(name);
    socket.setTimeout(askHolderMs, () => socket.destroy());
    socket.on('data', bytes => {
      said += bytes;
    });
    socket.on('error', () => {});
    socket.on('close', () => done(Number(said) || undefined));
  });
}
const askHolderMs = 500;

/** Elsewhere: a file with our pid; a file whose process is gone is taken over. */
async function lockByPid(directory: string): Promise<{ release(): Promise<void> }> {
  const path = join(directory, 'lock');
  const holder = Number(await readFile(path, 'utf8').catch(() => '0'));
  if (holder > 0 && holder !== process.pid && isAlive(holder)) throw inUse(directory, holder);
  await writeFile(path, String(process.pid));
  return { release: () => rm(path, { force: true }) };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function inUse(directory: string, pid?: number): TandemError {
  const who = pid === undefined ? 'another process' : `process ${pid}`;
  return new TandemError(
    'CONFLICT',
    `the data directory ${directory} is in use by ${who}; stop it, or choose another with --data`,
    pid === undefined ? {} : { details: { pid } },
  );
}
