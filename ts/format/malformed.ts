/**
 * The error of every decoder in this room. Not a RaftError: what it means depends on where the bytes came from, and
 * only the caller knows. A transport ends the connection with this message as the reason; a store answers
 * ERR_RAFT_STORE_CORRUPT.
 */

export type MalformedWhat = 'block' | 'configuration' | 'operations' | 'snapshot' | 'checkpoint'

/**
 * Bytes that do not have the form that docs/storage-format.md or docs/snapshots.md gives. The message names the place
 * and the number.
 */
export class MalformedBytes extends Error {
  override readonly name: string = 'MalformedBytes'
  readonly what: MalformedWhat

  constructor(what: MalformedWhat, reason: string, cause?: unknown) {
    super(`malformed ${what}: ${reason}`, cause === undefined ? undefined : { cause })
    this.what = what
  }
}

/**
 * Bytes that a later version wrote: nothing is wrong with them, and nothing can be done with them here. Also a
 * MalformedBytes, since whoever reads them must stop just so; only the remedy differs, and it is in the message.
 */
export class UnknownFormat extends MalformedBytes {
  override readonly name = 'UnknownFormat'

  constructor(what: MalformedWhat, reason: string) {
    super(what, reason)
    this.message = `${what} of a later version: ${reason}; upgrade this server`
  }
}
