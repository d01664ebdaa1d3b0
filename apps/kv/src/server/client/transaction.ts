/** What a client has put together between MULTI and EXEC, and the keys it watches. */

import { answerLocally, isWide, type CommandRow } from '../../commands/command-table.js'
import type { LocalContext } from '../../commands/local-command.js'
import type { DataSet } from '../../data-set/data-set.js'
import { WORD_GROWTH_BYTES } from '../../data-set/item.js'
import { COMMAND_BYTES_MAX, COMMAND_WORDS_MAX, ENTRY_BYTES_MAX, TRANSACTION_COMMANDS_MAX } from '../../limits.js'
import { commandBytes, encodeTransaction, type WatchedKey } from '../../replication/entry-codec.js'
import { failure, type ErrorReply, type Reply } from '../../resp/reply.js'
import { expectedAnswerBytes } from './expected-answer.js'

const tooLarge = failure(
  `ERR transaction is too large: one Raft entry holds ${ENTRY_BYTES_MAX} bytes, ${COMMAND_WORDS_MAX} words and ${TRANSACTION_COMMANDS_MAX} commands, and what is queued may take ${COMMAND_BYTES_MAX} bytes`,
)
const wideError = failure(
  'ERR Command not allowed inside a transaction: it looks at more than its words name. Call it outside of MULTI',
)

/** What an answer takes beside its value where it travels (replication/reply-codec.ts), a short one all of it. */
const ANSWER_HEAD_BYTES = 8

interface QueuedCommand {
  readonly row: CommandRow
  readonly words: readonly string[]
  /** Why it is not carried out, while the others are. */
  readonly refusal: ErrorReply | null
}

export class Transaction {
  #commands: QueuedCommand[] = []
  /** What they take here. */
  #held = 0
  #dataCommands = 0
  #grows = false
  /** Of the commands that go into the entry. */
  #words = 0
  #bytes = 12
  /** A command was refused while queueing, so that EXEC must refuse all. */
  #refused = false

  get length(): number {
    return this.#commands.length
  }

  /** Bytes that are kept for it. */
  get held(): number {
    return this.#held
  }

  /** It may make the data set larger. */
  get grows(): boolean {
    return this.#grows
  }

  get growthMax(): number {
    return this.#grows ? this.#words * WORD_GROWTH_BYTES : 0
  }

  get isRefused(): boolean {
    return this.#refused
  }

  get hasData(): boolean {
    return this.#dataCommands > 0
  }

  /** It will not be carried out, so nothing is kept of it. */
  refuse(): void {
    this.#refused = true
    this.#commands = []
    this.#held = 0
  }

  /** Null: queued. `held`: what the words take here. */
  add(row: CommandRow, words: readonly string[], held: number): ErrorReply | null {
    const isData = row.type === 'data'
    if (isWide(row, words)) return this.#refuse(wideError)
    if (this.#refused) return null
    const bytes = isData ? commandBytes(words) : 0
    const count = isData ? words.length : 0
    const fits = this.#bytes + bytes <= ENTRY_BYTES_MAX && this.#words + count <= COMMAND_WORDS_MAX
    const isKept = this.#held + held <= COMMAND_BYTES_MAX && this.#commands.length < TRANSACTION_COMMANDS_MAX
    if (!fits || !isKept) return this.#refuse(tooLarge)
    this.#held += held
    this.#bytes += bytes
    this.#words += count
    if (isData) {
      this.#dataCommands += 1
      this.#grows ||= row.grows
    }
    this.#commands.push({ row, words: [row.name, ...words.slice(1)], refusal: null })
    return null
  }

  #refuse(error: ErrorReply): ErrorReply {
    this.refuse()
    return error
  }

  /** Leaves out what the client may not do any more. */
  leaveOut(refusalOf: (row: CommandRow, words: readonly string[]) => ErrorReply | null): void {
    this.#commands = this.#commands.map(({ row, words }) => ({ row, words, refusal: refusalOf(row, words) }))
    this.#dataCommands = this.#commands.filter(isInEntry).length
  }

  /** What its answers are expected to take. */
  answerBytes(data: DataSet): number {
    let bytes = 0
    for (const { row, words } of this.#commands) bytes += ANSWER_HEAD_BYTES + expectedAnswerBytes(row, words, data, 0)
    return bytes
  }

  /** The entry that carries it out, all or nothing. */
  encode(watched: readonly WatchedKey[]): Uint8Array {
    const commands = this.#commands.filter(isInEntry).map(({ words }) => words)
    return encodeTransaction(watched, commands)
  }

  /** Puts the answers of the entry and of the commands that this server answers by itself in their order. */
  answers(replies: readonly Reply[], context: LocalContext): Reply {
    let next = 0
    return this.#commands.map(({ row, words, refusal }) => {
      if (refusal !== null) return refusal
      if (row.type === 'data') {
        const reply = replies[next] ?? null
        next += 1
        return reply
      }
      return answerLocally(row, words, context)
    })
  }
}

function isInEntry({ row, refusal }: QueuedCommand): boolean {
  return row.type === 'data' && refusal === null
}
