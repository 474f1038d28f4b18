/** Blobs as files: written beside, made durable, then renamed into place; a checksum in front is verified at each read. */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Disk } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { Blobs } from './engine.ts';

const headBytes = 16;
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

  async put(name: string, bytes: Uint8Array): Promise<void> {
    const head = Buffer.alloc(headBytes);
    head.writeUInt32BE(magic, 0);
    head.writeUInt32LE(crc32(bytes), 4);
    head.writeUIntLE(bytes.length, 8, 6);
    const path = this.#path(name);
    const beside = join(this.#directory, `.new-${this.#random.id()}`);
    const file = await this.#disk.open(beside, { create: true });
    try {
      await file.write(0, head);
      await file.write(headBytes, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(beside, path);
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
      .filter(file => !file.startsWith('.new-'))
      .map(decodeURIComponent);
    return names.filter(name => name.startsWith(prefix)).sort();
  }

  #path(name: string): string {
    return join(this.#directory, encodeURIComponent(name));
  }
}
