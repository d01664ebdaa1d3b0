/**
 * Calls of this thread on their way through a server of another one, each from its promise to its one outcome. Results
 * of commands are made here, so a proposal is settled when the state machine of this thread has answered its last
 * command; the other thread tells of those that fail.
 */

import { RaftError } from '../../errors.js'
import type { Outcome } from '../../errors.js'
import type { Abortable, Signals } from '../calls/signals.js'
import type { ProposalKind } from '../calls/apply-queue.js'
import type { WaitOptions } from '../calls/pending-call.js'
import { aborted } from '../refusals.js'

/** Gives a call up over there; what becomes of it comes as its outcome. */
export type CallOff = (id: number) => void

/** What a signal ends. The outcome is told by the other thread, the reason is of this one. */
export class Aborting implements Abortable {
  readonly #id: number
  readonly #callOff: CallOff
  #reason: { readonly reason: unknown } | null = null

  constructor(id: number, callOff: CallOff) {
    this.#id = id
    this.#callOff = callOff
  }

  abort(reason: unknown): void {
    this.#reason ??= { reason }
    this.#callOff(this.#id)
  }

  /** The error, with the reason that the signal had. */
  told(error: unknown): unknown {
    if (this.#reason === null || !(error instanceof RaftError) || error.code !== 'ERR_RAFT_ABORTED') return error
    return aborted(error.outcome, this.#reason.reason)
  }
}

/** What ends a call that has not begun; null for nothing. */
export function abortedBefore(options: WaitOptions | undefined): RaftError | null {
  return options?.signal?.aborted === true ? aborted('not-applied', options.signal.reason) : null
}

/** One that is tagged: the state machine's answers to its commands come by `applied`. */
export interface TaggedCall {
  applied(result: unknown): void
}

export class NearProposal implements TaggedCall {
  readonly promise: Promise<readonly unknown[]>
  readonly kind: ProposalKind
  readonly count: number
  /** Null once the call is settled; both go together. */
  #resolve: ((results: readonly unknown[]) => void) | null = null
  #reject: ((error: unknown) => void) | null = null
  /** In the order of its commands; null while there is none. */
  #results: unknown[] | null = null
  /** Null: no signal may end it. */
  #aborting: Aborting | null = null
  /** Called once, when the call is settled. */
  readonly #over: (call: NearProposal) => void
  #disarm: (() => void) | null = null
  readonly tag: number

  constructor(
    tag: number,
    { kind, count }: { readonly kind: ProposalKind; readonly count: number },
    over: (call: NearProposal) => void,
  ) {
    this.tag = tag
    this.kind = kind
    this.count = count
    this.#over = over
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  arm(signal: AbortSignal, signals: Signals, callOff: CallOff): void {
    const aborting = new Aborting(this.tag, callOff)
    this.#aborting = aborting
    signals.add(signal, aborting)
    this.#disarm = () => signals.remove(signal, aborting)
  }

  /** In the order of its commands. */
  applied(result: unknown): void {
    const results = (this.#results ??= [])
    results.push(result)
    if (results.length === this.count) this.#end()?.(results)
  }

  reject(error: unknown): void {
    const reject = this.#reject
    this.#end()
    reject?.(this.#aborting?.told(error) ?? error)
  }

  #end(): ((results: readonly unknown[]) => void) | null {
    const resolve = this.#resolve
    if (resolve === null) return null
    this.#resolve = null
    this.#reject = null
    this.#disarm?.()
    this.#over(this)
    return resolve
  }
}

/** A submitted command: where it stands is told by the other thread, its result is made here or comes as bytes. */
export class NearSubmission implements TaggedCall {
  /** Null: the state machine of this thread has answered to no command of it. */
  kept: { readonly result: unknown } | null = null

  applied(result: unknown): void {
    this.kept = { result }
  }
}

/** Asks that change something: what they came to is unknown when nobody is left to tell. */
const IN_DOUBT: ReadonlySet<string> = new Set(['submit', 'change', 'replace', 'transferLeadership', 'stepDown'])

export const outcomeOf = (ask: string): Outcome => (IN_DOUBT.has(ask) ? 'unknown' : 'not-applied')
