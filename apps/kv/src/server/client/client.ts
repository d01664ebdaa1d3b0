/**
 * One client: what it sends is cut into commands, which wait until they may begin (ordering.ts) and go to whom they
 * concern (dispatcher.ts); their answers leave in the same order (client-answers.ts). Here is when: bytes have arrived,
 * the client's turn has come, answers are ready, the connection ends.
 *
 * Bounds. While a client has more under way than it may, or the server has no room, nothing more is read from its
 * socket: that ends by itself. While it has too many unread answers it is read on, for it may be one that reads none
 * before it has sent all; how far, what is kept for all clients together decides (client-memory.ts). Then it must read.
 */

import { findCommand } from '../../commands/command-table.js'
import type { ClientState, LocalContext, ServerState } from '../../commands/local-command.js'
import { CUT_AHEAD_BYTES_MAX, CUT_AHEAD_MAX, STRANGER_UNREAD_BYTES_MAX } from '../../limits.js'
import { failure } from '../../resp/reply.js'
import { encodeReply } from '../../resp/reply-encoder.js'
import { RefusedCommand, SPEAKS_TLS } from '../../resp/request-parser.js'
import type { Replicator } from '../replicator.js'
import { ClientTurn, type Served, type Turns } from '../turns.js'
import { ClientAnswers } from './client-answers.js'
import { ClientCommand } from './client-command.js'
import { ClientGate } from './client-gate.js'
import { ClientInput } from './client-input.js'
import type { ClientAccount, ClientMemory, MemoryHolder } from './client-memory.js'
import { ClientSession } from './client-session.js'
import type { ClientSocket, SocketListener } from './client-socket.js'
import { ClientTransactions } from './client-transactions.js'
import { Dispatcher } from './dispatcher.js'
import { Ordering } from './ordering.js'
import type { Walks } from '../walks.js'
import type { Watchers } from './watchers.js'

/** What all clients share; each room of a client gets what it needs of it, and no more. */
export interface ClientHost {
  readonly server: ServerState
  readonly replicator: Replicator
  readonly watchers: Watchers
  readonly turns: Turns
  readonly walks: Walks
  readonly memory: ClientMemory
  /** The connection is over. `reason` null: in the usual way. */
  readonly onGone: (client: Client, reason: string | null) => void
}

export type ClientRooms = Readonly<
  Record<
    | 'commandsWaiting'
    | 'commandBytesWaiting'
    | 'commandsBegun'
    | 'answerBytes'
    | 'answerBytesExpected'
    | 'readsUnderWay'
    | 'walksUnderWay'
    | 'keysSetAside',
    number
  >
>

export class Client implements ClientState, Served, SocketListener, MemoryHolder {
  readonly session: ClientSession
  readonly #server: ServerState
  readonly #onGone: ClientHost['onGone']
  readonly #socket: ClientSocket
  readonly #turn: ClientTurn
  readonly #input = new ClientInput()
  readonly #ordering: Ordering
  readonly #answers: ClientAnswers
  readonly #transactions: ClientTransactions
  readonly #dispatcher: Dispatcher
  readonly #memory: ClientMemory
  readonly #account: ClientAccount
  /** The client has said that it will send no more. */
  #inputEnded = false
  /** No more commands begin; the connection ends when all answers are written. */
  #isLeaving = false
  /** Invariant: then it is leaving too, and holds no command. */
  #isGone = false

