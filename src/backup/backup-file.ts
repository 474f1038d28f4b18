/**
 * A backup is one file: frames, each with its length and a checksum, the last of which says how many there are and what all
 * bytes before it hash to. So a file that was cut short, or changed anywhere, is told from a whole one before anything of it
 * is used. Written under another name first: what has the name asked for was finished.
 */
import { createHash, type Hash } from 'node:crypto';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Disk, DiskFile } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import { pack, unpack } from '../replication/codec.ts';

export const backupFormat = 1;
const magic = Buffer.from('tandem backup\n');
const headBytes = 8;
/** Longest frame: entries and pieces of blobs come in smaller ones. */
const frameBytesMax = 8 * 1024 * 1024;
const bufferBytes = 1024 * 1024;

export interface BackupHeader {
  readonly kind: 'header';
  readonly format: number;
  /** Wall ms. */
  readonly takenAt: number;
  readonly engine: string;
}

export type BackupFrame =
  | BackupHeader
  /** `tail` is the last position of the cut. */
  | { readonly kind: 'log'; readonly name: string; readonly first: number; readonly tail: number }
  /** Of the log before it, at the positions that follow. */
  | { readonly kind: 'entries'; readonly bodies: readonly Uint8Array[] }
  | { readonly kind: 'blob'; readonly name: string; readonly bytes: number }
  /** Of the blob before it. */
  | { readonly kind: 'piece'; readonly bytes: Uint8Array }
  | { readonly kind: 'end'; readonly frames: number; readonly sha256: string };

export class BackupWriter {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #file: DiskFile;
  readonly #hash: Hash = createHash('sha256');
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #at = 0;
  #frames = 0;

  private constructor(disk: Disk, path: string, file: DiskFile) {
    this.#disk = disk;
    this.#path = path;
    this.#file = file;
  }

  static async create(disk: Disk, path: string): Promise<BackupWriter> {
    const file = await disk.open(partial(path), { create: true });
    await file.truncate(0);
    const writer = new BackupWriter(disk, path, file);
    writer.#gather(magic);
    return writer;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#at + this.#waitingBytes;
  }

  async write(frame: BackupFrame): Promise<void> {
    const body = pack(frame);
    const head = Buffer.alloc(headBytes);
    head.writeUInt32LE(body.length, 0);
    head.writeUInt32LE(crc32(body), 4);
    this.#gather(head);
    this.#gather(body);
    this.#frames++;
    if (this.#waitingBytes >= bufferBytes) await this.#flush();
  }

  /** Makes it a backup: complete, on the disk, under its name. */
  async finish(): Promise<void> {
    const sha256 = this.#hash.copy().digest('hex');
    await this.write({ kind: 'end', frames: this.#frames, sha256 });
    await this.#flush();
    await this.#file.sync();
    await this.#file.close();
    await this.#disk.rename(partial(this.#path), this.#path);
    await this.#disk.syncDirectory(dirname(this.#path));
  }

  /** Leaves nothing behind. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => {});
    await this.#disk.remove(partial(this.#path)).catch(() => {});
  }

  #gather(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#waitingBytes = 0;
    await this.#file.write(this.#at, bytes);
    this.#at += bytes.length;
  }
}

/**
 * All frames, header first and `end` last; the caller may trust them only when the last has come.
 * @throws NOT_FOUND, INVALID for what is no backup, UNSUPPORTED for a newer format, CORRUPT with the place of the damage.
 */
export async function* readBackup(disk: Disk, path: string): AsyncGenerator<BackupFrame> {
  const file = await disk.open(path).catch(cause => {
    throw new TandemError('NOT_FOUND', `there is no backup ${path}: ${(cause as Error).message}`, { cause });
  });
  try {
    const hash = createHash('sha256');
    const bytesAt = async (at: number, length: number): Promise<Buffer> => {
      const bytes = Buffer.from(await file.read(at, length));
      if (bytes.length < length) throw damaged(path, at + bytes.length, 'it ends too early; was it copied whole?');
      return bytes;
    };
    const begin = Buffer.from(await file.read(0, magic.length));
    if (!begin.equals(magic)) throw new TandemError('INVALID', `${path} is not a backup that tandem wrote`);
    hash.update(begin);
    let at = magic.length;
    for (let frames = 0; ; frames++) {
      const head = await bytesAt(at, headBytes);
      const length = head.readUInt32LE(0);
      if (length === 0 || length > frameBytesMax) throw damaged(path, at, 'a frame has an impossible length');
      const body = await bytesAt(at + headBytes, length);
      if (crc32(body) !== head.readUInt32LE(4)) throw damaged(path, at, 'a frame does not fit its checksum');
      const frame = unpack(body) as BackupFrame;
      if (frames === 0) checkHeader(path, frame);
      if (frame.kind === 'end' && (frame.frames !== frames || frame.sha256 !== hash.digest('hex')))
        throw damaged(path, at, 'what came before its end is not what was written');
      yield frame;
      at += headBytes + length;
      if (frame.kind === 'end') break;
      hash.update(head);
      hash.update(body);
    }
    if (at < file.size) throw damaged(path, at, 'something follows its end');
  } finally {
    await file.close();
  }
}

function checkHeader(path: string, frame: BackupFrame): void {
  if (frame.kind !== 'header') throw damaged(path, magic.length, 'it does not begin with a header');
  if (frame.format > backupFormat)
    throw new TandemError(
      'UNSUPPORTED',
      `${path} has format ${frame.format}, this Tandem reads up to ${backupFormat}; use the version that wrote it, or newer`,
    );
}

function damaged(path: string, at: number, reason: string): TandemError {
  return new TandemError(
    'CORRUPT',
    `${path} is damaged at byte ${at}: ${reason}. Nothing was restored; use another copy`,
    {
      details: { path, offset: at },
    },
  );
}

function partial(path: string): string {
  return `${path}.partial`;
}
