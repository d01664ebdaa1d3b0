/**
 * The bytes of a snapshot on their way between the code of a user and a store, in both directions. Whatever that code
 * answers or throws becomes an error that names it; what the store throws is told apart from that.
 */

import { RaftError } from '../errors.js'
import { isBytes, kindOf, textOf } from '../foreign-values.js'
import type { SnapshotSource } from './state-machine.js'

type Iterators = { readonly [Symbol.asyncIterator]?: unknown; readonly [Symbol.iterator]?: unknown }

/** Whether it can be iterated, and is no text. */
export function isSource(value: unknown): value is SnapshotSource {
  if (typeof value !== 'object' || value === null) return false
  const { [Symbol.asyncIterator]: asynchronous, [Symbol.iterator]: synchronous } = value as Iterators
  return typeof asynchronous === 'function' || typeof synchronous === 'function'
}

/** The pieces that a machine makes, each a Uint8Array. Throws ERR_RAFT_SNAPSHOT_FAILED. Ends the source when left. */
export async function* piecesOf(source: SnapshotSource): AsyncGenerator<Uint8Array, void> {
  try {
    for await (const piece of source as AsyncIterable<unknown>) {
      if (!isBytes(piece))
        throw snapshotFailed(`the source of the state machine's snapshot gave ${kindOf(piece)}, and not a Uint8Array`)
      yield piece
    }
  } catch (cause) {
    if (cause instanceof RaftError) throw cause
    throw snapshotFailed(`the source of the state machine's snapshot threw: ${textOf(cause)}`, cause)
  }
}

/** What a machine reads to restore itself; remembers whether it was the reading that failed. */
export class RestoredPieces implements AsyncIterable<Uint8Array> {
  /** What the store threw; null while it has not. */
  failure: RaftError | null = null
  /** The machine has been given all of it. */
  isDrained = false
  readonly #pieces: AsyncGenerator<Uint8Array, void>

  constructor(stored: AsyncIterable<Uint8Array>) {
    this.#pieces = this.#watched(stored)
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    return this.#pieces
  }

  async *#watched(stored: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    try {
      yield* stored
      this.isDrained = true
    } catch (error) {
      if (error instanceof RaftError) this.failure = error
      throw error
    }
  }
}

export function snapshotFailed(what: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_SNAPSHOT_FAILED', `${what}; no snapshot was taken, and the log is kept`, { cause })
}
