/** Blobs as files: written beside, made durable, then renamed into place; a checksum in front is verified at each read. */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { Blobs } from './engine.ts';

const headBytes = 16;
const unfinished = '.new-';
const magic = 0x544e_4442; // "TNDB"

export class FileBlobs implements Blobs {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #random: Random;

  constructor(disk: Disk, directory: string, random: Random) {
    this.#disk = disk;
    this.#directory = directory;
    this.#random = random;
  }

  /** Removes what a crash left of a blob that was being written. */
  async clean(): Promise<void> {
    for (const file of await this.#disk.list(this.#directory))
      if (file.startsWith(unfinished)) await this.#disk.remove(join(this.#directory, file));
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    const head = Buffer.alloc(headBytes);
    head.writeUInt32BE(magic, 0);
    head.writeUInt32LE(crc32(bytes), 4);
    head.writeUIntLE(bytes.length, 8, 6);
    const path = this.#path(name);
    const beside = join(this.#directory, `${unfinished}${this.#random.id()}`);
    try {
      const file = await this.#disk.open(beside, { create: true });
      try {
        await file.write(0, head);
        await file.write(headBytes, bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await this.#disk.rename(beside, path);
    } catch (cause) {
      // On a full disk what came of it would be in the way of the next try.
      await this.#disk.remove(beside).catch(() => {});
      throw cause;
    }
    await this.#disk.syncDirectory(this.#directory);
  }

  async get(name: string): Promise<Uint8Array> {
    if (!(await this.#disk.list(this.#directory)).includes(encodeURIComponent(name)))
      throw new TandemError('NOT_FOUND', `there is no blob '${name}'`);
    const file = await this.#disk.open(this.#path(name));
    try {
      const all = Buffer.from(await file.read(0, file.size));
      const bytes = all.subarray(headBytes);
      const whole = all.length >= headBytes && all.readUInt32BE(0) === magic && all.readUIntLE(8, 6) === bytes.length;
      if (!whole || all.readUInt32LE(4) !== crc32(bytes))
        throw new TandemError('CORRUPT', `the blob '${name}' fails its checksum`);
      return bytes;
    } finally {
      await file.close();
    }
  }

  async delete(name: string): Promise<void> {
    await this.#disk.remove(this.#path(name));
  }

  async list(prefix: string): Promise<readonly string[]> {
    const names = (await this.#disk.list(this.#directory))
      .filter(file => !file.startsWith(unfinished))
      .map(decodeURIComponent);
    return names.filter(name => name.startsWith(prefix)).sort();
  }

  #path(name: string): string {
    return join(this.#directory, encodeURIComponent(name));
  }
}
