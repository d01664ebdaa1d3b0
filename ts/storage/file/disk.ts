/**
 * Everything that the file store asks of the system, as one object, so that tests can pass a disk that fails, tears
 * writes or loses its power; and the real one, over node:fs. No call blocks the event loop. Dates and the one pause are
 * here too: a store of files is never simulated, it has no clock of its own.
 */

import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

import { systemCodeOf } from '../../foreign-values.js'
import type { FileFacts } from '../fingerprint.js'
import { lockDirectory } from './lock.js'
import type { DirectoryLock } from './lock.js'

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

export interface Disk {
  /** Opens for reading and writing; null when there is no such file. */
  openFile(path: string): Promise<DiskFile | null>
  /** Makes a file, or empties the one that is there. */
  createFile(path: string): Promise<DiskFile>
  /** Null when there is no such file. */
  readText(path: string): Promise<string | null>
  /** The first bytes of a file, at most so many; none when it is not there or cannot be read. */
  readStart(path: string, bytes: number): Promise<Uint8Array>
  /** Which file stands under that name; null when there is none. */
  fileAt(path: string): Promise<FileAt | null>
  list(dir: string): Promise<readonly string[]>
  /** Makes the directory and its parents, and flushes each directory that got a new entry. */
  makeDirectory(dir: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** Removes a file; nothing when it is not there. */
  remove(path: string): Promise<void>
  /** Waits until the entries of the directory are on the device. */
  syncDirectory(dir: string): Promise<void>
  /** The number that `statfs` gives the filesystem of `dir` or of its nearest parent; null where none is known here. */
  filesystem(dir: string): Promise<number | null>
  /** Throws ERR_RAFT_DIR_LOCKED with the holder. */
  lock(dir: string): Promise<DirectoryLock>
  /** Between two tries on a full disk. */
  pause(): Promise<void>
  /** Calls `look` about once a second, until what it returns is called. Keeps no process alive. */
  watch(look: () => void): () => void
}

/** A file as the filesystem knows it. */
export interface FileAt extends FileFacts {
  readonly device: bigint
}

/**
 * How long a folder that is gone may go unnoticed: rare enough not to matter, soon enough that little is acknowledged
 * meanwhile.
 */
const WATCH_EVERY_MS = 1000
/** Soon enough to go on, rare enough not to matter. */
const FULL_DISK_PAUSE_MS = 200

export const nodeDisk: Disk = {
  openFile: (path) => unlessAbsent(async () => new NodeFile(await open(path, 'r+'))),
  createFile: async (path) => new NodeFile(await open(path, 'w+')),
  readText: (path) => unlessAbsent(() => readFile(path, 'utf8')),
  async readStart(path, bytes) {
    try {
      return await readStart(path, bytes)
    } catch {
      return new Uint8Array(0)
    }
  },
  fileAt: (path) => unlessAbsent(() => fileAt(path)),
  list: (dir) => readdir(dir),
  async makeDirectory(dir) {
    const made: string[] = []
    for (let path = resolve(dir); !(await exists(path)); path = dirname(path)) made.push(path)
    await mkdir(dir, { recursive: true })
    for (const path of made) await nodeDisk.syncDirectory(dirname(path))
  },
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { force: true }),
  async syncDirectory(dir) {
    // Windows opens no directory as a file; NTFS journals its entries.
    if (process.platform === 'win32') return
    const handle = await open(dir, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
  async filesystem(dir) {
    if (process.platform !== 'linux') return null
    let path = resolve(dir)
    while (!(await exists(path))) path = dirname(path)
    return (await statfs(path)).type >>> 0
  },
  lock: (dir) => lockDirectory(dir),
  pause: () => new Promise((elapsed) => setTimeout(elapsed, FULL_DISK_PAUSE_MS)),
  watch(look) {
    const timer = setInterval(look, WATCH_EVERY_MS).unref()
    return () => clearInterval(timer)
  },
}

class NodeFile implements DiskFile {
  readonly #handle: FileHandle

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
    return this.#handle.datasync()
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length)
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

async function readStart(path: string, bytes: number): Promise<Uint8Array> {
  const handle = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await handle.read(new Uint8Array(bytes), 0, bytes, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

async function fileAt(path: string): Promise<FileAt> {
  const { dev, ino, birthtimeNs, ctimeNs } = await stat(path, { bigint: true })
  return { device: dev, inode: ino, bornNs: birthtimeNs, changedNs: ctimeNs }
}

async function exists(path: string): Promise<boolean> {
  return (await unlessAbsent(() => stat(path))) !== null
}

async function unlessAbsent<T>(look: () => Promise<T>): Promise<T | null> {
  try {
    return await look()
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return null
    throw error
  }
}
