/**
 * Whom a command concerns: this server by itself, the client's transaction, the log, the data set, or the connection.
 * Each is checked, counted and handed on once, when it begins; what it must wait for is asked of the ordering.
 */

import { answerLocally, callOf, checkCommand, unknownCommand, walkOf } from '../../commands/command-table.js'
import type { CommandRow, ControlName } from '../../commands/command-table.js'
import type { LocalCall, LocalContext, ServerState } from '../../commands/local-command.js'
import type { KeyWalkOf } from '../../data-set/key-walk.js'
import { ENTRY_BYTES_MAX, FORWARDED_ANSWER_BYTES_MAX } from '../../limits.js'
import { commandBytes, encodeCommand } from '../../replication/entry-codec.js'
import { failure, ok, status, type ErrorReply, type Reply } from '../../resp/reply.js'
import type { Leadership } from '../leadership.js'
import { answerTooLarge, callFailure, elsewhere, loading, outOfMemory } from '../raft-answers.js'
import type { ClientTurn } from '../turns.js'
import type { ClientAnswers } from './client-answers.js'
import type { ClientCommand } from './client-command.js'
import type { ClientGate } from './client-gate.js'
import type { ClientSession } from './client-session.js'
import { expectedAnswerBytes } from './expected-answer.js'
import { Execution, WatchRead, type ClientTransactions } from './client-transactions.js'
import type { Ordering } from './ordering.js'
import { consistencyOf, isCurrent, type Consistency, type ReadMode } from './read-mode.js'

type DataRow = CommandRow & { readonly type: 'data' }
type LoginRow = CommandRow & { readonly type: 'login' }
type ControlRow = CommandRow & { readonly type: 'control' }
type SteeringName = Exclude<ControlName, 'security'>

const loginInTransaction = failure('ERR Command not allowed inside a transaction')

/**
 * It has begun; it cannot begin yet; it has begun and is the last; it is not a command, but what a web browser says.
 */
export type Dispatched = 'begun' | 'waits' | 'quits' | 'intrudes'

export class Dispatcher {
  readonly #local: LocalContext
  readonly #server: ServerState
  readonly #session: ClientSession
  readonly #leadership: Leadership
  readonly #turn: ClientTurn
  readonly #transactions: ClientTransactions
  readonly #ordering: Ordering
  readonly #answers: ClientAnswers
  readonly #gate: ClientGate

  constructor(
    local: LocalContext,
    turn: ClientTurn,
    transactions: ClientTransactions,
    ordering: Ordering,
    answers: ClientAnswers,
    gate: ClientGate,
  ) {
    this.#local = local
    this.#server = local.server
    this.#session = local.client.session
    this.#leadership = local.server.leadership
    this.#turn = turn
    this.#transactions = transactions
    this.#ordering = ordering
    this.#answers = answers
    this.#gate = gate
  }

  /** Begins a command, if it can. */
  begin(command: ClientCommand): Dispatched {
    const { row, words } = command
    if (row === undefined) return this.#refuse(command, command.refusal ?? unknownCommand(words))
    const refusal = checkCommand(row, words) ?? (this.#session.mayAll ? null : this.#gate.refusal(row, words))
    if (refusal !== null) return this.#refuse(command, refusal)
    if (this.#waitsForLeader(row)) {
      this.#turn.waitForLeader()
      return 'waits'
    }
    // So that the answers of walks that a client has not read are those of one.
    const walks = walkOf(row, words)
    if (walks !== null && this.#answers.isWalking) return 'waits'
    const call = this.#transactions.isOpen ? null : callOf(row, words)
    if (call !== null && !this.#ordering.mayCall) return 'waits'
    if (row.type === 'data') return this.#data(command, row)
    if (row.type === 'control') return this.#control(command, row)
    if (row.type === 'login') return this.#login(command, row)
    this.#count(row.name)
    if (walks !== null && !this.#transactions.isOpen) return this.#walkHere(command, walks, false)
    if (call !== null) return this.#call(command, call)
    return this.#answer(
      command,
      this.#transactions.isOpen ? this.#transactions.queue(row, command) : answerLocally(row, words, this.#local),
    )
  }

  #refuse(command: ClientCommand, refusal: ErrorReply): Dispatched {
    const name = command.row?.name ?? 'unknown'
    this.#count(name)
    if (name === 'exec') return this.#answer(command, this.#transactions.abort(refusal))
    this.#transactions.refuse()
    return this.#answer(command, refusal)
  }

  #waitsForLeader(row: CommandRow): boolean {
    const { isBehind, isChanging } = this.#leadership
    if (row.type === 'control') return isChanging && (row.control === 'exec' || row.control === 'watch')
    if (row.type !== 'data') return false
    const mode = this.#modeOf(row)
    if (mode === 'leader') return isChanging
    return mode === 'replica' && isBehind
  }

  /** Only a read by itself may be of another mode than `leader`. */
  #modeOf(row: DataRow): ReadMode {
    return row.command.writes || this.#transactions.isOpen ? 'leader' : this.#session.readMode
  }

