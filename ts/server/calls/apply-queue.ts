/**
 * Every proposal from the call to its outcome: first waiting for the next batch, then accepted under an index.
 *
 * Invariants: each call is settled exactly once. Accepted proposals have ascending indexes, all proposed by this server
 * in the leadership that its core is in. What waits of a call that has ended is neither kept nor counted.
 */

import type { Outcome, RaftError } from '../../errors.js'
import type { BlockWriter, Payload, Seal } from '../../format/block.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, LogIndex, Term } from '../../types.js'
import { overloaded, tooLarge } from '../refusals.js'
import type { ErrorOf } from '../refusals.js'
import { PendingCall } from './pending-call.js'
import type { Room } from './pending-call.js'
import { WaitingList } from './waiting-list.js'
import type { Member } from './waiting-list.js'

/** Waiting proposals, in number and in bytes: above that `apply` answers OVERLOADED. One list never has more. */
const WAITING_COUNT_MAX = 8192
const WAITING_BYTES_MAX = 16 * 1024 * 1024
/**
 * Accepted proposals without an outcome: above that no more are taken into the log. Small ones cost more than their
 * bytes: each has a caller.
 */
const ACCEPTED_COUNT_MAX = 65_536

const NONE: readonly Payload[] = []

/** `session`: commands whose payloads begin with a session header. */
export type CommandKind = 'command' | 'session'

export type ProposalKind = CommandKind | 'barrier'

/** A call with one or more commands; resolved when the last of them is applied. */
export class ProposalCall extends PendingCall<readonly unknown[]> implements Member {
  place = -1
  readonly kind: ProposalKind
  /** By which another thread knows the call; 0 for none. */
  readonly tag: number
  readonly count: number
  /**
   * How many of its commands are in the log, in their order; moved by `ApplyQueue.seal` alone, up to `count`. When any
   * is, the outcome of a failure is unknown.
   */
  accepted = 0
  /** In which its commands entered the log, and the index of the last one that was applied; 0 before. */
  term: Term = termOf(0)
  index: LogIndex = logIndex(0)
  /** The bytes of the others: less by each one that is sealed. */
  waitingBytes = 0
  /** By position in the call; those below `accepted` are released. Empty once none of them waits. */
  payloads: readonly Payload[]
  /** By position in the call; filled as its entries are applied. */
  readonly #results: unknown[]
  /** Results that are still missing. */
  #left: number

  constructor(kind: ProposalKind, payloads: readonly Payload[], tag = 0, isTold = true) {
    super(isTold)
    this.kind = kind
    this.tag = tag
    this.count = payloads.length
    this.payloads = payloads
    this.#results = new Array<unknown>(payloads.length)
    this.#left = payloads.length
    for (const payload of payloads) this.waitingBytes += payload.byteLength
  }

  /** However it ends, what of it is not in the log goes no further: its room has let go of it by then. */
  override reject(error: unknown): void {
    const { payloads } = this
    this.payloads = NONE
    for (let at = this.accepted; at < payloads.length; at += 1) payloads[at]?.slab.release()
    super.reject(error)
  }

  complete(position: number, result: unknown, index: LogIndex): void {
    this.#results[position] = result
    this.index = index
    this.#left -= 1
    if (this.#left === 0) this.resolve(this.#results)
  }
}

/** Commands of one call that entered the log together. */
interface AcceptedRun {
  readonly call: ProposalCall
  /** Which of the call's commands has the index `first`: both grow together as results come. */
  position: number
  /** The first one without a result. */
  first: number
  /** Falls when a leadership ends that has not committed all of them; never below `first`. */
  last: number
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

export class ApplyQueue implements Room<readonly unknown[]> {
  /** In the order in which they came. Of the first one a part may be in the log. */
  readonly #waiting = new WaitingList<ProposalCall>()
  /** Commands and bytes of `#waiting` that are not in the log: 0 when it is empty. */
  #waitingCount = 0
  #waitingBytes = 0
  /** Something was refused for its bytes, and nothing has left since. Then something waits. */
  #isFull = false
  /** By ascending index; slots below `#head` are settled, and hold nothing any more. */
  #accepted: (AcceptedRun | undefined)[] = []
  #head = 0
  /** The commands of all runs in `#accepted`. */
  #acceptedCount = 0

