/**
 * Answers leave in the order of the commands, as many as are ready with one write.
 *
 * Bounds. Answers are made into bytes only as far as the client reads them: beyond `OUTPUT_SOFT_BYTES_MAX` unsent bytes
 * the rest waits here. One answer may be larger than that, but not than `OUTPUT_BYTES_MAX`: such a client is cut off,
 * before the bytes are made. While what is under way, its expected answers included, takes more than
 * `UNDER_WAY_BYTES_MAX`, no command begins.
 */

import type { Counters } from '../../commands/local-command.js'
import {
  OUTPUT_BYTES_MAX,
  OUTPUT_SOFT_BYTES_MAX,
  PIPELINE_MAX,
  SCARCE_UNDER_WAY_BYTES_MAX,
  UNDER_WAY_BYTES_MAX,
} from '../../limits.js'
import type { Reply } from '../../resp/reply.js'
import { walkOf } from '../../commands/command-table.js'
import { encodeReply, replyBytes } from '../../resp/reply-encoder.js'
import type { ClientCommand } from './client-command.js'
import type { ClientMemory } from './client-memory.js'
import type { ClientSession } from './client-session.js'
import type { ClientSocket } from './client-socket.js'
import { removeFirst } from './remove-first.js'

export class ClientAnswers {
  readonly #socket: ClientSocket
  readonly #session: ClientSession
  readonly #counters: Counters
  readonly #memory: Pick<ClientMemory, 'isScarce'>
  /** Begun, and not yet written out, in the order of the commands. */
  #pending: ClientCommand[] = []
  /** Of the first one, when it is written piece by piece: how many pieces are. */
  #chunksWritten = 0
  /** What those take, with the answers that are known. */
  #held = 0
  /** What the answers that are not known yet are expected to take. */
  #expected = 0
  #isForgotten = false

  constructor(
    socket: ClientSocket,
    session: ClientSession,
    counters: Counters,
    memory: Pick<ClientMemory, 'isScarce'>,
  ) {
    this.#socket = socket
    this.#session = session
    this.#counters = counters
    this.#memory = memory
  }

  /** Bytes that are kept of commands under way and of their answers, before these are made into bytes. */
  get held(): number {
    return this.#held
  }

  /** Commands under way, and what their answers are expected to take. */
  get rooms(): Readonly<Record<'pending' | 'expected', number>> {
    return { pending: this.#pending.length, expected: this.#expected }
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0
  }

  /** One of them is that of a walk. */
  get isWalking(): boolean {
    return this.#pending.some(({ row, words }) => row !== undefined && walkOf(row, words) !== null)
  }

  /** No command may begin: too many are under way, or too much is unread. */
  get isFull(): boolean {
    const most = this.#memory.isScarce ? SCARCE_UNDER_WAY_BYTES_MAX : UNDER_WAY_BYTES_MAX
    const isMuch = this.#pending.length > 0 && this.#held + this.#expected > most
    return isMuch || this.#pending.length >= PIPELINE_MAX || this.isUnread
  }

  /** So much is written and has not left that the client has to read before more is done for it. */
  get isUnread(): boolean {
    return this.#socket.unsent > OUTPUT_SOFT_BYTES_MAX
  }

  /** The next answer in order is there. */
  get isReady(): boolean {
    return this.#pending[0]?.reply !== undefined
  }

  /**
   * The command has begun: its answer, whenever it comes, is written behind those of the commands that began before, in
   * the form of now. `answerBytes`: how large it is expected to be.
   */
  expect(command: ClientCommand, answerBytes = 0): void {
    command.answerBytes = answerBytes
    this.#expected += answerBytes
    this.#await(command)
  }

  /** The command has begun, and is answered already. */
  answer(command: ClientCommand, reply: Reply): void {
    command.reply = reply
    command.answerBytes = replyBytes(reply)
    this.#held += command.answerBytes
    this.#await(command)
  }

  /** The answer to a command that was expected is there. */
  settled(command: ClientCommand): void {
    if (this.#isForgotten) return
    this.#expected -= command.answerBytes
    command.answerBytes = replyBytes(command.reply ?? null)
    this.#held += command.answerBytes
  }

  /** Nobody reads them any longer. */
  forget(): void {
    this.#isForgotten = true
    this.#pending = []
    this.#held = 0
    this.#expected = 0
  }

  #await(command: ClientCommand): void {
    command.version = this.#session.nextAnswerVersion()
    this.#held += command.bytes + command.alongBytes
    this.#pending.push(command)
  }

  /** Writes every answer that is ready and in order, as far as the bounds allow. False: there was none. */
  flush(): boolean {
    const { unsent } = this.#socket
    let out = ''
    let written = 0
    let hasWritten = false
    for (const { reply, version, bytes, alongBytes, answerBytes } of this.#pending) {
      if (reply === undefined || unsent + out.length > OUTPUT_SOFT_BYTES_MAX) break
      const pieces = version === null ? null : piecesOf(reply)
      if (pieces !== null) {
        const before = this.#chunksWritten
        while (this.#chunksWritten < pieces.length && unsent + out.length <= OUTPUT_SOFT_BYTES_MAX) {
          out += pieces[this.#chunksWritten]
          this.#chunksWritten += 1
        }
        hasWritten ||= this.#chunksWritten > before
        if (this.#chunksWritten < pieces.length) break
        this.#chunksWritten = 0
      }
      written += 1
      this.#held -= bytes + alongBytes + answerBytes
      if (version === null || pieces !== null) continue
      if (answerBytes > OUTPUT_BYTES_MAX) {
        this.#socket.cutOff(`one answer is longer than ${OUTPUT_BYTES_MAX} bytes`)
        return false
      }
      out += encodeReply(reply, version)
    }
    removeFirst(this.#pending, written)
    if (out !== '') {
      this.#counters.bytesOut += out.length
      this.#socket.write(out)
    }
    return hasWritten || written > 0
  }
}

/** Of an answer that was made piece by piece, and may be written so: in the form of every version. */
function piecesOf(reply: Reply): readonly string[] | null {
  return typeof reply === 'object' && reply !== null && 'type' in reply && reply.type === 'encoded'
    ? reply.chunks
    : null
}
