/**
 * A snapshot on its way into a directory: bytes under a name that says so (`<id>.part`), until all of them are durable
 * and the name says that it is whole (`<id>.snapshot`). Whatever fails ends it, and removes what was written: the log
 * may need that room.
 *
 * Invariant: nothing ever stands under the second name that was not flushed under the first.
 */

import { join } from 'node:path'

import { writeAll } from '../disk/files.js'
import type { DiskFile, Files } from '../disk/files.js'
import { failedError, snapshotFault } from './snapshot-fault.js'

export const PART_SUFFIX = '.part'
export const SNAPSHOT_SUFFIX = '.snapshot'

/**
 * What is flushed as it is written, so that the flush at the end is short, and no flush of the log on the same disk
 * waits behind all of it.
 */
const FLUSH_EVERY_BYTES = 1024 * 1024

export class PartialFile {
  readonly id: string
  readonly path: string
  readonly #files: Files
  readonly #dir: string
  readonly #finalPath: string
  readonly #onEnd: (isNamed: boolean) => void
  /** Null while it is suspended, and at its end. */
  #file: DiskFile | null = null
  #unflushedBytes = 0
  /** The call under way. */
  #busy: Promise<unknown> = Promise.resolve()
  /** Not null at its end: what a call after it rejects with. */
  #over: Error | null = null
  /** It may have its last name. */
  #isNamed = false
  #isPublished = false

  /** `onEnd` is called once: when it is whole, or gone. `isNamed`: it may stand there under its last name. */
  constructor(files: Files, dir: string, id: string, onEnd: (isNamed: boolean) => void) {
    this.#files = files
    this.#dir = dir
    this.id = id
    this.path = join(dir, id + PART_SUFFIX)
    this.#finalPath = join(dir, id + SNAPSHOT_SUFFIX)
    this.#onEnd = onEnd
  }

  get isOver(): boolean {
    return this.#over !== null
  }

  create(): Promise<void> {
    return this.run(async () => {
      this.#file = await this.#files.createFile(this.path)
    })
  }

  /** Runs one call of its user; whatever that rejects with is the end of it. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    if (this.#over !== null) throw this.#over
    const answer = call()
    this.#busy = answer.catch(() => {})
    try {
      return await answer
    } catch (error) {
      // When it was aborted meanwhile, what then failed is not the reason.
      const fault = this.#over ?? snapshotFault(this.path, 'could not be written', error)
      await this.#discard(fault)
      throw fault
    }
  }

  /** Inside of `run`. */
  // Hot path: once per chunk.
  async write(bytes: Uint8Array, position: number): Promise<void> {
    const file = this.#open()
    await writeAll(file, bytes, position)
    this.#unflushedBytes += bytes.length
    if (this.#unflushedBytes < FLUSH_EVERY_BYTES) return
    this.#unflushedBytes = 0
    await this.#open().datasync()
  }

  /** Makes all of it durable under its name. Inside of `run`. */
  async publish(): Promise<void> {
    const file = this.#open()
    await file.datasync()
    this.#open()
    this.#file = null
    await file.close()
    this.#isNamed = true
    await this.#files.rename(this.path, this.#finalPath)
    // When this fails the name stays: it may have stood there before, and what it stands for is whole.
    await this.#files.syncDirectory(this.#dir)
    this.#isPublished = true
    this.#over ??= failedError(this.#finalPath, 'is finished: nothing can be added')
    this.#onEnd(this.#isNamed)
  }

  /** Closes the file after the call under way, and keeps what it holds. */
  async suspend(): Promise<void> {
    await this.#busy
    const file = this.#file
    this.#file = null
    if (!this.isOver) await this.run(async () => file?.close())
  }

  /** Opens again what was suspended; whether those bytes are there. */
  resume(bytes: number): Promise<boolean> {
    return this.run(async () => {
      this.#file = await this.#files.openFile(this.path)
      return this.#file !== null && (await this.#file.size()) >= bytes
    })
  }

  /** Ends it, during a call too. Never rejects: what cannot be removed now is removed by the next open. */
  async abort(why: Error): Promise<void> {
    if (this.#over !== null) return
    this.#over = why
    await this.#busy
    await this.#remove()
  }

  async #discard(why: Error): Promise<void> {
    if (this.#over !== null) return
    this.#over = why
    await this.#remove()
  }

  async #remove(): Promise<void> {
    if (this.#isPublished) return
    const file = this.#file
    this.#file = null
    await file?.close().catch(() => {})
    await this.#files.remove(this.path).catch(() => {})
    this.#onEnd(this.#isNamed)
  }

  #open(): DiskFile {
    if (this.#over !== null) throw this.#over
    if (this.#file === null) throw failedError(this.path, 'is not open: it was suspended')
    return this.#file
  }
}
