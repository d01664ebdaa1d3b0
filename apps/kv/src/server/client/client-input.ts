/**
 * What has come of a client and is no command yet. It stays as it came: bytes take less room than commands, so only as
 * many commands are cut out of them as are wanted.
 */

import {
  BULK_BYTES_MAX,
  COMMAND_BYTES_MAX,
  COMMAND_WORDS_MAX,
  INLINE_BYTES_MAX,
  STRANGER_BULK_BYTES_MAX,
  STRANGER_WORDS_MAX,
} from '../../limits.js'
import { ownCopy, RequestParser, type RefusedCommand } from '../../resp/request-parser.js'

const limits = {
  bulkBytes: BULK_BYTES_MAX,
  inlineBytes: INLINE_BYTES_MAX,
  arguments: COMMAND_WORDS_MAX,
  commandBytes: COMMAND_BYTES_MAX,
}
const strangerLimits = {
  ...limits,
  bulkBytes: STRANGER_BULK_BYTES_MAX,
  arguments: STRANGER_WORDS_MAX,
  isForStrangers: true,
}

export class ClientInput {
  readonly #parser = new RequestParser(limits)
  #isLimited = false
  /** Behind what the parser has. */
  #chunks: Buffer[] = []
  #chunkBytes = 0

  /** Whether commands are short from now on: those of a client that has not said who it is. */
  limit(isStranger: boolean): void {
    if (isStranger === this.#isLimited) return
    this.#isLimited = isStranger
    this.#parser.limits = isStranger ? strangerLimits : limits
  }

  /** Bytes that are held for the command under way. */
  get begun(): number {
    return this.#parser.held
  }

  /** Bytes that stand behind it, as they came. */
  get ahead(): number {
    return this.#chunkBytes
  }

  /** Why no more commands will come: what to answer; null: they may. */
  get fault(): string | null {
    return this.#parser.fault
  }

  /** What the last command takes. */
  get commandBytes(): number {
    return this.#parser.commandBytes
  }

  /** The bytes are this room's until `keep` is called. */
  push(chunk: Buffer): void {
    if (this.fault !== null) return
    this.#chunks.push(chunk)
    this.#chunkBytes += chunk.length + CHUNK_BYTES
  }

  /** Copies what is still here of the chunk that was pushed last, which is somebody else's from now on. */
  keep(): void {
    const last = this.#chunks.length - 1
    const chunk = this.#chunks[last]
    if (chunk === undefined) this.#parser.keep()
    else this.#chunks[last] = ownCopy(chunk, 0, chunk.length)
  }

  /** The next command; null: there is none yet, or there will be none. */
  next(): string[] | RefusedCommand | null {
    for (;;) {
      const command = this.#parser.next()
      if (command !== null) return command
      const chunk = this.fault === null ? this.#chunks.shift() : undefined
      if (chunk === undefined) return null
      this.#chunkBytes -= chunk.length + CHUNK_BYTES
      this.#parser.push(chunk)
    }
  }

  /** Nothing more is wanted. */
  forget(): void {
    this.#parser.forget()
    this.#chunks = []
    this.#chunkBytes = 0
  }
}

/** What a chunk takes beside its bytes. */
const CHUNK_BYTES = 256
