/**
 * In the worker thread, what answers the thread of the user: the server runs here. Its calls come as asks, each with
 * the deadline and the signal that it was given; proposals come many at a time, and only those that fail are told.
 */

import { RaftError } from '../../errors.js'
import { isBytes } from '../../foreign-values.js'
import type { RaftEvents } from '../../observe/events.js'
import type { Metric } from '../../observe/metric.js'
import type { LogIndex } from '../../types.js'
import { ProposalCall } from '../calls/apply-queue.js'
import { ChangeCall } from '../calls/change-queue.js'
import type { WaitOptions } from '../calls/pending-call.js'
import type { Server } from '../server.js'
import { unpackProposals } from './batches.js'
import type { FarCall, FarProposals } from './batches.js'
import { FarResult } from './far-machine.js'
import type { MachineLine } from './far-machine.js'
import { owned } from './line.js'
import type { AskHandlers, NewsHandlers } from './line.js'
import type { ErrorWire } from './wire-error.js'
import type { FactName, FarFacts, FarWait, ToServer } from './words.js'

/** So many proposals, or so many bytes of them, are told to be taken before anything else is said. */
const TAKEN_COUNT = 1024
const TAKEN_BYTES = 1024 * 1024

/** Exports that are remembered; the server itself serves fewer at a time. */
const EXPORTS_MAX = 16

/** Every event but this one, which is told with its entries in the thread that has them. */
const TOLD: readonly (keyof RaftEvents)[] = [
  ...([
    'leader',
    'role',
    'peer',
    'refused',
    'snapshot',
    'configuration',
    'removed',
    'repair',
    'stall',
    'fault',
  ] as const),
]

type CallAsks = Omit<AskHandlers<ToServer>, 'open' | 'close' | 'restoreNext'>
type CallNews = Omit<NewsHandlers<ToServer>, 'newsTaken'>

/** A call of the other thread: it has its results there, and nobody waits for its promise here. */
class FarProposal extends ProposalCall {
  readonly #line: MachineLine
  readonly #errors: ErrorWire
  readonly #over: (tag: number) => void

  constructor({ tag, kind, payloads }: FarCall, line: MachineLine, errors: ErrorWire, over: (tag: number) => void) {
    super(kind, payloads, tag, false)
    this.#line = line
    this.#errors = errors
    this.#over = over
  }

  override resolve(results: readonly unknown[]): void {
    super.resolve(results)
    this.#over(this.tag)
    if (this.kind === 'barrier') this.#line.tell('barrier', { tag: this.tag, index: results[0] as LogIndex })
  }

  override reject(error: unknown): void {
    const { settled } = this
    super.reject(error)
    if (settled) return
    this.#over(this.tag)
    if (!(error instanceof RaftError)) throw error
    this.#line.tell('rejected', { tag: this.tag, error: this.#errors.encode(error) })
  }
}

/** The server, as the other thread asks for it. */
export class FarServer {
  readonly #server: Server
  readonly #line: MachineLine
  readonly #errors: ErrorWire
  /** Tells an event; false when too many wait. */
  readonly #tellEvent: (name: string, event: unknown) => void
  /** By id or tag: what gives a call up. */
  readonly #aborts = new Map<number, AbortController>()
  readonly #exports = new Map<number, AsyncGenerator<Uint8Array, void, undefined>>()
  readonly #ends: (() => void)[] = []
  #takenCount = 0
  #takenBytes = 0
  #hearsApplied = false
  #isMeasured = false

  constructor(server: Server, line: MachineLine, errors: ErrorWire, tellEvent: (name: string, event: unknown) => void) {
    this.#server = server
    this.#line = line
    this.#errors = errors
    this.#tellEvent = tellEvent
    for (const name of TOLD) this.#ends.push(server.on(name, (event) => this.#tellEvent(name, event)))
  }

  /** What may be looked at. */
  fact(name: FactName): unknown {
    return this.#errors.encodeIn(this.#factOf(name))
  }

