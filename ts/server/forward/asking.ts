/**
 * One leader is asked over a channel: to take commands, and how far a server must be that reads now.
 *
 * Invariant: what was sent is answered by the leader, or ends with the channel: commands as `unknown` then, since they
 * may be in the log. Each answer goes to the call that it names, and to nobody once that call has ended.
 */

import type { RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import type { GuardedResultCodec } from '../../machine/user-code.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { Transport } from '../../transport/transport.js'
import type { LogIndex, ServerId, Term } from '../../types.js'
import type { CommandKind } from '../calls/apply-queue.js'
import { PendingCall } from '../calls/pending-call.js'
import type { ReadQueue } from '../calls/read-queue.js'
import type { Member } from '../calls/waiting-list.js'
import { leaderNotReached, wayLost } from '../refusals.js'
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, encodeForward, ForwardReader } from './messages.js'
import type { ForwardAnswer, ForwardMessage } from './messages.js'

/** Where a command came to stand in the log, and what the state machine answered. */
export interface Proposed<Result> {
  readonly index: LogIndex
  readonly term: Term
  readonly result: Result
}

/** One try to have the leader take a command. */
export class ForwardedCommand extends PendingCall<Proposed<unknown>> implements Member {
  place = -1
  readonly kind: CommandKind
  readonly bytes: Uint8Array
  /** What it is called on the channel on which it was sent; 0 before. */
  id = 0

  constructor(kind: CommandKind, bytes: Uint8Array) {
    super()
    this.kind = kind
    this.bytes = bytes
  }
}

/** Reads of this server, which wait for the leader's word and then for the state machine. */
interface Question {
  readonly queue: ReadQueue
  readonly round: number
}

export interface AskingParts {
  readonly leader: ServerId
  readonly transport: Transport
  readonly resultCodec: GuardedResultCodec<unknown>
  /** The channel is open, or a read was answered. */
  readonly moved: () => void
  /** Called once, when the channel was not opened, or has ended by itself. */
  readonly ended: (reason: string) => void
}

export class Asking {
  readonly leader: ServerId
  readonly #parts: AskingParts
  readonly #reader = new ForwardReader()
  /** By id: commands that were sent and have no outcome. */
  readonly #sent = new Map<number, ForwardedCommand>()
  /** By id: what was asked and has no answer. */
  readonly #asked = new Map<number, Question>()
  #lastId = 0
  #lastQuestion = 0
  #channel: Channel | null = null
  #isOver = false

  constructor(parts: AskingParts) {
    this.leader = parts.leader
    this.#parts = parts
    const handlers: ChannelHandlers = {
      onFrame: (frame) => this.#onFrame(frame),
      onClosed: (reason) => this.#broke(reason),
    }
    this.#open(handlers).then(
      (channel) => this.#opened(channel),
      (error: unknown) => this.#broke(textOf(error)),
    )
  }

  get isOpen(): boolean {
    return this.#channel !== null
  }

  get isIdle(): boolean {
    return this.#sent.size === 0 && this.#asked.size === 0
  }

  get count(): number {
    return this.#sent.size
  }

  /** In their order, as few messages as their kinds and sizes allow. Hot path: once per turn. */
  send(calls: readonly ForwardedCommand[]): void {
    for (let from = 0; from < calls.length;) {
      const to = endOfBatch(calls, from)
      const { kind } = calls[from] as ForwardedCommand
      const firstId = this.#lastId + 1
      const commands: Uint8Array[] = []
      for (const call of calls.slice(from, to)) {
        this.#lastId += 1
        this.#sent.set(this.#lastId, call)
        call.id = this.#lastId
        commands.push(call.bytes)
      }
      this.#say({ type: 'commands', kind, firstId, commands })
      from = to
    }
  }

  /** For those that have come since the last time, if any have; `committed` as in `ForwardMessage`. */
  ask(queue: ReadQueue, committed: LogIndex | null): void {
    const round = queue.nextRequest()
    if (round === null) return
    this.#lastQuestion += 1
    this.#asked.set(this.#lastQuestion, { queue, round })
    this.#say({ type: 'read', id: this.#lastQuestion, committed })
  }

  /** Whether it was sent here. */
  forget(call: ForwardedCommand): boolean {
    return this.#sent.get(call.id) === call && this.#sent.delete(call.id)
  }

  /** Reads are asked of whoever leads now. */
  giveUpReads(error: RaftError): void {
    const questions = [...this.#asked.values()]
    this.#asked.clear()
    for (const { queue, round } of questions) queue.failed(round, error)
  }

  /** Nothing more is asked; commands that were sent and have no answer end with `error`. */
  end(reason: string, error: RaftError = wayLost(this.leader, reason)): void {
    if (this.#isOver) return
    this.#channel?.close(reason)
    this.#over(reason, error)
  }

  async #open(handlers: ChannelHandlers): Promise<Channel> {
    const channel = await this.#parts.transport.openChannel?.(this.leader, handlers)
    if (channel === undefined) throw new Error('the transport opened no channel')
    return channel
  }

  #opened(channel: Channel): void {
    if (this.#isOver) return channel.close('it is not asked any more')
    this.#channel = channel
    this.#parts.moved()
  }

  #say(message: ForwardMessage): void {
    for (const frame of encodeForward(message)) this.#channel?.send(frame)
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#isOver) return
    // It is lent, and users may keep what `decode` is given. No Buffer, whose `slice` is no copy.
    const message = this.#reader.read(new Uint8Array(frame))
    if (message === 'more') return
    if (message === null || message.type === 'commands' || message.type === 'read') {
      const reason = 'its answer makes no sense, or came damaged'
      this.end(reason)
      return this.#parts.ended(reason)
    }
    if (message.type === 'answers') for (const answer of message.answers) this.#answered(answer)
    else this.#readAnswered(message)
  }

  /** Hot path: once per command. */
  #answered(answer: ForwardAnswer): void {
    const call = this.#sent.get(answer.id)
    if (call === undefined) return
    this.#sent.delete(answer.id)
    if ('error' in answer) return call.reject(answer.error)
    const { index, term, result: bytes } = answer
    let result: unknown
    try {
      result = bytes === null ? undefined : this.#parts.resultCodec.decode(bytes)
    } catch (error) {
      return call.reject(error)
    }
    call.resolve({ index, term, result })
  }

  #readAnswered(message: Extract<ForwardMessage, { readonly type: 'readAt' | 'readFailed' }>): void {
    const question = this.#asked.get(message.id)
    if (question === undefined) return
    this.#asked.delete(message.id)
    const { queue, round } = question
    if (message.type === 'readAt') queue.confirmed(round, message.index)
    else queue.failed(round, message.error)
    this.#parts.moved()
  }

  #broke(reason: string): void {
    if (this.#isOver) return
    this.#over(reason, wayLost(this.leader, reason))
    this.#parts.ended(reason)
  }

  #over(reason: string, error: RaftError): void {
    this.#isOver = true
    this.#channel = null
    const calls = [...this.#sent.values()]
    this.#sent.clear()
    for (const call of calls) call.reject(error)
    this.giveUpReads(leaderNotReached(this.leader, reason))
  }
}

/** Behind the last one that goes into one message with that at `from`. */
function endOfBatch(calls: readonly ForwardedCommand[], from: number): number {
  const { kind } = calls[from] as ForwardedCommand
  let bytes = 0
  let at = from
  for (; at < calls.length && at - from < BATCH_COUNT_MAX && bytes < BATCH_BYTES_MAX; at += 1) {
    const call = calls[at] as ForwardedCommand
    if (call.kind !== kind) break
    bytes += call.bytes.length
  }
  return at
}
