/**
 * Files as a component, so that a seeded disk can tear, flip, fill and fail them. Only what a log needs.
 * Implementations: node (log/node-disk.ts) and simulated (simulation/disk.ts).
 */
export interface DiskFile {
  readonly size: number;
  /** Reads up to `length` bytes at `position`; fewer at the end of the file. */
  read(position: number, length: number): Promise<Uint8Array>;
  write(position: number, bytes: Uint8Array): Promise<void>;
  /** Makes the file's data durable (fdatasync). After a failure nothing written to it may ever be acknowledged. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /**
   * Opens for reading and writing; creates it when `create`. With `durable` a write has the promise of a `sync` behind it
   * (O_DSYNC): one way to the disk instead of two.
   */
  open(path: string, options?: { readonly create?: boolean; readonly durable?: boolean }): Promise<DiskFile>;
  /** Names in a directory; empty when there is none. */
  list(directory: string): Promise<string[]>;
  makeDirectory(path: string): Promise<void>;
  /** What a file has and no copy of it, and keeps while it is renamed and across starts; undefined where nothing is known. */
  place?(path: string): Promise<string | undefined>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes creations, renames and removals in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /** Takes an exclusive lock that the kernel frees when the process dies. @throws CONFLICT when another process holds it. */
  lock(path: string): Promise<{ release(): Promise<void> }>;
}