  get facts(): FarFacts {
    const names: FactName[] = ['status', 'configuration', 'entryTime', 'health']
    // They begin to measure when somebody asks for them.
    if (this.#isMeasured) names.push('metrics')
    return Object.fromEntries(names.map((name) => [name, this.fact(name)])) as FarFacts
  }

  get asked(): CallAsks {
    const server = this.#server
    return {
      readIndex: (arg, id) => this.#waiting(arg, id, (wait) => server.readIndex(wait)),
      leaseRead: (arg, id) => this.#waiting(arg, id, (wait) => server.leaseRead(nothing, wait)),
      query: (arg, id) => this.#waiting(arg, id, (wait) => this.#query(arg, wait)),
      ready: (arg, id) => this.#waiting(arg, id, (wait) => server.ready(wait)),
      waitForLeader: (arg, id) => this.#waiting(arg, id, (wait) => server.any.waitForLeader(wait)),
      submit: (arg, id) => this.#waiting(arg, id, (wait) => this.#submit(arg, id, wait)),
      snapshot: (arg, id) => this.#waiting(arg, id, (wait) => server.snapshot(wait)),
      transferLeadership: (arg, id) => this.#waiting(arg, id, (wait) => server.transferLeadership(arg.to, wait)),
      stepDown: () => server.stepDown(),
      change: (arg, id) =>
        this.#waiting(arg, id, (wait) => server.change(new ChangeCall(arg.request, arg.voter), wait)),
      replace: (arg, id) => this.#waiting(arg, id, (wait) => server.replace(arg.replacement, wait)),
      exportBegin: (arg, id) => this.#exportBegin(arg, id),
      exportNext: (id) => this.#exportNext(id),
      exportEnd: (id) => this.#exportEnd(id),
    }
  }

  get told(): CallNews {
    return {
      proposals: (proposals) => this.#propose(proposals),
      abort: (id) => this.#aborts.get(id)?.abort(),
      hearsApplied: () => this.#hearApplied(),
      watchDropped: () => this.#server.watchDropped(),
    }
  }

  close(): void {
    for (const end of this.#ends) end()
  }

  // Hot path: once per message.
  #propose(proposals: FarProposals): void {
    unpackProposals(proposals, this.#proposeOne)
    this.#takenCount += proposals.lengths.length
    this.#takenBytes += proposals.bytes.length
    if (this.#takenCount < TAKEN_COUNT && this.#takenBytes < TAKEN_BYTES) return
    this.#line.tell('proposalsTaken', { count: this.#takenCount, bytes: this.#takenBytes })
    this.#takenCount = 0
    this.#takenBytes = 0
  }

  async #submit(
    { kind, bytes, retry }: ToServer['asks']['submit']['arg'],
    tag: number,
    wait: WaitOptions | undefined,
  ): Promise<ToServer['asks']['submit']['answer']> {
    const { index, term, result } = await this.#server.any.propose({ kind, bytes, retry, tag }, wait)
    const said = result instanceof FarResult ? result.bytes : null
    return { index, term, result: isBytes(said) ? said : null }
  }

  async #query({ consistency }: ToServer['asks']['query']['arg'], wait: WaitOptions | undefined): Promise<void> {
    await this.#server.any.query(nothing, { ...wait, consistency })
  }

  #exportBegin(wait: FarWait, id: number): number {
    // Whoever has left one unread comes no more.
    for (const old of this.#exports.keys()) if (this.#exports.size >= EXPORTS_MAX) void this.#exportEnd(old)
    this.#exports.set(id, this.#server.exportSnapshot(this.#waitOf(wait, id)))
    return id
  }

  async #exportNext(id: number): Promise<Uint8Array | null> {
    const next = await this.#exports.get(id)?.next()
    return next === undefined || next.done === true ? null : owned(next.value)
  }

  async #exportEnd(id: number): Promise<void> {
    const bytes = this.#exports.get(id)
    this.#exports.delete(id)
    this.#aborts.delete(id)
    await bytes?.return()
  }

  async #waiting<Answer>(
    wait: FarWait,
    id: number,
    call: (wait: WaitOptions | undefined) => Answer | Promise<Answer>,
  ): Promise<Answer> {
    try {
      return await call(this.#waitOf(wait, id))
    } finally {
      this.#aborts.delete(id)
    }
  }

  #waitOf({ timeoutMs = 0, hasSignal = false }: FarWait, id: number): WaitOptions | undefined {
    if (timeoutMs === 0 && !hasSignal) return undefined
    const timed = timeoutMs === 0 ? {} : { timeoutMs }
    if (!hasSignal) return timed
    const controller = new AbortController()
    this.#aborts.set(id, controller)
    return { ...timed, signal: controller.signal }
  }

  // Hot path: once per call.
  readonly #proposeOne = (call: FarCall): void => {
    const proposal = new FarProposal(call, this.#line, this.#errors, this.#over)
    void this.#server.proposeCall(proposal, this.#waitOf(call, call.tag))
  }

  readonly #over = (tag: number): void => void this.#aborts.delete(tag)

  #hearApplied(): void {
    if (this.#hearsApplied) return
    this.#hearsApplied = true
    const tell = ({ first, last, replaying }: RaftEvents['applied']): void =>
      this.#tellEvent('applied', { first, last, replaying })
    this.#ends.push(this.#server.on('applied', tell))
  }

  #factOf(name: FactName): unknown {
    switch (name) {
      case 'status':
        return this.#server.status
      case 'configuration':
        return this.#server.configuration
      case 'entryTime':
        return this.#server.entryTime
      case 'health':
        return this.#server.health
      case 'metrics':
        this.#isMeasured = true
        return this.#server.metrics satisfies readonly Metric[]
    }
  }
}

function nothing(): void {}
