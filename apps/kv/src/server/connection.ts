/**
 * One client: its bytes in, its commands in order, its answers out.
 *
 * Order. Commands take effect, and are answered, in the order in which the client sent them:
 * - Writes follow each other into the log without waiting.
 * - A read behind writes that are under way waits for them (replicator.ts says why that is enough).
 * - A write behind reads that are under way waits until they have been executed. So that a pipeline of both does not stop at each turn from reads to
 *   writes, a read of single keys that has a write behind it in what has arrived goes into the log like a write, and is answered in its place there.
 *
 * Bounds. While a client has more under way, or more unread answers, than it may, or the server has no room, nothing more is read from its socket.
 */

import type { Socket } from 'node:net'
import { answerLocally, checkCommand, findCommand, unknownCommand, type CommandRow } from '../commands/command-table.js'
import type { ClientState, LocalContext, ServerState } from '../commands/local-command.js'
import type { DataSet } from '../data-set/data-set.js'
import {
  ARGUMENTS_MAX,
  BULK_BYTES_MAX,
  ENTRY_BYTES_MAX,
  INLINE_BYTES_MAX,
  OUTPUT_BYTES_MAX,
  OUTPUT_SOFT_BYTES_MAX,
  PIPELINE_MAX,
  QUERY_BUFFER_BYTES_MAX,
  UNREAD_ANSWERS_MS,
} from '../limits.js'
import { commandBytes, encodeCommand, type WatchedKey } from '../replication/entry-codec.js'
import { encodeReply, replyBytes, type ProtocolVersion } from '../resp/reply-encoder.js'
import { failure, nullArray, ok, queued, status, type Reply } from '../resp/reply.js'
import { RequestParser } from '../resp/request-parser.js'
import { PendingCommand, type CommandOwner } from './pending-command.js'
import { moved, readFailure, writeFailure } from './raft-answers.js'
import type { Replicator } from './replicator.js'
import { Transaction } from './transaction.js'
import type { TurnBatch } from './turn-batch.js'
import { ClientTurn, type Served, type Turns } from './turns.js'
import type { Watchers, Watching } from './watchers.js'

export interface ConnectionContext {
  readonly server: ServerState
  readonly replicator: Replicator
  readonly watchers: Watchers
  readonly turns: Turns
  /** The connection is gone. `reason` null: in the usual way. */
  readonly closed: (connection: Connection, reason: string | null) => void
}

interface Request {
  readonly words: string[]
  /** Undefined: there is no such command. */
  readonly row: CommandRow | undefined
  /** Counts the client's requests. */
  readonly sequence: number
}

