/** What a client has put together between MULTI and EXEC, and the keys it watches. */

import { answerLocally, walkOf, type CommandRow } from '../../commands/command-table.js'
import type { LocalContext } from '../../commands/local-command.js'
import { COMMAND_WORDS_MAX, ENTRY_BYTES_MAX, TRANSACTION_COMMANDS_MAX } from '../../limits.js'
import { commandBytes, encodeTransaction, type WatchedKey } from '../../replication/entry-codec.js'
import { failure, type ErrorReply, type Reply } from '../../resp/reply.js'

const tooLarge = failure(
  `ERR transaction is too large: one Raft entry holds ${ENTRY_BYTES_MAX} bytes, ${COMMAND_WORDS_MAX} words and ${TRANSACTION_COMMANDS_MAX} commands`,
)
const walksError = failure(
  'ERR Command not allowed inside a transaction: it looks at the whole data set. Call it outside of MULTI',
)

interface QueuedCommand {
  readonly row: CommandRow
  readonly words: readonly string[]
}

export class Transaction {
  readonly #commands: QueuedCommand[] = []
  #dataCommands = 0
  /** Of the commands that go into the entry. */
  #words = 0
  #bytes = 12
  /** A command was refused while queueing, so that EXEC must refuse all. */
  #refused = false

  get length(): number {
    return this.#commands.length
  }

  get isRefused(): boolean {
    return this.#refused
  }

  get hasData(): boolean {
    return this.#dataCommands > 0
  }

  refuse(): void {
    this.#refused = true
  }

  /** Null: queued. */
  add(row: CommandRow, words: readonly string[]): ErrorReply | null {
    const isData = row.type === 'data'
    if (isData ? row.command.walks : walkOf(row, words) !== null) return this.#refuse(walksError)
    const bytes = isData ? commandBytes(words) : 0
    const count = isData ? words.length : 0
    const fits = this.#bytes + bytes <= ENTRY_BYTES_MAX && this.#words + count <= COMMAND_WORDS_MAX
    if (!fits || this.#commands.length >= TRANSACTION_COMMANDS_MAX) return this.#refuse(tooLarge)
    this.#bytes += bytes
    this.#words += count
    if (isData) this.#dataCommands += 1
    this.#commands.push({ row, words: [row.name, ...words.slice(1)] })
    return null
  }

  #refuse(error: ErrorReply): ErrorReply {
    this.#refused = true
    return error
  }

  /** The entry that carries it out, all or nothing. */
  encode(watched: readonly WatchedKey[]): Uint8Array {
    const commands = this.#commands.filter(({ row }) => row.type === 'data').map(({ words }) => words)
    return encodeTransaction(watched, commands)
  }

  /** Puts the answers of the entry and of the commands that this server answers by itself in their order. */
  answers(replies: readonly Reply[], context: LocalContext): Reply {
    let next = 0
    return this.#commands.map(({ row, words }) => {
      if (row.type === 'data') {
        const reply = replies[next] ?? null
        next += 1
        return reply
      }
      return answerLocally(row, words, context)
    })
  }
}
