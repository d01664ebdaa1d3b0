/**
 * What is asked of a client, from the call to its outcome, as bytes: waits for the turn, in which all that has come
 * leaves in one message, and is tried again where that can do no harm.
 *
 * Invariants: each call ends once, however its server ends. What is under way is bounded in number and in bytes, also
 * while it waits for its next try. There is one timer for all deadlines.
 */

import { RaftError } from '../errors.js'
import type { LeaderHint, Outcome } from '../errors.js'
import { Deadlines } from '../server/calls/deadlines.js'
import { PendingCall } from '../server/calls/pending-call.js'
import type { Room, WaitOptions } from '../server/calls/pending-call.js'
import { Signals } from '../server/calls/signals.js'
import { Waiters } from '../server/calls/waiters.js'
import { WaitingList } from '../server/calls/waiting-list.js'
import type { Consistency, Submission } from '../server/forward/any-server.js'
import { Trying } from '../server/forward/trying.js'
import type { Retry } from '../server/forward/trying.js'
import { overloaded } from '../server/refusals.js'
import { Mailbox } from '../server/turn/mailbox.js'
import { TurnTimer } from '../server/turn/turn-timer.js'
import type { Clock } from '../types.js'
import { Connector } from './connector.js'
import type { ClientDialler } from './connector.js'
import { RemoteCall } from './link.js'
import type { Asked, Link, RemoteAnswer } from './link.js'
import type { ConnectionSettings } from './options.js'

/** Commands and queries under way in one client, and their bytes; above that they are refused. */
export const UNDER_WAY_COUNT_MAX = 8192
export const UNDER_WAY_BYTES_MAX = 8 * 1024 * 1024

export class Calls implements Room<RemoteAnswer> {
  readonly #clock: Clock
  readonly #connector: Connector
  readonly #mailbox: Mailbox
  readonly #timer: TurnTimer
  readonly #deadlines = new Deadlines()
  readonly #signals = new Signals()
  /** Not sent yet, in the order in which they came. */
  readonly #waiting = new WaitingList<RemoteCall>()
  readonly #leaders = new Waiters<LeaderHint>('a leader')
  readonly #links = new Waiters<Link>('a server')
  readonly #commands: Trying
  readonly #queries: Trying
  #count = 0
  #bytes = 0
  #closing: Promise<void> | null = null

