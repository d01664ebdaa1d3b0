/**
 * Everything that the file store asks of the system, as one object, so that tests can pass a disk that fails, tears
 * writes or loses its power; and the real one, over node:fs. No call blocks the event loop. Dates and the one pause are
 * here too: a store of files is never simulated, it has no clock of its own.
 */

import { open, readFile, stat, statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

import { exists, nodeFiles, unlessAbsent } from '../../disk/files.js'
import type { Files } from '../../disk/files.js'
import type { FileFacts } from '../fingerprint.js'
import { lockDirectory } from './lock.js'
import type { DirectoryLock } from './lock.js'

export interface Disk extends Files {
  /** Null when there is no such file. */
  readText(path: string): Promise<string | null>
  /** The first bytes of a file, at most so many; none when it is not there or cannot be read. */
  readStart(path: string, bytes: number): Promise<Uint8Array>
  /** Which file stands under that name; null when there is none. */
  fileAt(path: string): Promise<FileAt | null>
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
  ...nodeFiles,
  readText: (path) => unlessAbsent(() => readFile(path, 'utf8')),
  async readStart(path, bytes) {
    try {
      return await readStart(path, bytes)
    } catch {
      return new Uint8Array(0)
    }
  },
  fileAt: (path) => unlessAbsent(() => fileAt(path)),
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