  #data(command: ClientCommand, row: DataRow): Dispatched {
    const { words } = command
    words[0] = row.name
    const { canServe, isLeader } = this.#leadership
    const mode = this.#modeOf(row)
    if (mode === 'leader' && !canServe) {
      this.#count(row.name)
      this.#transactions.refuse()
      return this.#answer(command, elsewhere(this.#leadership, command.slot))
    }
    if (row.grows && this.#server.isMemoryFull) return this.#refuse(command, outOfMemory)
    if (this.#transactions.isOpen) {
      this.#count(row.name)
      return this.#answer(command, this.#transactions.queue(row, command))
    }
    command.consistency = this.#consistencyOf(mode)
    // What it must have seen of its own writes is known when these are answered.
    if (!isCurrent(command.consistency) && !this.#ordering.mayRead(command.consistency)) return 'waits'
    if (command.consistency === 'stale') return this.#readHere(command, row)
    const readsInTheLog = isCurrent(command.consistency) && this.#ordering.readsInTheLog(command)
    const inTheLog = row.command.writes || readsInTheLog
    if (inTheLog ? !this.#ordering.mayWrite : !this.#ordering.mayRead(command.consistency)) return 'waits'
    this.#count(row.name)
    if (inTheLog && commandBytes(words) > ENTRY_BYTES_MAX) {
      const bytes = `${commandBytes(words)} bytes, but one Raft entry holds at most ${ENTRY_BYTES_MAX}`
      return this.#answer(command, failure(`ERR command is too large: ${bytes}`))
    }
    const bytes = expectedAnswerBytes(row, words, this.#server.data, this.#ordering.writtenBytesMax)
    if (inTheLog && !isLeader && bytes > FORWARDED_ANSWER_BYTES_MAX) return this.#answer(command, answerTooLarge)
    this.#answers.expect(command, bytes)
    if (inTheLog) this.#ordering.write(command, encodeCommand(words))
    else this.#ordering.read(command)
    return 'begun'
  }

  #consistencyOf(mode: ReadMode): Consistency {
    if (mode === 'replica' && this.#leadership.isLeader) return 'linearizable'
    const { writtenIndex } = this.#session
    return consistencyOf(mode, writtenIndex > this.#server.data.index ? writtenIndex : 0)
  }

  /** With what is here, at once. */
  #readHere(command: ClientCommand, row: DataRow): Dispatched {
    this.#count(row.name)
    if (row.command.walkOf !== null) return this.#walkHere(command, row.command.walkOf, true)
    const { data, entryTime } = this.#server
    if (data.isRestoring) return this.#answer(command, loading)
    return this.#answer(
      command,
      data.readAt(entryTime, (now) => row.command.run(data, command.words, now)),
    )
  }

  /** Over what this server holds. */
  #walkHere(command: ClientCommand, walks: KeyWalkOf, isStale: boolean): Dispatched {
    this.#answers.expect(command)
    this.#ordering.holdUp(command)
    command.walk(walks(command.words), isStale)
    return 'begun'
  }

  #call(command: ClientCommand, call: LocalCall): Dispatched {
    const begun = call(this.#local, command.words)
    if ('type' in begun) return this.#answer(command, begun)
    this.#answers.expect(command)
    this.#ordering.holdUp(command)
    void begun.then(
      (reply) => command.settle(reply),
      (error: unknown) => command.settle(callFailure(error, this.#leadership)),
    )
    return 'begun'
  }

  #login(command: ClientCommand, row: LoginRow): Dispatched {
    const request = row.login(this.#local, command.words)
    if ('type' in request || request.credentials === null) {
      this.#count(row.name)
      return this.#answer(
        command,
        this.#transactions.isOpen
          ? this.#transactions.queue(row, command)
          : answerLocally(row, command.words, this.#local),
      )
    }
    if (this.#transactions.isOpen) return this.#refuse(command, loginInTransaction)
    if (!this.#gate.mayTry()) return 'waits'
    this.#count(row.name)
    const refusal = this.#gate.enter(row.name, request.credentials)
    this.#answers.answer(command, refusal ?? request.finish(this.#local))
    return refusal !== null && this.#gate.isTiredOf ? 'quits' : 'begun'
  }

  #control(command: ClientCommand, row: ControlRow): Dispatched {
    if (!this.#ordering.maySteer(row.control, this.#transactions.watching > 0)) return 'waits'
    this.#count(row.name)
    if (row.control === 'security') return 'intrudes'
    const result = this.#steer(command, row, row.control)
    if (result instanceof Execution) {
      this.#answers.expect(command)
      this.#ordering.write(command, result.entry, result)
    } else if (result instanceof WatchRead) {
      this.#answers.expect(command)
      this.#ordering.read(command, result)
    } else {
      this.#answers.answer(command, result)
    }
    return row.control === 'quit' ? 'quits' : 'begun'
  }

  /** The answer, or what is to be written or read for it. */
  #steer(command: ClientCommand, row: ControlRow, control: SteeringName): Reply | Execution | WatchRead {
    switch (control) {
      case 'multi':
        return this.#transactions.multi()
      case 'exec':
        return this.#transactions.exec(command)
      case 'discard':
        return this.#transactions.discard()
      case 'watch':
        return this.#transactions.watch(command)
      case 'unwatch':
        return this.#transactions.isOpen ? this.#transactions.queue(row, command) : this.#transactions.unwatch()
      case 'reset':
        this.#transactions.reset()
        this.#session.reset(this.#server.security.arrival)
        return status('RESET')
      case 'quit':
        return ok
    }
  }

  #answer(command: ClientCommand, reply: Reply): Dispatched {
    this.#answers.answer(command, reply)
    return 'begun'
  }

  #count(name: string): void {
    this.#session.lastCommand = name
    this.#server.counters.commands += 1
  }
}
