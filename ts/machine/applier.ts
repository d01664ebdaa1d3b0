/**
 * Feeds committed entries to the state machine: in index order, each exactly once, one batch at a time.
 * What throws here halts the server: an entry is never skipped (scenario A4).
 */

import { RaftError } from '../errors.js'
import { RecordCursor } from '../format/block.js'
import { logIndex } from '../types.js'
import type { Block, LogIndex } from '../types.js'
import type { Codec, Entry, StateMachine } from './state-machine.js'

/** The machine's answers for one range of the log. */
export interface Applied {
  /** The end of the range. */
  readonly last: LogIndex
  /** The commands of the range, ascending; the entries between them were not commands. */
  readonly indexes: readonly LogIndex[]
  readonly results: readonly unknown[]
}

export class Applier<Command> {
  readonly #machine: StateMachine<Command, unknown, unknown, unknown>
  readonly #codec: Codec<Command>
  readonly #cursor = new RecordCursor()

  constructor(machine: StateMachine<Command, unknown, unknown, unknown>, codec: Codec<Command>) {
    this.#machine = machine
    this.#codec = codec
  }

  /** Applies first .. last, which the blocks cover. Synchronous when the machine is. Throws, or rejects with, ERR_RAFT_APPLY_FAILED. */
  apply(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Applied | Promise<Applied> {
    const batch: Entry<Command>[] = []
    const indexes: LogIndex[] = []
    for (const block of blocks) this.#collect(block, first, last, batch, indexes)
    if (batch.length === 0) return { last, indexes, results: [] }
    try {
      const answer = this.#machine.apply(batch, { appliedIndex: last })
      if (!(answer instanceof Promise)) return checked(last, indexes, answer)
      return answer.then(
        (results) => checked(last, indexes, results),
        (cause: unknown) => Promise.reject(applyFailed(first, last, cause)),
      )
    } catch (cause) {
      throw cause instanceof RaftError ? cause : applyFailed(first, last, cause)
    }
  }

  /** Hot path: once per block. */
  #collect(block: Block, first: LogIndex, last: LogIndex, batch: Entry<Command>[], indexes: LogIndex[]): void {
    const cursor = this.#cursor
    cursor.reset(block)
    while (cursor.next()) {
      if (cursor.index < first) continue
      if (cursor.index > last) break
      if (cursor.kind !== 'command') continue
      indexes.push(cursor.index)
      batch.push({ index: cursor.index, term: block.term, time: cursor.time, command: this.#decode(cursor) })
    }
  }

  #decode(cursor: RecordCursor): Command {
    try {
      return this.#codec.decode(cursor.payload)
    } catch (cause) {
      throw applyFailed(cursor.index, cursor.index, cause)
    }
  }
}

/** The answer for a command of the range. */
export function resultAt({ indexes, results }: Applied): (index: LogIndex) => unknown {
  let at = 0
  return (index) => {
    while ((indexes[at] ?? Infinity) < index) at += 1
    return results[at]
  }
}

function checked(last: LogIndex, indexes: readonly LogIndex[], results: readonly unknown[]): Applied {
  if (!Array.isArray(results) || results.length !== indexes.length) {
    const answered = Array.isArray(results) ? `${results.length} results` : 'something that is not an array'
    const first = indexes[0] ?? logIndex(0)
    throw applyFailed(first, last, new TypeError(`apply answered ${answered} for ${indexes.length} commands`))
  }
  return { last, indexes, results }
}

function applyFailed(first: LogIndex, last: LogIndex, cause: unknown): RaftError {
  return new RaftError(
    'ERR_RAFT_APPLY_FAILED',
    `the state machine failed on the entries ${first} .. ${last}; this server has halted. Correct the state machine and restart: the log is kept`,
    { outcome: 'applied', cause },
  )
}
