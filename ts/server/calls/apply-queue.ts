/**
 * Every proposal from the call to its outcome: first waiting for the next batch, then accepted under an index.
 *
 * Invariants: each proposal is settled exactly once. Accepted proposals have ascending indexes, all proposed by this
 * server in the leadership that its core is in, or committed before that ended.
 */

import type { Outcome, RaftError } from '../../errors.js'
import type { BlockWriter, Payload, Seal } from '../../format/block.js'
import { NO_PAYLOAD } from '../../format/payload.js'
import { logIndex } from '../../types.js'
import type { Block, LogIndex, Term } from '../../types.js'
import { overloaded } from '../refusals.js'
import type { ErrorOf } from '../refusals.js'
import { PendingCall } from './pending-call.js'

/** Waiting proposals, in number and in bytes: above that `apply` answers OVERLOADED. */
const WAITING_COUNT_MAX = 8192
const WAITING_BYTES_MAX = 16 * 1024 * 1024

/** A call with one or more commands; resolved when the last of them is applied. */
export class ProposalCall extends PendingCall<readonly unknown[]> {
  /** At least one of its commands is in the log: the outcome of a failure is unknown. */
  accepted = false
  readonly #queue: ApplyQueue
  /** By position in the call; filled as its entries are applied. */
  readonly #results: unknown[]
  /** Results that are still missing. */
  #left: number

  constructor(queue: ApplyQueue, count: number) {
    super()
    this.#queue = queue
    this.#results = new Array<unknown>(count)
    this.#left = count
  }

  complete(position: number, result: unknown): void {
    this.#results[position] = result
    this.#left -= 1
    if (this.#left === 0) this.resolve(this.#results)
  }

  protected override abandoned(): Outcome {
    return this.#queue.withdraw(this)
  }
}

export interface Proposal {
  readonly kind: 'command' | 'barrier'
  /** Empty once it is sealed into a block. */
  payload: Payload
  readonly call: ProposalCall
  /** Which of the call's results is this one's. */
  readonly position: number
  /** 0 while it waits. */
  index: LogIndex
}

/** Where a batch is to be sealed, and the clock for its entries. */
export interface BatchPlace {
  /** The index of the batch's first entry: the one after the log's last. */
  readonly first: LogIndex
  readonly term: Term
  /** What the core takes now, in bytes of payload: the rest waits. */
  readonly bytesMax: number
  /** Entry times: not below that of the entry before. */
  readonly time: number
}

export class ApplyQueue {
  /** In the order of their calls; `#waitingBytes` is the sum of their payloads. */
  #waiting: Proposal[] = []
  #waitingBytes = 0
  /** By ascending index; slots below `#head` are settled, and hold nothing any more. */
  #accepted: (Proposal | undefined)[] = []
  #head = 0

  get waitingCount(): number {
    return this.#waiting.length
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  get acceptedCount(): number {
    return this.#accepted.length - this.#head
  }

  /** All or none of them. Returns the refusal when there is no room. */
  add(proposals: readonly Proposal[]): RaftError | null {
    let bytes = 0
    for (const proposal of proposals) bytes += proposal.payload.byteLength
    if (this.#waiting.length + proposals.length > WAITING_COUNT_MAX || this.#waitingBytes + bytes > WAITING_BYTES_MAX) {
      const waiting = `${this.#waiting.length} commands with ${this.#waitingBytes} bytes are waiting`
      return overloaded(`${waiting}; the bounds are ${WAITING_COUNT_MAX} and ${WAITING_BYTES_MAX}`)
    }
    for (const proposal of proposals) this.#waiting.push(proposal)
    this.#waitingBytes += bytes
    return null
  }

  /** Takes out what still waits of a call whose caller gave up. */
  withdraw(call: ProposalCall): Outcome {
    for (const proposal of this.#waiting) if (proposal.call === call) this.#waitingBytes -= proposal.payload.byteLength
    this.#waiting = this.#waiting.filter((proposal) => proposal.call !== call)
    return call.accepted ? 'unknown' : 'not-applied'
  }

  /** Hot path: once per batch. Seals what waits, in order, into blocks; what does not fit waits on. */
  seal(place: BatchPlace, writer: BlockWriter, seal: Seal): readonly Block[] {
    const blocks: Block[] = []
    let bytes = 0
    let index: number = place.first
    let taken = 0
    writer.begin(place.first, place.term)
    for (const proposal of this.#waiting) {
      if (bytes > 0 && bytes + proposal.payload.byteLength > place.bytesMax) break
      if (!writer.addPayload(proposal.kind, place.time, proposal.payload)) {
        blocks.push(writer.finish(seal))
        writer.begin(logIndex(index), place.term)
        writer.addPayload(proposal.kind, place.time, proposal.payload)
      }
      proposal.index = logIndex(index)
      proposal.call.accepted = true
      this.#accepted.push(proposal)
      bytes += proposal.payload.byteLength
      proposal.payload = NO_PAYLOAD
      index += 1
      taken += 1
    }
    if (writer.count > 0) blocks.push(writer.finish(seal))
    this.#waiting = taken === this.#waiting.length ? [] : this.#waiting.slice(taken)
    this.#waitingBytes -= bytes
    return blocks
  }

  /** Whether the command at this index was proposed here, and its caller still waits. */
  isAwaited(index: LogIndex): boolean {
    let from = this.#head
    let to = this.#accepted.length
    while (from < to) {
      const middle = (from + to) >>> 1
      const proposal = this.#accepted[middle]
      if (proposal?.index === index) return !proposal.call.settled
      if (proposal === undefined || proposal.index < index) from = middle + 1
      else to = middle
    }
    return false
  }

  /** Entries up to `last` are applied; `resultAt` gives the state machine's answer to a command. */
  complete(last: LogIndex, resultAt: (index: LogIndex) => unknown): void {
    for (;;) {
      const proposal = this.#accepted[this.#head]
      if (proposal === undefined || proposal.index > last) break
      this.#accepted[this.#head] = undefined
      this.#head += 1
      const result = proposal.kind === 'command' ? resultAt(proposal.index) : proposal.index
      proposal.call.complete(proposal.position, result)
    }
    if (this.#head === this.#accepted.length) {
      this.#accepted = []
      this.#head = 0
    } else if (this.#head > WAITING_COUNT_MAX) {
      this.#accepted = this.#accepted.slice(this.#head)
      this.#head = 0
    }
  }

  /** Accepted proposals above `index` are given up: what becomes of them is unknown. */
  failAccepted(index: LogIndex, makeError: ErrorOf): void {
    while (this.acceptedCount > 0) {
      const proposal = this.#accepted.at(-1)
      if (proposal === undefined || proposal.index <= index) return
      this.#accepted.pop()
      proposal.call.reject(makeError('unknown'))
    }
  }

  /** What waits is given up: never appended, unless an earlier part of the same call was. */
  failWaiting(makeError: ErrorOf): void {
    const waiting = this.#waiting
    this.#waiting = []
    this.#waitingBytes = 0
    for (const { call } of waiting) {
      if (!call.settled) call.reject(makeError(call.accepted ? 'unknown' : 'not-applied'))
    }
  }
}
