/**
 * A snapshot that comes from another server, into a file: the bytes are written as they come, and checked as parts of
 * them become whole. What has come outlives the connection over which it came (`Reception`), and each connection has an
 * intake of its own, so that a late call of an earlier one adds nothing.
 */

import { MalformedBytes, UnknownFormat } from '../format/malformed.js'
import type { SnapshotReader } from '../format/snapshot.js'
import { CHUNK_DATA_BYTES_MAX, encodeSnapshotHeader } from '../format/snapshot.js'
import type { SnapshotHeader } from '../types.js'
import type { PartialFile } from './partial-file.js'
import { refusedError, failedError } from './snapshot-fault.js'
import type { SnapshotIntake, StoredSnapshot } from './snapshot-store.js'

/** What has come of one snapshot. */
export interface Reception {
  readonly header: SnapshotHeader
  /** What all of it has. */
  readonly bytes: number
  readonly part: PartialFile
  readonly reader: SnapshotReader
  /** Whoever receives it; null while it is suspended. */
  intake: FileIntake | null
}

/** Whether what has come is of that announcement. */
export function isSameReception(reception: Reception, header: SnapshotHeader, bytes: number): boolean {
  return reception.bytes === bytes && isSameHeader(reception.header, header)
}

export class FileIntake implements SnapshotIntake {
  readonly #reception: Reception
  /** Called when it has left what came to the next one. */
  readonly #onSuspended: (reception: Reception) => Promise<void>

  constructor(reception: Reception, onSuspended: (reception: Reception) => Promise<void>) {
    this.#reception = reception
    this.#onSuspended = onSuspended
    reception.intake = this
  }

  get received(): number {
    return this.#reception.reader.taken
  }

  async write(bytes: Uint8Array): Promise<'ok' | 'damaged'> {
    const { part } = this.#reception
    this.#checkMine()
    return part.run(() => this.#write(bytes))
  }

  async finish(): Promise<StoredSnapshot> {
    const { header, bytes, part, reader } = this.#reception
    this.#checkMine()
    return part.run(async () => {
      if (!reader.isWhole) throw refusedError(part.path, `${reader.taken} of ${bytes} bytes came, and no end`)
      await part.publish()
      return { header, bytes }
    })
  }

  async suspend(): Promise<void> {
    if (!this.#isMine) return
    await this.#reception.part.suspend()
    // Another call, or its abort, may have come first.
    if (!this.#isMine || this.#reception.part.isOver) return
    this.#reception.intake = null
    await this.#onSuspended(this.#reception)
  }

  async abort(): Promise<void> {
    if (this.#isMine) await this.#reception.part.abort(failedError(this.#reception.part.path, 'was aborted'))
  }

  get #isMine(): boolean {
    return this.#reception.intake === this
  }

  /** In pieces of a chunk at most, so that no slice of the event loop is long. */
  // Hot path: once per message.
  async #write(bytes: Uint8Array): Promise<'ok' | 'damaged'> {
    const { part, reader, bytes: total } = this.#reception
    if (reader.taken + bytes.length > total) {
      throw refusedError(part.path, `${reader.taken + bytes.length} bytes came, it was announced with ${total}`)
    }
    for (let at = 0; at < bytes.length; at += CHUNK_DATA_BYTES_MAX) {
      const piece = bytes.subarray(at, at + CHUNK_DATA_BYTES_MAX)
      await part.write(piece, reader.taken)
      if (!this.#check(piece)) return 'damaged'
    }
    return 'ok'
  }

  /** Whether what has become whole is intact; throws when it is, and not what was announced. */
  #check(piece: Uint8Array): boolean {
    const { header, bytes, part, reader } = this.#reception
    const hadHeader = reader.header !== null
    const isIntact = pushIntact(reader, piece)
    if (!hadHeader && reader.header !== null && !isSameHeader(reader.header, header)) {
      throw refusedError(part.path, `what came is not the snapshot ${header.id} that was announced`)
    }
    if (reader.isWhole && reader.taken !== bytes) {
      throw refusedError(part.path, `its end came after ${reader.taken} bytes, it was announced with ${bytes}`)
    }
    return isIntact
  }

  #checkMine(): void {
    if (!this.#isMine) throw failedError(this.#reception.part.path, 'is received by another intake, or by none')
  }
}

function pushIntact(reader: SnapshotReader, piece: Uint8Array): boolean {
  try {
    reader.push(piece)
    return true
  } catch (error) {
    if (!(error instanceof MalformedBytes) || error instanceof UnknownFormat) throw error
    reader.forget()
    return false
  }
}

function isSameHeader(a: SnapshotHeader, b: SnapshotHeader): boolean {
  const bytesB = encodeSnapshotHeader(b)
  const bytesA = encodeSnapshotHeader(a)
  return bytesA.length === bytesB.length && bytesA.every((byte, at) => byte === bytesB[at])
}
