/**
 * Entries whose block a read has found damaged: they are asked of the other members, the leader first, and put in the
 * place of the damaged block while this server runs. Only what is proven to be the same is put there (`wanted.ts`);
 * what nobody can give is named with what each of them said. Nothing is truncated, and the log says of itself what it
 * said.
 *
 * Invariants: one repair is under way at a time, and it asks one server at a time. What nobody waits for ends soon, so
 * at rest there is none.
 */

import type { RaftCore } from '../../core/raft-core.js'
import { isOurs, RaftError } from '../../errors.js'
import type { EntryRange } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import type { Events } from '../../observe/events.js'
import type { LogStore } from '../../storage/log-store.js'
import { QuietLog } from '../../transport/quiet-log.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { Transport } from '../../transport/transport.js'
import { logIndex } from '../../types.js'
import type { Block, CancelTimer, Clock, Identity, Logger, LogIndex, ServerId } from '../../types.js'
import { Asking } from './asking.js'
import type { Answer } from './asking.js'
import { Givings } from './giving.js'
import { isSame, wantedOf } from './wanted.js'
import type { Wanted } from './wanted.js'

/** Damaged blocks of which this server knows at once; of others it hears again. */
const REPAIRS_MAX = 16
/** When all were asked in vain they are asked again after this, twice as long after each further time. */
const RETRY_MS = 200
const RETRY_MS_MAX = 5000
/** So long the state machine waits, and the members are asked. */
const REPAIR_MS_MAX = 60_000
/** Where nobody waits they are asked so often, and what came to nothing is not begun again before that long. */
const ROUNDS_MAX = 4
const REST_MS = 10_000
/** A server that ends so many channels without a word knows no repairs. */
const SILENCES_MAX = 3

export interface RepairsParts {
  readonly identity: Identity
  readonly core: RaftCore
  readonly store: LogStore
  readonly transport: Transport
  readonly isConnected: (peer: ServerId) => boolean
  readonly clock: Clock
  readonly events: Events
  readonly logger: Logger
}

export interface RepairStatus {
  /** Damaged blocks that were replaced since this server was opened. */
  readonly count: number
  /** Those that are known to be damaged, and that others are asked for. */
  readonly underWay: number
  /** Why the last one that came to nothing did; null while none has. */
  readonly failure: string | null
}

interface Repair {
  readonly range: EntryRange
  /** Who waits for it; empty: nobody, and reads meet the damage again. */
  readonly waiting: ((failure: string | null) => void)[]
  readonly answers: Map<ServerId, { reason: string; isFinal: boolean; silences: number }>
  /** When others were first asked, and when they are next. */
  begunAt: number
  dueAt: number
  /** In vain. */
  rounds: number
}

export class Repairs {
  readonly #identity: Identity
  readonly #core: RaftCore
  readonly #store: LogStore
  readonly #transport: Transport
  readonly #isConnected: (peer: ServerId) => boolean
  readonly #clock: Clock
  readonly #events: Events
  readonly #logger: Logger
  readonly #quiet: QuietLog
  readonly #givings: Givings
  /** By first entry, in the order in which they came. */
  readonly #repairs = new Map<LogIndex, Repair>()
  /** By first entry of what came to nothing: when it may begin again. */
  readonly #resting = new Map<LogIndex, number>()
  #asking: Asking | null = null
  /** From the first question until the store has what came of it. */
  #isUnderWay = false
  #count = 0
  #failure: string | null = null
  #cancelTimer: CancelTimer | null = null
  #isClosed = false

  constructor(parts: RepairsParts) {
    this.#identity = parts.identity
    this.#core = parts.core
    this.#store = parts.store
    this.#transport = parts.transport
    this.#isConnected = parts.isConnected
    this.#clock = parts.clock
    this.#events = parts.events
    this.#logger = parts.logger
    this.#quiet = new QuietLog(parts.logger)
    const { clusterId } = parts.identity
    this.#givings = new Givings({ clusterId, log: parts.core.log, store: parts.store })
  }

