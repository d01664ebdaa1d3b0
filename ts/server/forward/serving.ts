/**
 * What this server, while it leads, does for peers on which somebody called: it takes their commands into its log,
 * confirms their reads, by its lease where it may, and answers over the channel on which they asked.
 *
 * Invariants: each command and each question that has come is answered once, unless its channel has ended. What is
 * answered in one turn leaves in one message. What a peer may have unanswered is bounded, and so is what waits to be
 * written to it: beyond that its commands are refused, and a channel over the bound of its write queue ends.
 */

import type { RaftCore } from '../../core/raft-core.js'
import { RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import type { Payload } from '../../format/block.js'
import { PayloadSlabs } from '../../format/payload.js'
import { NoAnswer } from '../../machine/session-batch.js'
import type { GuardedCodec, GuardedResultCodec, Refusals } from '../../machine/user-code.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import { logIndex, termOf } from '../../types.js'
import type { LogIndex, Term } from '../../types.js'
import { ProposalCall } from '../calls/apply-queue.js'
import type { ApplyQueue, CommandKind } from '../calls/apply-queue.js'
import { PendingCall } from '../calls/pending-call.js'
import type { ReadQueue } from '../calls/read-queue.js'
import type { Life } from '../life.js'
import { leadershipLost, noAnswer, notLeader, overloaded } from '../refusals.js'
import type { Mailbox } from '../turn/mailbox.js'
import type { Local } from './any-server.js'
import { Judging, judgeOfPeers, refuseAll } from './judging.js'
import type { Judge, Judged } from './judging.js'
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, encodeForward, ForwardReader } from './messages.js'
import type { ForwardAnswer, ForwardedCommands, ForwardMessage } from './messages.js'

/** Commands of one channel that have no answer yet; above that its commands are refused. */
export const SERVED_COUNT_MAX = 8192
/** Answers that its socket has not taken; above that its commands are refused. */
export const ANSWERS_QUEUED_BYTES_MAX = 4 * 1024 * 1024
/** Questions of one channel about reads without an answer: a peer asks one in a turn. */
export const READS_SERVED_MAX = 1024

export interface ServingParts {
  readonly core: RaftCore
  readonly life: Life
  readonly proposals: ApplyQueue
  readonly reads: ReadQueue
  readonly codec: GuardedCodec<unknown>
  readonly resultCodec: GuardedResultCodec<unknown>
  readonly mailbox: Mailbox
  readonly local: () => Pick<Local, 'holdsLease'>
}

export class Serving {
  readonly #core: RaftCore
  readonly #life: Life
  readonly #proposals: ApplyQueue
  readonly #reads: ReadQueue
  readonly judging: Judging
  readonly #judge: Judge
  readonly #resultCodec: GuardedResultCodec<unknown>
  readonly #mailbox: Mailbox
  /** Made after this. */
  readonly #local: ServingParts['local']
  readonly #slabs = new PayloadSlabs()
  readonly #customers = new Set<Customer>()

  constructor(parts: ServingParts) {
    this.#core = parts.core
    this.#life = parts.life
    this.#proposals = parts.proposals
    this.#reads = parts.reads
    this.judging = new Judging(parts.codec, parts.mailbox)
    this.#judge = judgeOfPeers(parts.codec)
    this.#resultCodec = parts.resultCodec
    this.#mailbox = parts.mailbox
    this.#local = parts.local
  }

