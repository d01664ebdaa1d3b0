/**
 * Whether the files of an open store still stand under their names: the lock, the header of the store and the segment
 * that is written to. A deleted or replaced file goes on taking writes, flushes and all, and nobody would find them
 * again; a deleted lock file keeps nobody out.
 */

import { join } from 'node:path'

import { RaftError } from '../../errors.js'
import { neverEmpty } from '../lost-data.js'
import { LOCK_FILE, LOG_FILE } from './directory.js'
import { systemCodeOf } from '../../foreign-values.js'
import type { Disk, FileAt } from './disk.js'

interface Watched {
  readonly path: string
  readonly at: FileAt
}

export class Watch {
  readonly #disk: Disk
  readonly #dir: string
  /** As they were when the store was opened. */
  readonly #files: readonly Watched[]
  /** As it was when it was begun, or opened; it is open and stays so: its inode goes to no other file. */
  #segment: Watched
  #isLooking = false
  #stop: () => void = () => {}

  private constructor(disk: Disk, dir: string, files: readonly Watched[], segment: Watched) {
    this.#disk = disk
    this.#dir = dir
    this.#files = files
    this.#segment = segment
  }

  /** `dir` and the path of the segment are absolute: a process may change its working directory. */
  static async over(disk: Disk, dir: string, segmentPath: string): Promise<Watch> {
    const files = []
    for (const name of [LOCK_FILE, LOG_FILE]) files.push(await find(disk, dir, join(dir, name)))
    return new Watch(disk, dir, files, await find(disk, dir, segmentPath))
  }

  /** Another segment is written to. */
  async follow(segmentPath: string): Promise<void> {
    this.#segment = await find(this.#disk, this.#dir, segmentPath)
  }

  /** Calls `onGone`, once, when a file is gone or another one has its name. */
  start(onGone: (error: RaftError) => void): void {
    this.#stop = this.#disk.watch(() => {
      if (this.#isLooking) return
      this.#isLooking = true
      void this.#look(onGone).finally(() => {
        this.#isLooking = false
      })
    })
  }

  end(): void {
    this.#stop()
    this.#stop = () => {}
  }

  async #look(onGone: (error: RaftError) => void): Promise<void> {
    for (const { path, at } of [...this.#files, this.#segment]) {
      if (!(await this.#isLost(path, at))) continue
      this.end()
      onGone(goneError(this.#dir, path))
      return
    }
  }

  /** A look that fails in another way, such as for want of rights, says nothing about the file. */
  async #isLost(path: string, { device, inode }: FileAt): Promise<boolean> {
    try {
      const found = await this.#disk.fileAt(path)
      return found === null || found.device !== device || found.inode !== inode
    } catch (error) {
      return systemCodeOf(error) === 'ENOTDIR'
    }
  }
}

async function find(disk: Disk, dir: string, path: string): Promise<Watched> {
  const at = await disk.fileAt(path)
  if (at === null) throw goneError(dir, path)
  return { path, at }
}

function goneError(dir: string, path: string): RaftError {
  const message = `The directory ${dir} was deleted, moved or replaced while its store was open: ${path} is not the file that was opened. Nothing more is written; the outcome of what was not yet durable is unknown. Put the directory back and start again. ${neverEmpty}`
  return new RaftError('ERR_RAFT_STORE_POISONED', message, { outcome: 'unknown' })
}
