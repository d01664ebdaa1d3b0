/**
 * Answers leave in the order of the commands, as many as are ready with one write.
 *
 * Bounds. Answers are made into bytes only as far as the client reads them: beyond `OUTPUT_SOFT_BYTES_MAX` unsent bytes
 * the rest waits here. One answer may be larger than that, but not than `OUTPUT_BYTES_MAX`: such a client is cut off,
 * before the bytes are made.
 */

import type { Counters } from '../../commands/local-command.js'
import { OUTPUT_BYTES_MAX, OUTPUT_SOFT_BYTES_MAX, PIPELINE_MAX } from '../../limits.js'
import type { Reply } from '../../resp/reply.js'
import { walkOf } from '../../commands/command-table.js'
import { encodeReply, replyBytes } from '../../resp/reply-encoder.js'
import type { ClientCommand } from './client-command.js'
import type { ClientSession } from './client-session.js'
import type { ClientSocket } from './client-socket.js'

export class ClientAnswers {
  readonly #socket: ClientSocket
  readonly #session: ClientSession
  readonly #counters: Counters
  /** Begun, and not yet written out, in the order of the commands. */
  #pending: ClientCommand[] = []
  /** Of the first one, when it is written piece by piece: how many pieces are. */
  #chunksWritten = 0

  constructor(socket: ClientSocket, session: ClientSession, counters: Counters) {
    this.#socket = socket
    this.#session = session
    this.#counters = counters
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
    return this.#pending.length >= PIPELINE_MAX || this.#socket.unsent > OUTPUT_SOFT_BYTES_MAX
  }

  /** The next answer in order is there. */
  get isReady(): boolean {
    return this.#pending[0]?.reply !== undefined
  }

  /**
   * The command has begun: its answer, whenever it comes, is written behind those of the commands that began before, in
   * the form of now.
   */
  expect(command: ClientCommand): void {
    command.version = this.#session.nextAnswerVersion()
    this.#pending.push(command)
  }

  /** The command has begun, and is answered already. */
  answer(command: ClientCommand, reply: Reply): void {
    command.reply = reply
    this.expect(command)
  }

  /** Nobody reads them any longer. */
  forget(): void {
    this.#pending = []
  }

  /** Writes every answer that is ready and in order, as far as the bounds allow. False: there was none. */
  flush(): boolean {
    const { unsent } = this.#socket
    let out = ''
    let written = 0
    let hasWritten = false
    for (const { reply, version } of this.#pending) {
      if (reply === undefined || unsent + out.length > OUTPUT_SOFT_BYTES_MAX) break
      if (
        version !== null &&
        typeof reply === 'object' &&
        reply !== null &&
        'type' in reply &&
        reply.type === 'encoded'
      ) {
        const before = out.length
        while (this.#chunksWritten < reply.chunks.length && unsent + out.length <= OUTPUT_SOFT_BYTES_MAX) {
          out += reply.chunks[this.#chunksWritten]
          this.#chunksWritten += 1
        }
        hasWritten ||= out.length > before
        if (this.#chunksWritten < reply.chunks.length) break
        this.#chunksWritten = 0
        written += 1
        continue
      }
      written += 1
      if (version === null) continue
      if (replyBytes(reply) > OUTPUT_BYTES_MAX) {
        this.#socket.cutOff(`one answer is longer than ${OUTPUT_BYTES_MAX} bytes`)
        return false
      }
      out += encodeReply(reply, version)
    }
    if (written > 0) this.#pending.splice(0, written)
    if (out !== '') {
      this.#counters.bytesOut += out.length
      this.#socket.write(out)
    }
    return hasWritten || written > 0
  }
}