  constructor(settings: ConnectionSettings, dialler: ClientDialler) {
    const { clock, random } = settings
    this.#clock = clock
    this.#mailbox = new Mailbox(clock)
    this.#mailbox.serve(() => this.#turn())
    this.#timer = new TurnTimer(clock, this.#mailbox)
    this.#connector = new Connector({
      ...settings,
      dialler,
      moved: () => this.#mailbox.schedule(),
      failed: (error, isFinal) => this.#unreached(error, isFinal),
    })
    // Commands go on with another leader, queries with another server.
    this.#commands = new Trying(clock, random, {
      current: () => this.#connector.link?.leader?.id ?? null,
      next: (other, options) => this.#wait(this.#leaders, other, options),
    })
    this.#queries = new Trying(clock, random, {
      current: () => this.#connector.link?.address ?? null,
      next: (other, options) => this.#wait(this.#links, other, options),
    })
    this.#connector.start()
  }

  get link(): Link | null {
    return this.#connector.link
  }

  /** As of a Connector. */
  renew(): void {
    this.#connector.renew()
  }

  /** How much stands in each room: 0 in all of them when nothing is asked. */
  get counts() {
    const waits = this.#leaders.count + this.#links.count
    return {
      underWay: this.#count,
      bytes: this.#bytes,
      waits,
      deadlines: this.#deadlines.count,
      signals: this.#signals.count,
    }
  }

  /** By address: why it is not connected, as the last dial of it or the last link to it ended. */
  get failures(): Readonly<Record<string, string>> {
    return Object.fromEntries([...this.#connector.failures].map(([address, { reason }]) => [address, reason]))
  }

  /** Resolves when a server is connected. */
  async connected(options: WaitOptions): Promise<void> {
    try {
      await this.#wait(this.#links, null, options)
    } catch (error) {
      if (!(error instanceof RaftError) || error.code !== 'ERR_RAFT_TIMEOUT') throw error
      throw this.#connector.unreachable
    }
  }

  /** Resolves with whoever leads, as the server that is asked knows, once anybody does. */
  waitForLeader(options: WaitOptions | undefined): Promise<LeaderHint> {
    return this.#wait(this.#leaders, null, options)
  }

  /** Throws why so many bytes more are not taken now. Asked before anything is encoded, with 0. */
  checkRoom(bytes: number): void {
    if (this.#closing !== null) throw closed('not-applied')
    if (this.#count < UNDER_WAY_COUNT_MAX && this.#bytes + bytes <= UNDER_WAY_BYTES_MAX) return
    const bounds = `${UNDER_WAY_COUNT_MAX} and ${UNDER_WAY_BYTES_MAX}`
    throw overloaded(
      `${this.#count} calls with ${this.#bytes} bytes are under way in this client; the bounds are ${bounds}`,
    )
  }

  command({ kind, bytes, retry }: Submission, options: WaitOptions | undefined): Promise<RemoteAnswer> {
    const asked = { kind, bytes }
    return this.#counted(asked, this.#commands, options, retry)
  }

  query(bytes: Uint8Array, consistency: Consistency, options: WaitOptions): Promise<RemoteAnswer> {
    const asked = { kind: 'query', bytes, consistency } as const
    return this.#counted(asked, this.#queries, options, 'safe')
  }

  withdraw(call: RemoteCall): Outcome {
    if (this.#waiting.remove(call)) return 'not-applied'
    for (const link of this.#connector.links) if (link.forget(call)) break
    return outcomeOf(call.asked.kind)
  }

  /** Every call ends. Resolves when no socket is left. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#mailbox.close()
    this.#timer.stop()
    for (const call of this.#takeWaiting()) call.reject(closed('not-applied'))
    this.#leaders.failAll(closed('not-applied'))
    this.#links.failAll(closed('not-applied'))
    await this.#connector.close('the client closes', (kind) => closed(outcomeOf(kind)))
  }

  /** Hot path: once per turn. */
  #turn(): void {
    const now = this.#clock.now()
    this.#deadlines.expire(now)
    this.#connector.turn(now)
    const { link } = this.#connector
    if (link !== null) {
      this.#links.settle(link.address, link)
      if (link.leader !== null) this.#leaders.settle(link.leader.id, link.leader)
    }
    const calls = this.#takeWaiting()
    if (link !== null) link.send(calls, now)
    else for (const call of calls) call.reject(this.#connector.unreachable)
    this.#timer.arm(this.#deadlines.nextAt)
  }

  // Hot path: once per call.
  async #counted(asked: Asked, trying: Trying, options: WaitOptions | undefined, retry: Retry): Promise<RemoteAnswer> {
    const { bytes } = asked
    this.checkRoom(bytes.length)
    this.#count += 1
    this.#bytes += bytes.length
    try {
      return await trying.run(this.#once, asked, options, retry)
    } finally {
      this.#count -= 1
      this.#bytes -= bytes.length
    }
  }

  readonly #once = (asked: Asked, options: WaitOptions | undefined): Promise<RemoteAnswer> => {
    const { timeoutMs } = options ?? {}
    const call = new RemoteCall(asked, timeoutMs === undefined ? null : this.#clock.now() + timeoutMs)
    if (!this.#begin(call, options)) return call.promise
    call.enter(this)
    this.#waiting.push(call)
    this.#mailbox.schedule()
    return call.promise
  }

  #wait<Value>(waiters: Waiters<Value>, other: string | null, options: WaitOptions | undefined): Promise<Value> {
    const call = new PendingCall<Value>()
    if (!this.#begin(call, options)) return call.promise
    const refusal = waiters.add(call, other)
    if (refusal === null) this.#mailbox.schedule()
    else call.reject(refusal)
    return call.promise
  }

  /** False: the call has ended before it began. */
  #begin<Value>(call: PendingCall<Value>, options: WaitOptions | undefined): boolean {
    if (this.#closing !== null) call.reject(closed('not-applied'))
    else if (options !== undefined) {
      call.arm(options, { deadlines: this.#deadlines, signals: this.#signals }, this.#clock.now())
      this.#timer.arm(this.#deadlines.nextAt)
    }
    return !call.settled
  }

  /** Whom time alone does not help is told so at once. */
  #unreached(error: RaftError, isFinal: boolean): void {
    if (!isFinal) return
    this.#links.failAll(error)
    this.#leaders.failAll(error)
  }

  #takeWaiting(): readonly RemoteCall[] {
    const calls: RemoteCall[] = []
    for (let call = this.#waiting.first; call !== undefined; call = this.#waiting.first) {
      this.#waiting.remove(call)
      calls.push(call)
    }
    return calls
  }
}

/** Of what was sent and not answered: a query changes nothing. */
function outcomeOf(kind: Asked['kind']): Outcome {
  return kind === 'query' ? 'not-applied' : 'unknown'
}

function closed(outcome: Outcome): RaftError {
  const what = outcome === 'unknown' ? 'the command may still be applied' : 'nothing was appended'
  return new RaftError('ERR_RAFT_CLOSED', `this client is closed; ${what}`, { outcome })
}