  /** Commands that wait. */
  get waitingCount(): number {
    return this.#waitingCount
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Whether everything is refused until something has left. */
  get isFull(): boolean {
    return this.#isFull
  }

  /** Commands in the log that have no outcome yet. */
  get acceptedCount(): number {
    return this.#acceptedCount
  }

  /** So many commands have no outcome yet that no more are to be sealed. */
  get holdsMost(): boolean {
    return this.#acceptedCount >= ACCEPTED_COUNT_MAX
  }

  /**
   * Why so much is not taken now: it never fits, or not before something has left. Asked before more is encoded: what
   * is refused costs at most one command that was encoded in vain for each time that something left.
   */
  refusal(count: number, bytes: number): RaftError | null {
    if (count > WAITING_COUNT_MAX) {
      return tooLarge(`the list has ${count} commands, at most ${WAITING_COUNT_MAX} are taken at once`)
    }
    if (bytes > WAITING_BYTES_MAX) {
      return tooLarge(`the list has ${bytes} bytes or more, at most ${WAITING_BYTES_MAX} are taken at once`)
    }
    if (this.#waitingBytes + bytes > WAITING_BYTES_MAX) this.#isFull = true
    if (!this.#isFull && this.#waitingCount + count <= WAITING_COUNT_MAX) return null
    const waiting = `${this.#waitingCount} commands with ${this.#waitingBytes} bytes are waiting`
    return overloaded(`${waiting}; the bounds are ${WAITING_COUNT_MAX} and ${WAITING_BYTES_MAX}`)
  }

  /** All of its commands or none. Returns the refusal when there is no room. */
  add(call: ProposalCall): RaftError | null {
    const refusal = this.refusal(call.count, call.waitingBytes)
    if (refusal !== null) return refusal
    call.enter(this)
    this.#waiting.push(call)
    this.#waitingCount += call.count
    this.#waitingBytes += call.waitingBytes
    return null
  }

  /** Takes out what still waits of a call whose caller gave up. */
  withdraw(call: ProposalCall): Outcome {
    if (this.#waiting.remove(call)) {
      this.#waitingCount -= call.count - call.accepted
      this.#waitingBytes -= call.waitingBytes
      this.#isFull = false
    }
    return call.accepted > 0 ? 'unknown' : 'not-applied'
  }

  /** Hot path: once per batch. Seals what waits, in order, into blocks; what does not fit waits on. */
  seal(place: BatchPlace, writer: BlockWriter, seal: Seal): readonly Block[] {
    const blocks: Block[] = []
    let bytes = 0
    let index: number = place.first
    writer.begin(place.first, place.term)
    for (let call = this.#waiting.first; call !== undefined; call = this.#waiting.first) {
      const { kind, payloads, accepted: position } = call
      const first = index
      for (let payload = payloads[position]; payload !== undefined; payload = payloads[call.accepted]) {
        if (bytes > 0 && bytes + payload.byteLength > place.bytesMax) break
        if (!writer.addPayload(kind, place.time, payload)) {
          blocks.push(writer.finish(seal))
          writer.begin(logIndex(index), place.term)
          writer.addPayload(kind, place.time, payload)
        }
        call.accepted += 1
        call.waitingBytes -= payload.byteLength
        // The writer has it until the block is finished, and nothing is copied into its slab before that.
        payload.slab.release()
        bytes += payload.byteLength
        index += 1
      }
      if (index > first) {
        call.term = place.term
        this.#accepted.push({ call, position, first, last: index - 1 })
      }
      if (call.accepted < call.count) break
      call.payloads = NONE
      this.#waiting.remove(call)
    }
    if (writer.count > 0) blocks.push(writer.finish(seal))
    this.#moved(index - place.first, bytes)
    return blocks
  }

  /** The tag of the call of this server that waits for the command at this index; null for nobody. */
  tagAt(index: LogIndex): number | null {
    let from = this.#head
    let to = this.#accepted.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if ((this.#accepted[middle]?.last ?? 0) < index) from = middle + 1
      else to = middle
    }
    const run = this.#accepted[from]
    return run !== undefined && run.first <= index && !run.call.settled ? run.call.tag : null
  }

  /** Entries up to `last` are applied; `resultAt` gives the state machine's answer to a command. */
  complete(last: LogIndex, resultAt: (index: LogIndex) => unknown): void {
    for (;;) {
      const run = this.#accepted[this.#head]
      if (run === undefined || run.first > last) break
      this.#completeRun(run, Math.min(run.last, last), resultAt)
      if (run.first <= run.last) break
      this.#accepted[this.#head] = undefined
      this.#head += 1
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
    for (let run = this.#accepted.at(-1); run !== undefined && run.last > index; run = this.#accepted.at(-1)) {
      this.#giveUp(run.call, makeError, 'unknown')
      this.#acceptedCount -= run.last - Math.max(run.first - 1, index)
      if (run.first <= index) run.last = index
      else this.#accepted.pop()
    }
  }

  /**
   * All accepted proposals that are left are committed, and are not waited for: they are applied here or elsewhere, and
   * their answers are lost.
   */
  failCommitted(makeError: ErrorOf): void {
    const runs = this.#accepted.slice(this.#head)
    this.#accepted = []
    this.#head = 0
    this.#acceptedCount = 0
    for (const run of runs) {
      if (run === undefined) continue
      const { call } = run
      this.#giveUp(call, makeError, call.accepted === call.count ? 'applied' : 'unknown')
    }
  }

  /** What waits is given up: never appended, unless an earlier part of the same call was. */
  failWaiting(makeError: ErrorOf): void {
    for (let call = this.#waiting.first; call !== undefined; call = this.#waiting.first) {
      const outcome = this.withdraw(call)
      if (!call.settled) call.reject(makeError(outcome))
    }
  }

  /** What still waits of the call goes with it. */
  #giveUp(call: ProposalCall, makeError: ErrorOf, outcome: Outcome): void {
    if (call.settled) return
    this.withdraw(call)
    call.reject(makeError(outcome))
  }

  #moved(count: number, bytes: number): void {
    this.#waitingCount -= count
    this.#waitingBytes -= bytes
    this.#acceptedCount += count
    if (count > 0) this.#isFull = false
  }

  /** Hot path: once per run of a batch. */
  #completeRun(run: AcceptedRun, last: number, resultAt: (index: LogIndex) => unknown): void {
    const { call } = run
    for (let index = run.first; index <= last; index += 1) {
      const result = call.kind === 'barrier' ? index : resultAt(logIndex(index))
      call.complete(run.position, result, logIndex(index))
      run.position += 1
    }
    this.#acceptedCount -= last + 1 - run.first
    run.first = last + 1
  }
}
