/**
 * What a store asks of a filesystem, as one object, so that tests can pass a disk that fails, tears writes or loses its
 * power; and the real one, over node:fs. No call blocks the event loop.
 */

import { fdatasync, fsync } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'

import { systemCodeOf } from '../foreign-values.js'

export interface DiskFile {
  /** How many bytes were written; fewer than asked is not an error. */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** How many bytes were read; 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>
  /** Waits until what was written, and the length, are on the device (F_FULLFSYNC on macOS, by libuv). */
  datasync(): Promise<void>
  truncate(length: number): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

export interface Files {
  /** Opens for reading and writing; null when there is no such file. */
  openFile(path: string): Promise<DiskFile | null>
  /** Makes a file, or empties the one that is there. */
  createFile(path: string): Promise<DiskFile>
  list(dir: string): Promise<readonly string[]>
  /** Makes the directory and its parents, and flushes each directory that got a new entry. */
  makeDirectory(dir: string): Promise<void>
  /** Takes the place of what is there under the new name, in one step. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file; nothing when it is not there. Whoever has it open reads on. */
  remove(path: string): Promise<void>
  /** Waits until the entries of the directory are on the device. */
  syncDirectory(dir: string): Promise<void>
}

/** Yarn's Plug and Play opens every file by a handle of its own, which cannot flush; there it is done by number. */
const IS_PLUG_AND_PLAY = process.versions['pnp'] !== undefined
const syncNumber = promisify(fsync)
const datasyncNumber = promisify(fdatasync)

export const nodeFiles: Files = {
  openFile: (path) => unlessAbsent(async () => new NodeFile(await open(path, 'r+'))),
  createFile: async (path) => new NodeFile(await open(path, 'w+')),
  list: (dir) => readdir(dir),
  async makeDirectory(dir) {
    const made: string[] = []
    for (let path = resolve(dir); !(await exists(path)); path = dirname(path)) made.push(path)
    await mkdir(dir, { recursive: true })
    for (const path of made) await nodeFiles.syncDirectory(dirname(path))
  },
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { force: true }),
  async syncDirectory(dir) {
    // Windows opens no directory as a file; NTFS journals its entries.
    if (process.platform === 'win32') return
    const handle = await open(dir, 'r')
    try {
      await (IS_PLUG_AND_PLAY ? syncNumber(handle.fd) : handle.sync())
    } finally {
      await handle.close()
    }
  },
}

class NodeFile implements DiskFile {
  readonly #handle: FileHandle
  /** Flushes by number that are under way: until they end the number must stay that of this file. */
  #flushing: Promise<unknown> = Promise.resolve()

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async write(bytes: Uint8Array, position: number): Promise<number> {
    return (await this.#handle.write(bytes, 0, bytes.length, position)).bytesWritten
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    return (await this.#handle.read(into, 0, into.length, position)).bytesRead
  }

  datasync(): Promise<void> {
    if (!IS_PLUG_AND_PLAY) return this.#handle.datasync()
    const flushed = datasyncNumber(this.#handle.fd)
    this.#flushing = Promise.allSettled([this.#flushing, flushed])
    return flushed
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length)
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size
  }

  async close(): Promise<void> {
    // Node's handles wait by themselves.
    if (IS_PLUG_AND_PLAY) await this.#flushing
    await this.#handle.close()
  }
}

/** A write may take less than it was given: the system then says why on the next one. */
export async function writeAll(file: DiskFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const written = await file.write(bytes.subarray(done), position + done)
    if (written === 0) throw new Error(`a write of ${bytes.length - done} bytes at ${position + done} wrote nothing`)
    done += written
  }
}

/** No room on the device, within the quota, or within what one file may take. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(systemCodeOf(error))
}

export async function exists(path: string): Promise<boolean> {
  return (await unlessAbsent(() => stat(path))) !== null
}

/** What it finds; null where there is no such file. */
export async function unlessAbsent<T>(look: () => Promise<T>): Promise<T | null> {
  try {
    return await look()
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  }
}