export class Connection implements CommandOwner, ClientState, Served, Watching {
  readonly id: number
  readonly address: string
  readonly localAddress: string
  readonly connectedAt: number
  activeAt: number
  name = ''
  libraryName = ''
  libraryVersion = ''
  version: ProtocolVersion = 2
  readonly = false
  noEvict = false
  replies: ClientState['replies'] = 'on'
  skips = 0
  lastCommand = 'NULL'
  readonly #socket: Socket
  readonly #context: ConnectionContext
  readonly #turn: ClientTurn
  readonly #parser = new RequestParser({
    bulkBytes: BULK_BYTES_MAX,
    inlineBytes: INLINE_BYTES_MAX,
    arguments: ARGUMENTS_MAX,
    bufferBytes: QUERY_BUFFER_BYTES_MAX,
  })
  /** Read but not begun. */
  #requests: Request[] = []
  #sequence = 0
  /** The sequence of the last request that goes into the log. */
  #lastWrite = -1
  /** Begun, and not yet written out. */
  #pending: PendingCommand[] = []
  #readsUnderWay = 0
  /** Holds the client's latest write. */
  #batch: TurnBatch | null = null
  #transaction: Transaction | null = null
  #executing = new Map<PendingCommand, Transaction>()
  #watched = new Map<string, number>()
  #watchedChanged = false
  /** No more requests are begun; the connection ends when all answers are written. */
  #isLeaving = false
  /** The client has said that it will send no more. */
  #inputEnded = false
  #isPaused = false
  #isGone = false

  constructor(id: number, socket: Socket, context: ConnectionContext) {
    this.id = id
    this.#socket = socket
    this.#context = context
    this.#turn = new ClientTurn(context.turns, this)
    this.address = `${socket.remoteAddress}:${socket.remotePort}`
    this.localAddress = `${socket.localAddress}:${socket.localPort}`
    this.connectedAt = context.server.now()
    this.activeAt = this.connectedAt
    socket.on('data', (chunk: Buffer) => this.#onData(chunk))
    socket.on('drain', () => this.#onDrain())
    socket.on('end', () => this.#onEnd())
    socket.on('error', () => this.#leave(null))
    socket.on('close', () => this.#leave(null))
    socket.on('timeout', () => this.cutOff(`its answers were not read for ${UNREAD_ANSWERS_MS} ms`))
  }

  get queued(): number {
    return this.#transaction?.length ?? -1
  }

  get watching(): number {
    return this.#watched.size
  }

  get buffered(): number {
    return this.#parser.buffered
  }

  get unsent(): number {
    return this.#socket.writableLength
  }

  /** Begins as many requests as may be under way. */
  run(): void {
    if (this.#isGone) return
    let begun = 0
    while (begun < this.#requests.length && this.#mayBegin()) {
      const request = this.#requests[begun]
      if (request === undefined || !this.#begin(request)) break
      begun += 1
    }
    if (this.#isLeaving) this.#requests = []
    else if (begun > 0) this.#requests.splice(0, begun)
    if (this.#requests.length > 0) this.#pause()
    else this.#onAllBegun()
    this.#turn.askFlush()
  }

  /** Writes every answer that is ready and in order, with one write. */
  flush(): void {
    if (this.#isGone) return
    const unsent = this.#socket.writableLength
    let out = ''
    let written = 0
    for (const command of this.#pending) {
      if (command.reply === undefined || unsent + out.length > OUTPUT_SOFT_BYTES_MAX) break
      written += 1
      if (command.version === null) continue
      if (replyBytes(command.reply) > OUTPUT_BYTES_MAX) {
        this.cutOff(`one answer is longer than ${OUTPUT_BYTES_MAX} bytes`)
        return
      }
      out += encodeReply(command.reply, command.version)
    }
    if (written > 0) this.#pending.splice(0, written)
    if (out !== '') this.#write(out)
    if (this.#isLeaving && this.#pending.length === 0) this.#socket.destroySoon()
    else if (written > 0 && (this.#requests.length > 0 || this.#pending[0]?.reply !== undefined)) {
      // There is more, and the socket says `drain` only when it could not take all of this at once.
      this.#turn.askRun()
    }
  }

  /** No more requests; what is under way is answered, and then the connection ends. */
  leave(): void {
    this.#isLeaving = true
    this.#requests = []
    this.#pause()
    this.#turn.askFlush()
  }

  cutOff(reason: string): void {
    this.#socket.destroy()
    this.#leave(reason)
  }

  keyChanged(): void {
    this.#watchedChanged = true
  }

  settled(command: PendingCommand): void {
    if (command.isRead) {
      command.isRead = false
      this.#readsUnderWay -= 1
    }
    if (this.#requests.length > 0) this.#turn.askRun()
    this.#turn.askFlush()
  }

  executeRead(command: PendingCommand, data: DataSet, now: number): Reply {
    const { row, words } = command
    if (row?.type === 'data') return row.command.run(data, words, now)
    for (const key of command.keys ?? []) this.#watch(key)
    return ok
  }

  finish(command: PendingCommand, reply: Reply): Reply {
    const transaction = this.#executing.get(command)
    if (transaction === undefined) return reply
    this.#executing.delete(command)
    return Array.isArray(reply) ? transaction.answers(reply as readonly Reply[], this.#local) : reply
  }

  explain(command: PendingCommand, error: unknown): Reply {
    this.#executing.delete(command)
    const { leadership } = this.#context.server
    return command.isRead ? readFailure(error, leadership, command.slot) : writeFailure(error, leadership, command.slot)
  }

  get #local(): LocalContext {
    return { client: this, server: this.#context.server }
  }

  #onData(chunk: Buffer): void {
    this.#context.server.counters.bytesIn += chunk.length
    this.activeAt = this.#context.server.now()
    if (this.#isLeaving) return
    this.#parser.push(chunk)
    for (let words = this.#parser.next(); words !== null; words = this.#parser.next()) {
      const row = findCommand(words[0] ?? '')
      if (row !== undefined && goesIntoTheLog(row)) this.#lastWrite = this.#sequence
      this.#requests.push({ words, row, sequence: this.#sequence })
      this.#sequence += 1
    }
    this.#turn.askRun()
  }

  /** All requests have begun: time to look at why there are no more, or to read on. */
  #onAllBegun(): void {
    const { fault } = this.#parser
    if (fault !== null && !this.#isLeaving) {
      this.#isLeaving = true
      if (fault.reply === null) this.cutOff(fault.reason)
      else this.#answer({ row: null, words: [] }, failure(fault.reply))
    } else if (this.#inputEnded) {
      this.#isLeaving = true
    } else {
      this.#resume()
    }
  }

  #mayBegin(): boolean {
    if (this.#isLeaving || this.#isGone) return false
    if (this.#pending.length >= PIPELINE_MAX || this.#socket.writableLength > OUTPUT_SOFT_BYTES_MAX) return false
    if (this.#context.replicator.hasRoom) return true
    this.#turn.waitForRoom()
    return false
  }

  /** False: it cannot begin yet. */
  #begin(request: Request): boolean {
    const { words, row } = request
    let refusal = row === undefined ? unknownCommand(words) : checkCommand(row, words)
    if (refusal !== null && row?.name === 'exec') {
      this.#transaction = null
      this.#unwatch()
      refusal = failure(`EXECABORT Transaction discarded because of: ${refusal.text.slice(4)}`)
    }
    if (row === undefined || refusal !== null) {
      this.#transaction?.refuse()
      this.#count(row?.name ?? 'unknown')
      this.#answer({ row: null, words }, refusal)
      return true
    }
    if (this.#waitsForLeader(row)) {
      this.#turn.waitForLeader()
      return false
    }
    if (row.type === 'control') return this.#control(row, words)
    if (row.type === 'data') return this.#data(row, request)
    this.#count(row.name)
    if (this.#transaction !== null) this.#queue(this.#transaction, row, words)
    else this.#answer({ row, words }, answerLocally(row, words, this.#local))
    return true
  }

  #waitsForLeader(row: CommandRow): boolean {
    const { isBehind, isChanging } = this.#context.server.leadership
    if (row.type === 'control') return isChanging && (row.control === 'exec' || row.control === 'watch')
    return row.type === 'data' && (this.#isStaleRead(row) ? isBehind : isChanging)
  }

  #isStaleRead(row: CommandRow & { readonly type: 'data' }): boolean {
    return this.readonly && !row.command.writes && this.#transaction === null
  }

  #data(row: CommandRow & { readonly type: 'data' }, request: Request): boolean {
    const words = request.words
    words[0] = row.name
    const { leadership } = this.#context.server
    if (!leadership.isLeader && !this.#isStaleRead(row)) {
      this.#transaction?.refuse()
      this.#count(row.name)
      const command = this.#pend(row, words)
      command.settle(moved(leadership, command.slot))
      return true
    }
    if (this.#transaction !== null) {
      this.#count(row.name)
      this.#queue(this.#transaction, row, words)
      return true
    }
    const inTheLog = row.command.writes || this.#readsInTheLog(row, request)
    if (inTheLog && this.#readsUnderWay > 0) return false
    this.#count(row.name)
    if (!leadership.isLeader) {
      const command = this.#pend(row, words)
      const { data, now } = this.#context.server
      command.execute(data, Math.max(now(), data.time))
    } else if (!inTheLog) {
      this.#read(this.#pend(row, words))
    } else if (commandBytes(words) > ENTRY_BYTES_MAX) {
      const bytes = `${commandBytes(words)} bytes, but one Raft entry holds at most ${ENTRY_BYTES_MAX}`
      this.#answer({ row, words }, failure(`ERR command is too large: ${bytes}`))
    } else {
      this.#batch = this.#context.replicator.write(encodeCommand(words), this.#pend(row, words))
    }
    return true
  }

  /** Whether a read is better carried out in its place in the log: a write is behind it. */
  #readsInTheLog(row: CommandRow, { words, sequence }: Request): boolean {
    return row.firstKey > 0 && sequence < this.#lastWrite && commandBytes(words) <= ENTRY_BYTES_MAX
  }

  #read(command: PendingCommand): void {
    command.isRead = true
    this.#readsUnderWay += 1
    this.#context.replicator.read(command, this.#batch)
  }

  /** Commands that steer the connection see the effects of everything before them. */
  #control(row: CommandRow & { readonly type: 'control' }, words: readonly string[]): boolean {
    if (this.#readsUnderWay > 0 && row.control !== 'watch' && row.control !== 'multi') return false
    // Whether a watched key was touched is known for the client's own writes only when they are applied.
    const isWriting = this.#batch !== null && this.#batch.state !== 'settled'
    if (row.control === 'exec' && this.#watched.size > 0 && isWriting) return false
    this.#count(row.name)
    switch (row.control) {
      case 'multi':
        this.#answer({ row, words }, this.#multi())
        return true
      case 'exec':
        this.#exec(row, words)
        return true
      case 'discard':
        this.#answer({ row, words }, this.#discard())
        return true
      case 'watch':
        this.#beginWatch(row, words)
        return true
      case 'unwatch':
        if (this.#transaction !== null) this.#queue(this.#transaction, row, words)
        else this.#answer({ row, words }, this.#unwatch())
        return true
      case 'reset':
        this.#reset()
        this.#answer({ row, words }, status('RESET'))
        return true
      case 'quit':
        this.#answer({ row, words }, ok)
        this.#isLeaving = true
        return true
      case 'security':
        this.cutOff('it looks like a web browser; it may have been tricked into coming here')
        return true
    }
  }

  #multi(): Reply {
    if (this.#transaction !== null) return failure('ERR MULTI calls can not be nested')
    this.#transaction = new Transaction()
    return ok
  }

  #discard(): Reply {
    if (this.#transaction === null) return failure('ERR DISCARD without MULTI')
    this.#transaction = null
    return this.#unwatch()
  }

  #exec(row: CommandRow, words: readonly string[]): void {
    const transaction = this.#transaction
    const watched: WatchedKey[] = [...this.#watched].map(([key, version]) => ({ key, version }))
    const changed = this.#watchedChanged
    if (transaction === null) {
      this.#answer({ row, words }, failure('ERR EXEC without MULTI'))
      return
    }
    this.#discard()
    const { leadership } = this.#context.server
    const needsLeader = transaction.hasData || watched.length > 0
    if (transaction.isRefused) {
      // Also when they were refused with MOVED: cluster clients then send the whole transaction to the leader.
      this.#answer({ row, words }, failure('EXECABORT Transaction discarded because of previous errors.'))
    } else if (needsLeader && !leadership.isLeader) {
      this.#answer({ row, words }, moved(leadership, 0))
    } else if (changed) {
      this.#answer({ row, words }, nullArray)
    } else if (!needsLeader) {
      this.#answer({ row, words }, transaction.answers([], this.#local))
    } else {
      this.#propose(transaction, watched, this.#pend(row, words))
    }
  }

  #propose(transaction: Transaction, watched: readonly WatchedKey[], command: PendingCommand): void {
    const entry = transaction.encode(watched)
    if (entry.length > ENTRY_BYTES_MAX) {
      const bytes = `${entry.length} bytes with its watched keys, but one Raft entry holds at most ${ENTRY_BYTES_MAX}`
      command.settle(failure(`ERR transaction is too large: ${bytes}`))
      return
    }
    this.#executing.set(command, transaction)
    this.#batch = this.#context.replicator.write(entry, command)
  }

  #beginWatch(row: CommandRow, words: readonly string[]): void {
    const { leadership } = this.#context.server
    if (this.#transaction !== null) {
      this.#answer({ row, words }, failure('ERR WATCH inside MULTI is not allowed'))
    } else if (!leadership.isLeader) {
      const command = this.#pend(row, words)
      command.settle(moved(leadership, command.slot))
    } else {
      this.#read(this.#pend(row, words))
    }
  }

  #watch(key: string): void {
    if (this.#watched.has(key)) return
    this.#watched.set(key, this.#context.server.data.version(key))
    this.#context.watchers.add(key, this)
  }

  #unwatch(): Reply {
    for (const key of this.#watched.keys()) this.#context.watchers.remove(key, this)
    this.#watched.clear()
    this.#watchedChanged = false
    return ok
  }

  #reset(): void {
    this.#transaction = null
    this.#unwatch()
    this.name = ''
    this.version = 2
    this.readonly = false
    this.noEvict = false
    this.replies = 'on'
    this.skips = 0
  }

  #queue(transaction: Transaction, row: CommandRow, words: readonly string[]): void {
    this.#answer({ row, words }, transaction.add(row, words) ?? queued)
  }

  #answer(request: { readonly row: CommandRow | null; readonly words: readonly string[] }, reply: Reply): void {
    const command = new PendingCommand(this, request, this.#answerVersion())
    this.#pending.push(command)
    command.reply = reply
  }

  #pend(row: CommandRow, words: readonly string[]): PendingCommand {
    const command = new PendingCommand(this, { row, words }, this.#answerVersion())
    this.#pending.push(command)
    return command
  }

  /** In which version the next answer is written; null: not at all. */
  #answerVersion(): ProtocolVersion | null {
    if (this.replies === 'off') return null
    if (this.skips === 0) return this.version
    this.skips -= 1
    return null
  }

  #count(command: string): void {
    this.lastCommand = command
    this.#context.server.counters.commands += 1
  }

  #write(out: string): void {
    this.#context.server.counters.bytesOut += out.length
    this.#socket.write(out, 'latin1')
    // Only while answers wait to be read, so that idle clients may stay.
    if (this.#socket.writableNeedDrain) this.#socket.setTimeout(UNREAD_ANSWERS_MS)
  }

  #onDrain(): void {
    this.#socket.setTimeout(0)
    this.#turn.askFlush()
    this.#turn.askRun()
  }

  #onEnd(): void {
    this.#inputEnded = true
    this.#turn.askRun()
  }

  #pause(): void {
    if (this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  #resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#socket.resume()
  }

  #leave(reason: string | null): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#isLeaving = true
    this.#requests = []
    this.#pending = []
    this.#unwatch()
    this.#turn.end()
    this.#context.closed(this, reason)
  }
}

function goesIntoTheLog(row: CommandRow): boolean {
  return row.type === 'data' ? row.command.writes : row.type === 'control' && row.control === 'exec'
}
