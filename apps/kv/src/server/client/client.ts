/**
 * One client: what it sends is cut into commands, which wait until they may begin (ordering.ts) and go to whom they
 * concern (dispatcher.ts); their answers leave in the same order (client-answers.ts). Here is when: bytes have arrived,
 * the client's turn has come, answers are ready, the connection ends.
 *
 * Bounds. While a client has more under way, or more unread answers, than it may, or the server has no room, nothing
 * more is read from its socket.
 */

import { findCommand } from '../../commands/command-table.js'
import type { ClientState, LocalContext, ServerState } from '../../commands/local-command.js'
import { BULK_BYTES_MAX, COMMAND_BYTES_MAX, COMMAND_WORDS_MAX, INLINE_BYTES_MAX } from '../../limits.js'
import { failure } from '../../resp/reply.js'
import { RefusedCommand, RequestParser } from '../../resp/request-parser.js'
import type { Replicator } from '../replicator.js'
import { ClientTurn, type Served, type Turns } from '../turns.js'
import { ClientAnswers } from './client-answers.js'
import { ClientCommand } from './client-command.js'
import { ClientSession } from './client-session.js'
import type { ClientSocket, SocketListener } from './client-socket.js'
import { ClientTransactions } from './client-transactions.js'
import { Dispatcher } from './dispatcher.js'
import { Ordering } from './ordering.js'
import type { Watchers } from './watchers.js'

/** What all clients share; each room of a client gets what it needs of it, and no more. */
export interface ClientHost {
  readonly server: ServerState
  readonly replicator: Replicator
  readonly watchers: Watchers
  readonly turns: Turns
  /** The connection is over. `reason` null: in the usual way. */
  readonly onGone: (client: Client, reason: string | null) => void
}

export class Client implements ClientState, Served, SocketListener {
  readonly session: ClientSession
  readonly #server: ServerState
  readonly #onGone: ClientHost['onGone']
  readonly #socket: ClientSocket
  readonly #turn: ClientTurn
  readonly #parser = new RequestParser({
    bulkBytes: BULK_BYTES_MAX,
    inlineBytes: INLINE_BYTES_MAX,
    arguments: COMMAND_WORDS_MAX,
    commandBytes: COMMAND_BYTES_MAX,
  })
  readonly #ordering: Ordering
  readonly #answers: ClientAnswers
  readonly #transactions: ClientTransactions
  readonly #dispatcher: Dispatcher
  /** The client has said that it will send no more. */
  #inputEnded = false
  /** No more commands begin; the connection ends when all answers are written. */
  #isLeaving = false
  /** Invariant: then it is leaving too, and holds no command. */
  #isGone = false

  constructor(id: number, socket: ClientSocket, { server, replicator, watchers, turns, onGone }: ClientHost) {
    this.session = new ClientSession(id, socket, server.now())
    this.#server = server
    this.#onGone = onGone
    this.#socket = socket
    this.#turn = new ClientTurn(turns, this)
    this.#ordering = new Ordering(replicator, this.#turn)
    this.#answers = new ClientAnswers(socket, this.session, server.counters)
    const local: LocalContext = { client: this, server }
    this.#transactions = new ClientTransactions(watchers, server.leadership, local)
    this.#dispatcher = new Dispatcher(local, this.#turn, this.#transactions, this.#ordering, this.#answers)
    socket.open(this)
  }

  get queued(): number {
    return this.#transactions.queued
  }

  get watching(): number {
    return this.#transactions.watching
  }

  get buffered(): number {
    return this.#parser.held
  }

  get unsent(): number {
    return this.#socket.unsent
  }

  received(chunk: Buffer): void {
    const { counters, leadership, now } = this.#server
    counters.bytesIn += chunk.length
    this.session.activeAt = now()
    if (this.#isLeaving) return
    this.#parser.push(chunk)
    for (let words = this.#parser.next(); words !== null; words = this.#parser.next()) {
      this.#ordering.arrive(
        words instanceof RefusedCommand
          ? new ClientCommand(this.#ordering, leadership, undefined, [], failure(words.text))
          : new ClientCommand(this.#ordering, leadership, findCommand(words[0] ?? ''), words),
      )
    }
    this.#turn.askRun()
  }

  ended(): void {
    this.#inputEnded = true
    this.#turn.askRun()
  }

  drained(): void {
    this.#turn.askFlush()
    this.#turn.askRun()
  }

  gone(reason: string | null): void {
    this.#isGone = true
    this.#isLeaving = true
    this.#ordering.forgetWaiting()
    this.#answers.forget()
    this.#transactions.close()
    this.#turn.end()
    this.#onGone(this, reason)
  }

  /** Begins as many commands as may be under way. */
  run(): void {
    if (this.#isGone) return
    let begun = 0
    for (const command of this.#ordering.waiting) {
      if (this.#isLeaving || this.#answers.isFull || !this.#ordering.mayBegin() || !this.#begin(command)) break
      begun += 1
    }
    if (this.#isLeaving) this.#ordering.forgetWaiting()
    else this.#ordering.begun(begun)
    if (this.#ordering.isAnyWaiting) this.#socket.pause()
    else this.#onAllBegun()
    this.#turn.askFlush()
  }

  /** Writes the answers that are ready. */
  flush(): void {
    if (this.#isGone) return
    const hasWritten = this.#answers.flush()
    if (this.#isGone) return
    if (this.#isLeaving && this.#answers.isEmpty) this.#socket.end()
    else if (hasWritten && (this.#ordering.isAnyWaiting || this.#answers.isReady)) {
      // There is more, and the socket says `drained` only when it could not take all of this at once.
      this.#turn.askRun()
    }
  }

  /** No more commands; what is under way is answered, and then the connection ends. */
  leave(): void {
    this.#isLeaving = true
    this.#ordering.forgetWaiting()
    this.#socket.pause()
    this.#turn.askFlush()
  }

  cutOff(reason: string): void {
    this.#socket.cutOff(reason)
  }

  /** False: it cannot begin yet. */
  #begin(command: ClientCommand): boolean {
    switch (this.#dispatcher.begin(command)) {
      case 'begun':
        return true
      case 'waits':
        return false
      case 'quits':
        this.#isLeaving = true
        return true
      case 'intrudes':
        this.#socket.cutOff('it looks like a web browser; it may have been tricked into coming here')
        return true
    }
  }

  /** All commands have begun: time to look at why there are no more, or to read on. */
  #onAllBegun(): void {
    const { fault } = this.#parser
    if (fault !== null && !this.#isLeaving) {
      this.#isLeaving = true
      const nothing = new ClientCommand(this.#ordering, this.#server.leadership, undefined, [])
      this.#answers.answer(nothing, failure(fault))
    } else if (this.#inputEnded) {
      this.#isLeaving = true
    } else {
      this.#socket.resume()
    }
  }
}
