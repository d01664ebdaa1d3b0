/** A snapshot that is being made, into a file: cuts and joins whatever pieces it is given to chunks of one size. */

import { CHUNK_DATA_BYTES_MAX, CHUNK_HEAD_BYTES, SnapshotWriter } from '../format/snapshot.js'
import type { SnapshotHeader } from '../types.js'
import type { PartialFile } from './partial-file.js'
import { failedError } from './snapshot-fault.js'
import type { SnapshotSink, StoredSnapshot } from './snapshot-store.js'

export class FileSink implements SnapshotSink {
  readonly #header: SnapshotHeader
  readonly #part: PartialFile
  readonly #writer: SnapshotWriter
  /** The chunk that is being filled. */
  readonly #chunk = new Uint8Array(CHUNK_HEAD_BYTES + CHUNK_DATA_BYTES_MAX)
  #filled = CHUNK_HEAD_BYTES
  /** In the file. */
  #bytes = 0

  constructor(header: SnapshotHeader, part: PartialFile) {
    this.#header = header
    this.#part = part
    this.#writer = new SnapshotWriter(header)
  }

  /** Before anything else. */
  async begin(): Promise<void> {
    await this.#part.create()
    await this.#part.run(() => this.#add(this.#writer.header))
  }

  write(data: Uint8Array): Promise<void> {
    return this.#part.run(() => this.#write(data))
  }

  finish(): Promise<StoredSnapshot> {
    return this.#part.run(async () => {
      await this.#addChunk()
      await this.#add(this.#writer.end())
      await this.#part.publish()
      return { header: this.#header, bytes: this.#bytes }
    })
  }

  abort(): Promise<void> {
    return this.#part.abort(failedError(this.#part.path, 'was aborted'))
  }

  // Hot path: once per piece of the machine's, and once per chunk.
  async #write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length;) {
      const most = Math.min(this.#chunk.length - this.#filled, data.length - at)
      this.#chunk.set(data.subarray(at, at + most), this.#filled)
      this.#filled += most
      at += most
      if (this.#filled === this.#chunk.length) await this.#addChunk()
    }
  }

  async #addChunk(): Promise<void> {
    if (this.#filled === CHUNK_HEAD_BYTES) return
    const chunk = this.#chunk.subarray(0, this.#filled)
    this.#writer.seal(chunk)
    await this.#add(chunk)
    this.#filled = CHUNK_HEAD_BYTES
  }

  async #add(bytes: Uint8Array): Promise<void> {
    await this.#part.write(bytes, this.#bytes)
    this.#bytes += bytes.length
  }
}