  get status(): RepairStatus {
    return { count: this.#count, underWay: this.#repairs.size, failure: this.#failure }
  }

  /** Repairs here, and entries on their way to peers. */
  get counts(): { readonly repairs: number; readonly givings: number } {
    return { repairs: this.#repairs.size, givings: this.#givings.count }
  }

  /** A read for a peer has failed so, and is tried again by whoever wants it. */
  noticed(error: unknown): void {
    if (!(error instanceof RaftError) || error.damaged === null || !this.#canRepair) return
    if ((this.#resting.get(error.damaged.first) ?? 0) <= this.#clock.now()) this.#begin(error.damaged, null)
  }

  /**
   * A read that this server cannot do without has failed so. Resolves when it may be tried again. Rejects with the
   * error, which then says who was asked, and what they said.
   */
  repaired(error: RaftError): Promise<void> {
    const { damaged } = error
    if (damaged === null || !this.#canRepair) return Promise.reject(error)
    return new Promise((resolve, reject) => {
      const settle = (failure: string | null): void => {
        if (failure === null) resolve()
        else reject(unrepaired(error, damaged, failure))
      }
      if (!this.#begin(damaged, settle)) reject(error)
    })
  }

  /** A peer has opened a channel, and its first word was one of repairs. */
  onChannel(channel: Channel): ChannelHandlers {
    return this.#givings.onChannel(channel)
  }

  /** Nothing is asked or given any more. Who waits is told nothing: this server ends. */
  close(reason: string): void {
    this.#isClosed = true
    this.#cancelTimer?.()
    this.#asking?.end(reason)
    this.#asking = null
    this.#repairs.clear()
    this.#givings.close(reason)
  }

  get #canRepair(): boolean {
    return this.#store.repair !== undefined && this.#transport.openChannel !== undefined && !this.#isClosed
  }

  /** `settle`: who waits for it. It may end before this returns. False: too much is damaged. */
  #begin(range: EntryRange, settle: Repair['waiting'][number] | null): boolean {
    const waiting = settle === null ? [] : [settle]
    const known = this.#repairs.get(range.first)
    known?.waiting.push(...waiting)
    if (known !== undefined) return true
    if (this.#repairs.size >= REPAIRS_MAX) return false
    const now = this.#clock.now()
    const repair: Repair = { range, waiting, answers: new Map(), begunAt: now, dueAt: now, rounds: 0 }
    this.#repairs.set(range.first, repair)
    this.#resting.delete(range.first)
    this.#logger.warn('repair.begun', { ...range, reason: 'their block is not what was written: others are asked' })
    this.#events.emit('repair', { what: 'begun', ...range, from: null, reason: null })
    this.#next()
    return true
  }

  /** What somebody waits for comes first. */
  #next(): void {
    // The timer may be that of the one that is under way.
    if (this.#isUnderWay || this.#isClosed) return
    this.#cancelTimer?.()
    this.#cancelTimer = null
    if (this.#repairs.size === 0) return
    const now = this.#clock.now()
    const due = [...this.#repairs.values()].filter(({ dueAt }) => dueAt <= now)
    const repair = due.find(({ waiting }) => waiting.length > 0) ?? due[0]
    if (repair !== undefined) return repair.rounds === 0 ? this.#ask(repair, this.#others()) : this.#readAgain(repair)
    const dueAt = Math.min(...[...this.#repairs.values()].map((each) => each.dueAt))
    this.#cancelTimer = this.#clock.setTimer(dueAt - now, () => this.#next())
  }

  /** A disk, or a memory, may have failed once: what can be read by now is not asked for again. */
  #readAgain(repair: Repair): void {
    const wanted = wantedOf(this.#core.log, repair.range)
    if (wanted === null) return this.#end(repair, null)
    this.#isUnderWay = true
    this.#store.read(wanted.first, logIndex(wanted.first + 1), 1).then(
      () => {
        if (!this.#isClosed) this.#end(repair, null)
      },
      (error: unknown) => {
        if (isOurs(error) && !(error instanceof RaftError)) throw error
        if (!this.#isClosed) this.#ask(repair, this.#others())
      },
    )
  }

  /** The leader first: it has whatever is committed. */
  #others(): readonly ServerId[] {
    const leader = this.#core.leader?.id
    const ids = this.#core.contacts.map(({ id }) => id).filter((id) => id !== this.#identity.serverId)
    return ids.toSorted((a, b) => Number(b === leader) - Number(a === leader))
  }

  #ask(repair: Repair, peers: readonly ServerId[]): void {
    const wanted = wantedOf(this.#core.log, repair.range)
    // It is no longer in the log: there is nothing to read either.
    if (wanted === null) return this.#end(repair, null)
    const [peer, ...rest] = peers
    if (peer === undefined) return this.#inVain(repair)
    if (repair.answers.get(peer)?.isFinal === true) return this.#ask(repair, rest)
    if (!this.#isConnected(peer)) {
      this.#note(repair, peer, { type: 'silent', wasOpen: false, reason: 'it is not connected' })
      return this.#ask(repair, rest)
    }
    this.#isUnderWay = true
    this.#asking = new Asking({
      ...{ clusterId: this.#identity.clusterId, peer, wanted, transport: this.#transport, clock: this.#clock },
      verify: (block) => this.#store.verify(block),
      answered: (answer) => {
        this.#asking = null
        if (answer.type === 'given') return this.#put(repair, wanted, peer, answer.blocks, rest)
        this.#note(repair, peer, answer)
        this.#ask(repair, rest)
      },
    })
  }

  #note({ answers, range }: Repair, peer: ServerId, answer: Exclude<Answer, { readonly type: 'given' }>): void {
    const { reason } = answer
    const isSilent = answer.type === 'silent' && answer.wasOpen
    const silences = (answers.get(peer)?.silences ?? 0) + Number(isSilent)
    const isFinal = answer.type === 'refused' ? !answer.again : silences >= SILENCES_MAX
    answers.set(peer, { reason, isFinal, silences })
    this.#quiet.warn('repair.not-given', `${peer} ${range.first}`, reason, { peer, ...range })
  }

  /** The log may have become another one while they came; the store looks again. */
  #put(repair: Repair, wanted: Wanted, peer: ServerId, blocks: readonly Block[], rest: readonly ServerId[]): void {
    const now = wantedOf(this.#core.log, repair.range)
    if (now === null || !isSame(now, wanted)) return this.#end(repair, null)
    const repaired = this.#store.repair?.(wanted.first, wanted.last, blocks) ?? Promise.resolve(false)
    repaired.then(
      (isReplaced) => {
        if (this.#isClosed) return
        if (isReplaced) {
          this.#replaced(wanted, peer)
          return this.#end(repair, null)
        }
        // It is whole, or gone, or the part of the store that has it is behind: to be read again in a moment.
        this.#cancelTimer = this.#clock.setTimer(RETRY_MS, () => this.#end(repair, null))
      },
      (error: unknown) => {
        if (this.#isClosed) return
        if (!(error instanceof RaftError)) throw error
        repair.answers.set(peer, { reason: `it gave them, and ${textOf(error)}`, isFinal: false, silences: 0 })
        this.#ask(repair, rest)
      },
    )
  }

  #replaced({ first, last }: Wanted, peer: ServerId): void {
    this.#count += 1
    this.#logger.info('repair.done', { first, last, peer })
    this.#events.emit('repair', { what: 'repaired', first, last, from: peer, reason: null })
  }

  /** All were asked. Those that may say something else by then are asked again. */
  #inVain(repair: Repair): void {
    const others = this.#others()
    const isRefused = others.every((id) => repair.answers.get(id)?.isFinal === true)
    const now = this.#clock.now()
    const isLate = now - repair.begunAt >= REPAIR_MS_MAX
    const isTired = repair.waiting.length === 0 && repair.rounds + 1 >= ROUNDS_MAX
    if (isRefused || isLate || isTired) {
      const said = others.map((id) => `${id}: ${repair.answers.get(id)?.reason ?? 'not asked'}`)
      return this.#end(repair, said.length === 0 ? 'there is no other member' : said.join('; '))
    }
    repair.dueAt = now + Math.min(RETRY_MS * 2 ** repair.rounds, RETRY_MS_MAX)
    repair.rounds += 1
    this.#isUnderWay = false
    this.#next()
  }

  #end(repair: Repair, failure: string | null): void {
    const { first, last } = repair.range
    this.#repairs.delete(first)
    this.#isUnderWay = false
    if (failure !== null) this.#failed(first, last, failure)
    for (const settle of repair.waiting) settle(failure)
    this.#next()
  }

  #failed(first: LogIndex, last: LogIndex, reason: string): void {
    this.#failure = `entries ${first} .. ${last}: ${reason}`
    const [oldest] = this.#resting.keys()
    if (this.#resting.size >= REPAIRS_MAX && oldest !== undefined) this.#resting.delete(oldest)
    this.#resting.set(first, this.#clock.now() + REST_MS)
    this.#logger.error('repair.failed', { first, last, reason })
    this.#events.emit('repair', { what: 'failed', first, last, from: null, reason })
  }
}

function unrepaired(error: RaftError, { first, last }: EntryRange, failure: string): RaftError {
  const message = `${error.message} Nobody could give the entries ${first} .. ${last} that were there: ${failure}. Bring back a member that has them, then start this server again`
  return new RaftError(error.code, message, { outcome: error.outcome, damaged: error.damaged, cause: error })
}
