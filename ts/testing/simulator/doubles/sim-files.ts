/**
 * What one process sees of the files of its snapshots: the disk in memory, with the points at which the process may die
 * around each call that changes something, and with bits that flip under a read. After the process is dead no call of
 * it is carried out or answered.
 */

import type { DiskFile, Files } from '../../../disk/files.js'
import { SNAPSHOT_SUFFIX } from '../../../snapshot/partial-file.js'
import type { SimDisk } from './sim-disk.js'

/** The process that has them open. */
export interface FilesUser {
  readonly isAlive: boolean
  /** Runs something in the process, unless it is dead; later, while it is paused. */
  arrive(run: () => void): void
  /** A point at which it may die, with nothing to unwind. */
  pointOutside(where: string): void
  /** Promises may have settled: what follows from them comes before the next event. */
  promised(): void
}

export class SimFiles implements Files {
  readonly #disk: SimDisk
  readonly #files: Files
  readonly #user: FilesUser

  constructor(disk: SimDisk, user: FilesUser) {
    this.#disk = disk
    this.#files = disk.snapshots
    this.#user = user
  }

  async openFile(path: string): Promise<DiskFile | null> {
    const file = await this.#look(() => this.#files.openFile(path))
    return file === null ? null : this.#watched(file, path)
  }

  async createFile(path: string): Promise<DiskFile> {
    return this.#watched(await this.#change('create', () => this.#files.createFile(path)), path)
  }

  list(dir: string): Promise<readonly string[]> {
    return this.#look(() => this.#files.list(dir))
  }

  makeDirectory(dir: string): Promise<void> {
    return this.#look(() => this.#files.makeDirectory(dir))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#change('rename', () => this.#files.rename(from, to))
  }

  remove(path: string): Promise<void> {
    return this.#change('remove', () => this.#files.remove(path))
  }

  syncDirectory(dir: string): Promise<void> {
    return this.#change('sync directory', () => this.#files.syncDirectory(dir))
  }

  #watched(file: DiskFile, path: string): DiskFile {
    return {
      write: (bytes, position) => this.#change('write', () => file.write(bytes, position)),
      read: async (into, position) => {
        const length = await this.#look(() => file.read(into, position))
        if (path.endsWith(SNAPSHOT_SUFFIX)) this.#disk.rotRead(into.subarray(0, length))
        return length
      },
      datasync: () => this.#change('sync', () => file.datasync()),
      truncate: (length) => this.#change('truncate', () => file.truncate(length)),
      size: () => this.#look(() => file.size()),
      close: () => this.#look(() => file.close()),
    }
  }

  async #change<Result>(what: string, run: () => Promise<Result>): Promise<Result> {
    this.#user.pointOutside(`${what} of a snapshot`)
    const result = await this.#look(run)
    this.#user.pointOutside(`${what} of a snapshot, done`)
    return result
  }

  #look<Result>(run: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const answer = (settle: () => void): void => {
        this.#user.arrive(() => {
          this.#user.promised()
          settle()
        })
      }
      if (!this.#user.isAlive) return
      run().then(
        (result) => answer(() => resolve(result)),
        (error: unknown) => answer(() => reject(error instanceof Error ? error : new Error(String(error)))),
      )
    })
  }
}
