/**
 * Errors on their way between two threads. One that goes and comes back is the same object again, with the cause that
 * the code of a user gave it.
 */

import { RaftError } from '../../errors.js'
import type { EntryRange, LeaderHint, Outcome, RaftErrorCode } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import type { SessionToken } from '../../types.js'

export interface WireError {
  readonly code: RaftErrorCode
  readonly message: string
  readonly outcome: Outcome
  readonly retryable: boolean
  readonly leader: LeaderHint | null
  readonly damaged: EntryRange | null
  readonly session: SessionToken | null
  /** In words where it is none of ours. */
  readonly cause: WireError | string | null
  /** By which the thread that made it knows it; 0 for none. */
  readonly ref: number
  /** Whether that is the thread to which it goes. */
  readonly isYours: boolean
}

/** An error in the midst of plain data. */
interface Marked {
  readonly raftError: WireError
}

/** So many are known again when they come back. */
const ORIGINALS_MAX = 64

/** One end: each thread has its own. */
export class ErrorWire {
  #lastRef = 0
  readonly #originals = new Map<number, RaftError>()
  /** Of those that have come. */
  readonly #refs = new WeakMap<RaftError, number>()

  encode(error: RaftError): WireError {
    const { code, message, outcome, retryable, leader, damaged, session, cause } = error
    const theirs = this.#refs.get(error)
    const said = { code, message, outcome, retryable, leader, damaged, session }
    const ref = theirs ?? (cause === undefined ? 0 : this.#keep(error))
    return { ...said, cause: this.#causeOf(cause), ref, isYours: theirs !== undefined }
  }

  decode(wire: WireError): RaftError {
    const { code, message, ref, isYours, cause, ...details } = wire
    const original = isYours ? this.#originals.get(ref) : undefined
    if (original !== undefined) return original
    const made = cause !== null && typeof cause === 'object' ? this.decode(cause) : (cause ?? undefined)
    const error = new RaftError(code, message, { ...details, cause: made })
    if (!isYours && ref > 0) this.#refs.set(error, ref)
    return error
  }

  /** Plain data, with errors anywhere in it, as what crosses. */
  encodeIn(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
    if (value instanceof RaftError) return { raftError: this.encode(value) } satisfies Marked
    return mapped(value, (each) => this.encodeIn(each))
  }

  decodeIn(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
    if ('raftError' in value) return this.decode((value as Marked).raftError)
    return mapped(value, (each) => this.decodeIn(each))
  }

  #keep(error: RaftError): number {
    this.#lastRef += 1
    this.#originals.set(this.#lastRef, error)
    this.#originals.delete(this.#lastRef - ORIGINALS_MAX)
    return this.#lastRef
  }

  #causeOf(cause: unknown): WireError['cause'] {
    if (cause === undefined) return null
    return cause instanceof RaftError ? this.encode(cause) : textOf(cause)
  }
}

function mapped(value: object, map: (each: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map(map)
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, map(each)]))
}
