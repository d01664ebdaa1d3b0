/**
 * Whether the files of an open store still stand under their names. A deleted or replaced file goes on taking writes,
 * flushes and all, and nobody would find them again; a deleted lock file keeps nobody out.
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
  /** As they were when the store was opened; they are open and stay so: their inodes go to no other file. */
  readonly #files: readonly Watched[]
  #isLooking = false
  #stop: () => void = () => {}

  private constructor(disk: Disk, dir: string, files: readonly Watched[]) {
    this.#disk = disk
    this.#dir = dir
    this.#files = files
  }

  /** `dir` is absolute: a process may change its working directory. */
  static async over(disk: Disk, dir: string): Promise<Watch> {
    const files = []
    for (const name of [LOCK_FILE, LOG_FILE]) {
      const path = join(dir, name)
      const at = await disk.fileAt(path)
      if (at === null) throw goneError(dir, path)
      files.push({ path, at })
    }
    return new Watch(disk, dir, files)
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
    for (const { path, at } of this.#files) {
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

function goneError(dir: string, path: string): RaftError {
  const message = `The directory ${dir} was deleted, moved or replaced while its store was open: ${path} is not the file that was opened. Nothing more is written; the outcome of what was not yet durable is unknown. Put the directory back and start again. ${neverEmpty}`
  return new RaftError('ERR_RAFT_STORE_POISONED', message, { outcome: 'unknown' })
}
