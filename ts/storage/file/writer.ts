/**
 * The end of a segment, where batches go, one after the other: each is written at its place and flushed before the next
 * one is made. So at most the last batch of a store can be incomplete.
 */

import { isFull, writeAll } from '../../disk/files.js'
import type { DiskFile } from '../../disk/files.js'
import { RaftError } from '../../errors.js'
import { BATCH_HEADER_BYTES, encodeBatch } from '../../format/file-batch.js'
import type { BatchKind, BatchPlace, FileIdentity } from '../../format/file-batch.js'

/** Answers whether to try again; asked each time when the disk was full before anything of the batch was flushed. */
export type OnFull = () => Promise<boolean>

export class FileWriter {
  readonly #file: DiskFile
  readonly #path: string
  readonly #identity: FileIdentity
  /** Moves when a batch is durable. */
  #place: BatchPlace
  #flushCount = 0

  constructor(file: DiskFile, path: string, identity: FileIdentity, place: BatchPlace) {
    this.#file = file
    this.#path = path
    this.#identity = identity
    this.#place = place
  }

  /** Where the next batch goes. */
  get place(): BatchPlace {
    return this.#place
  }

  /** Device flushes that it asked for. */
  get flushes(): number {
    return this.#flushCount
  }

  /**
   * Makes one batch durable; answers with the position of its body. After an error nothing may be appended: what is in
   * the file behind the last batch is unknown.
   */
  // Hot path: once per batch.
  async append(kind: BatchKind, parts: readonly Uint8Array[], onFull: OnFull): Promise<number> {
    const { bytes, next } = encodeBatch(this.#identity, this.#place, kind, parts)
    const { position } = this.#place
    await whenRoom(() => writeAll(this.#file, bytes, position), this.#path, onFull)
    this.#flushCount += 1
    await this.#file.datasync()
    this.#place = next
    return position + BATCH_HEADER_BYTES
  }
}

/**
 * A full disk shows before any flush: the same step may then be taken again. Not so in a flush: after one that failed
 * the kernel has dropped the pages, and the next would succeed without them.
 */
export async function whenRoom<T>(step: () => Promise<T>, path: string, onFull: OnFull): Promise<T> {
  for (;;) {
    try {
      return await step()
    } catch (error) {
      if (!isFull(error)) throw error
      if (!(await onFull())) throw fullError(path, error)
    }
  }
}

export function fullError(path: string, cause: unknown): RaftError {
  const message = `The disk of ${path} is full: what was queued was not written. Free space and open the store again`
  return new RaftError('ERR_RAFT_STORE_FULL', message, { outcome: 'unknown', cause })
}