  constructor(
    id: number,
    socket: ClientSocket,
    { server, replicator, watchers, turns, walks, memory, onGone }: ClientHost,
  ) {
    this.session = new ClientSession(id, socket, server.uptime())
    this.#server = server
    this.#onGone = onGone
    this.#socket = socket
    this.#turn = new ClientTurn(turns, this)
    this.#answers = new ClientAnswers(socket, this.session, server.counters, memory)
    const room = { replicator, walks, entryTime: () => server.entryTime, leadership: server.leadership }
    this.#ordering = new Ordering(room, this.session, this.#turn, this.#answers)
    const local: LocalContext = { client: this, server }
    this.session.login = server.security.arrival
    const gate = new ClientGate(local, this.#turn)
    this.#transactions = new ClientTransactions(watchers, server.leadership, local, gate.refusalNow)
    this.#dispatcher = new Dispatcher(local, this.#turn, this.#transactions, this.#ordering, this.#answers, gate)
    this.#memory = memory
    this.#account = memory.open(this)
    socket.open(this)
  }

  get queued(): number {
    return this.#transactions.queued
  }

  get watching(): number {
    return this.#transactions.watching
  }

  get buffered(): number {
    return this.#input.begun + this.#input.ahead
  }

  get unsent(): number {
    return this.#socket.unsent
  }

  get held(): number {
    return this.heldCommands + this.#input.ahead + this.#answers.held + this.#socket.unsent + this.session.held
  }

  get heldCommands(): number {
    return this.#input.begun + this.#ordering.held + this.#transactions.held
  }

  /** What of it is under way. Invariant: 0 in all of them when all of its commands are answered. */
  get rooms(): ClientRooms {
    const { reads, walks } = this.#ordering.rooms
    const { pending, expected } = this.#answers.rooms
    return {
      commandsWaiting: this.#ordering.waiting.length,
      commandBytesWaiting: this.#ordering.held,
      commandsBegun: pending,
      answerBytes: this.#answers.held,
      answerBytesExpected: expected,
      readsUnderWay: reads,
      walksUnderWay: walks,
      keysSetAside: this.#transactions.setAside,
    }
  }

  get hasLeft(): boolean {
    return this.#inputEnded || this.#isGone
  }

  get isSpared(): boolean {
    return this.session.noEvict
  }

  received(chunk: Buffer): void {
    const { counters } = this.#server
    const now = this.#server.uptime()
    counters.bytesIn += chunk.length
    this.session.activeAt = now
    if (this.#isLeaving) return
    this.#input.push(chunk)
    this.#turn.askRun()
    if (this.#turn.mayCut(now)) this.#cut()
    this.#input.keep()
    if (chunk.length >= ACCOUNTED_AT_ONCE_BYTES) this.#account.update()
  }

  ended(): void {
    this.#inputEnded = true
    this.#turn.askRun()
  }

  drained(): void {
    this.#turn.askFlush()
    this.#turn.askRun()
  }

  left(): void {
    this.#account.update()
  }

  gone(reason: string | null): void {
    this.#isGone = true
    this.#isLeaving = true
    this.#ordering.isGone = true
    this.#input.forget()
    this.#ordering.forgetWaiting()
    this.#answers.forget()
    this.#transactions.close()
    this.#turn.end()
    this.#account.close()
    this.#onGone(this, reason)
  }

  /** Begins as many commands as may be under way. */
  run(): void {
    if (this.#isGone) return
    do {
      this.#ordering.begun(this.#beginWaiting())
      if (this.#isLeaving) this.#forgetInput()
      else if (!this.#ordering.isAnyWaiting) this.#cut()
      else break
    } while (this.#ordering.isAnyWaiting)
    if (this.#isGone) return
    if (this.#ordering.isAnyWaiting) this.#holdBack()
    else this.#onAllBegun()
    if (this.#answers.isReady || this.#isLeaving) this.#turn.askFlush()
    else this.#account.update()
  }

  /** Writes the answers that are ready. */
  flush(): void {
    if (this.#isGone) return
    const hasWritten = this.#answers.flush()
    if (this.session.login === null && this.unsent > STRANGER_UNREAD_BYTES_MAX) {
      return this.cutOff('it has not said who it is, and reads no answers')
    }
    this.#account.update()
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
    this.#forgetInput()
    // Read on, into nothing: a reset for bytes that lie unread could overtake the last words.
    this.#socket.resume()
    this.#turn.askFlush()
  }

  cutOff(reason: string): void {
    this.#socket.cutOff(reason)
  }

  /** Cuts commands out of what has come, a bounded number ahead of their turn. */
  #cut(): void {
    const { leadership } = this.#server
    // What a stranger sends behind its AUTH is looked at when it is known who it is.
    const isStranger = this.session.login === null
    this.#input.limit(isStranger)
    const most = isStranger ? 1 : CUT_AHEAD_MAX
    while (this.#ordering.waiting.length < most && this.#ordering.held < CUT_AHEAD_BYTES_MAX) {
      const words = this.#input.next()
      if (words === null) return
      const command =
        words instanceof RefusedCommand
          ? new ClientCommand(this.#ordering, leadership, undefined, [], failure(words.text))
          : new ClientCommand(this.#ordering, leadership, findCommand(words[0] ?? ''), words)
      command.bytes = this.#input.commandBytes + COMMAND_BYTES
      this.#ordering.arrive(command)
    }
  }

  #forgetInput(): void {
    this.#ordering.forgetWaiting()
    this.#input.forget()
  }

  /** How many of those that wait have begun. */
  #beginWaiting(): number {
    let begun = 0
    // There was time for this client when its turn came.
    let work = 0
    for (const command of this.#ordering.waiting) {
      if (this.#isLeaving || this.#answers.isFull || !this.#ordering.mayBegin() || !this.#turn.mayGoOn(work)) break
      if (!this.#begin(command)) break
      work = command.work
      begun += 1
    }
    return begun
  }

  /** Commands wait: reads on only if it is the client that they wait for. */
  #holdBack(): void {
    if (this.#ordering.isCalling) {
      // It may take for ever, and only who reads hears that the client has gone.
      this.#socket.resume()
    } else if (!this.#answers.isUnread || this.session.login === null) {
      this.#socket.pause()
    } else if (this.#memory.isTight) {
      this.#socket.pause()
      this.#socket.hurry()
    } else {
      this.#socket.resume()
    }
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
    const { fault } = this.#input
    if (fault === SPEAKS_TLS) {
      this.#socket.write(encodeReply(failure(fault), 2))
      this.cutOff('it speaks TLS, and this port does not')
    } else if (fault !== null && !this.#isLeaving) {
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

/** What a command takes beside its words. */
const COMMAND_BYTES = 256
/** What comes in smaller pieces is accounted for in the turn, which follows at once. */
const ACCOUNTED_AT_ONCE_BYTES = 1024