  /** Commands and questions of peers that have no answer yet. */
  get count(): number {
    let count = 0
    for (const { commandsDue, readsDue } of this.#customers) count += commandsDue + readsDue
    return count
  }

  /** A peer has opened a channel, and its first word was one of forwarding. */
  onChannel(channel: Channel): ChannelHandlers {
    const customer = new Customer(channel, this.#resultCodec, this.#judge)
    const reader = new ForwardReader()
    this.#customers.add(customer)
    const onFrame = (frame: Uint8Array): void => {
      const message = reader.read(frame)
      if (message === 'more') return
      if (message?.type === 'commands') this.take(customer, message)
      else if (message?.type === 'read') this.#read(customer, message)
      else return this.#leave(customer, 'it makes no sense, or came damaged')
      this.#mailbox.schedule()
    }
    const onClosed = (): void => this.#forget(customer)
    return { onFrame, onClosed }
  }

  /** Everything that was answered since leaves. Hot path: once per turn. */
  flush(): void {
    for (const customer of this.#customers) customer.flush()
  }

  close(reason: string): void {
    this.flush()
    for (const customer of this.#customers) this.#leave(customer, reason)
  }

  /** Takes commands into the log of this server, which leads; whoever has them is told what becomes of each. */
  // Hot path: once per message.
  take(customer: Customer, message: ForwardedCommands): void {
    const refusal = this.#refusal ?? customer.refusal(message.commands.length)
    if (refusal !== null) return refuseAll(customer, message, refusal)
    this.judging.judge(customer, message, (judged, refusals) => this.#takeJudged(customer, judged, refusals))
  }

  #takeJudged(customer: Customer, message: ForwardedCommands, refusals: Refusals): void {
    const { kind, firstId, commands } = message
    // It may have taken a while.
    const refusal = this.#refusal
    if (refusal !== null) return refuseAll(customer, message, refusal)
    const ids: number[] = []
    const payloads: Payload[] = []
    for (let at = 0; at < commands.length; at += 1) {
      const error = refusals?.[at] ?? null
      if (error === null) {
        ids.push(firstId + at)
        payloads.push(this.#slabs.copy(commands[at] as Uint8Array))
      } else customer.failed(firstId + at, error)
    }
    if (ids.length === 0) return
    const batch = new CommandBatch(kind, payloads, ids, customer)
    const error = this.#proposals.add(batch)
    if (error !== null) batch.reject(error)
  }

  /**
   * While the lease holds, what is committed here now is all that anybody was told of, and nobody is asked. Whoever
   * does not know of all of it hears of it by a round, and would wait for a heartbeat without one.
   */
  #read(customer: Customer, { id, committed }: ReadQuestion): void {
    const refusal = this.#refusal ?? customer.readRefusal()
    const { commitIndex } = this.#core.log
    const isKnown = committed !== null && committed >= commitIndex
    if (refusal === null && isKnown && this.#local().holdsLease()) return customer.readAt(id, commitIndex)
    const read = new FarRead(id, customer)
    const error = refusal ?? this.#reads.add(read)
    if (error !== null) read.reject(error)
  }

  get #refusal(): RaftError | null {
    if (this.#life.refusal !== null) return notLeader(null)
    return this.#core.role === 'leader' ? null : notLeader(this.#core.leader)
  }

  #leave(customer: Customer, reason: string): void {
    customer.channel.close(reason)
    this.#forget(customer)
  }

  /** What of it is under way goes on: it may be in the log. */
  #forget(customer: Customer): void {
    customer.isGone = true
    this.#customers.delete(customer)
  }
}

type ReadQuestion = Extract<ForwardMessage, { readonly type: 'read' }>

const NO_PLACE = logIndex(0)
const NO_TERM = termOf(0)

/** Whoever asks on one channel. */
export class Customer implements Judged {
  readonly channel: Channel
  readonly judge: Judge
  judging: Promise<void> | null = null
  readonly #codec: GuardedResultCodec<unknown>
  /** Nobody is there to be answered. */
  isGone = false
  commandsDue = 0
  readsDue = 0
  /** Not sent yet. */
  #answers: ForwardAnswer[] = []
  #answerBytes = 0
  #readAnswers: ForwardMessage[] = []

  constructor(channel: Channel, codec: GuardedResultCodec<unknown>, judge: Judge) {
    this.channel = channel
    this.judge = judge
    this.#codec = codec
  }

  refusal(count: number): RaftError | null {
    if (this.commandsDue + count > SERVED_COUNT_MAX) {
      return overloaded(
        `${this.commandsDue} forwarded commands have no answer yet, and the bound is ${SERVED_COUNT_MAX}`,
      )
    }
    const { queuedBytes } = this.channel
    if (queuedBytes <= ANSWERS_QUEUED_BYTES_MAX) return null
    return overloaded(`${queuedBytes} bytes of answers wait to be sent, and the bound is ${ANSWERS_QUEUED_BYTES_MAX}`)
  }

  readRefusal(): RaftError | null {
    if (this.readsDue < READS_SERVED_MAX) return null
    return overloaded(`${this.readsDue} forwarded reads have no answer yet, which is the bound`)
  }

  // Hot path: once per command.
  applied(id: number, index: LogIndex, term: Term, result: unknown): void {
    if (this.isGone) return
    if (result instanceof NoAnswer && result.reason !== null) return this.failed(id, noAnswer(result))
    try {
      this.#answer({ id, index, term, result: result instanceof NoAnswer ? null : this.#codec.encode(result) })
    } catch (error) {
      if (!(error instanceof RaftError)) throw error
      this.#answer({ id, error })
    }
  }

  failed(id: number, error: RaftError): void {
    if (!this.isGone) this.#answer({ id, error })
  }

  /** Of what was no command. */
  answered(id: number, answer: Uint8Array): void {
    if (!this.isGone) this.#answer({ id, index: NO_PLACE, term: NO_TERM, result: answer })
  }

  readAt(id: number, index: LogIndex): void {
    if (!this.isGone) this.#readAnswers.push({ type: 'readAt', id, index })
  }

  readFailed(id: number, error: RaftError): void {
    if (!this.isGone) this.#readAnswers.push({ type: 'readFailed', id, error })
  }

  flush(): void {
    this.#flushAnswers()
    if (this.#readAnswers.length === 0) return
    const answers = this.#readAnswers
    this.#readAnswers = []
    for (const answer of answers) this.#send(answer)
  }

  #answer(answer: ForwardAnswer): void {
    this.#answers.push(answer)
    if ('result' in answer) this.#answerBytes += answer.result?.length ?? 0
    if (this.#answers.length >= BATCH_COUNT_MAX || this.#answerBytes >= BATCH_BYTES_MAX) this.#flushAnswers()
  }

  #flushAnswers(): void {
    if (this.#answers.length === 0) return
    const answers = this.#answers
    this.#answers = []
    this.#answerBytes = 0
    this.#send({ type: 'answers', answers })
  }

  #send(message: ForwardMessage): void {
    for (const frame of encodeForward(message)) this.channel.send(frame)
  }
}

/** The commands of one message, in one append; each is answered by itself. */
class CommandBatch extends ProposalCall {
  /** By position: what the customer calls them. */
  readonly #ids: readonly number[]
  readonly #customer: Customer
  /** Those that have an answer are the first ones: a call is completed in its order. */
  #answered = 0

  constructor(kind: CommandKind, payloads: readonly Payload[], ids: readonly number[], customer: Customer) {
    super(kind, payloads)
    this.#ids = ids
    this.#customer = customer
    customer.commandsDue += ids.length
    // It is told by `reject`.
    this.promise.catch(ignore)
  }

  override complete(position: number, result: unknown, index: LogIndex): void {
    this.#answered += 1
    this.#customer.commandsDue -= 1
    this.#customer.applied(this.#ids[position] as number, index, this.term, result)
    super.complete(position, undefined, index)
  }

  /** What is not in the log was not applied, whatever became of the rest. */
  override reject(error: unknown): void {
    const { accepted } = this
    super.reject(error)
    if (!(error instanceof RaftError)) throw error
    const customer = this.#customer
    for (let at = this.#answered; at < this.count; at += 1) {
      customer.failed(this.#ids[at] as number, asHeardAfar(error, at < accepted ? error.outcome : 'not-applied'))
    }
    customer.commandsDue -= this.count - this.#answered
    this.#answered = this.count
  }
}

/** A question of a peer: how far must it be to read now? */
class FarRead extends PendingCall<LogIndex> {
  readonly #id: number
  readonly #customer: Customer

  constructor(id: number, customer: Customer) {
    super()
    this.#id = id
    this.#customer = customer
    customer.readsDue += 1
    // It is told by `reject`.
    this.promise.catch(ignore)
  }

  override resolve(index: LogIndex): void {
    this.#customer.readsDue -= 1
    this.#customer.readAt(this.#id, index)
    super.resolve(index)
  }

  override reject(error: unknown): void {
    super.reject(error)
    if (!(error instanceof RaftError)) throw error
    this.#customer.readsDue -= 1
    this.#customer.readFailed(this.#id, asHeardAfar(error, 'not-applied'))
  }
}

/**
 * That this server closes or has halted is nothing that a caller elsewhere can do anything about: it leads no more.
 */
const OF_THIS_SERVER: ReadonlySet<string> = new Set([
  ...['ERR_RAFT_CLOSED', 'ERR_RAFT_APPLY_FAILED', 'ERR_RAFT_STORE_CORRUPT', 'ERR_RAFT_STORE_POISONED'],
])

export function asHeardAfar(error: RaftError, outcome: Outcome): RaftError {
  const { code, message, retryable, leader } = error
  if (OF_THIS_SERVER.has(code)) return outcome === 'not-applied' ? notLeader(null) : leadershipLost(outcome)
  if (outcome === error.outcome) return error
  if (code === 'ERR_RAFT_LEADERSHIP_LOST') return notLeader(leader)
  return new RaftError(code, message, { outcome, retryable, leader })
}

function ignore(): void {}
