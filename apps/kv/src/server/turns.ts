/**
 * When clients are served. What has arrived from all of them in one turn of the event loop is begun at its end, and
 * handed over together; what settles at once leaves with one write per client. Whoever asks is served once, however
 * often it asks, in the order of asking.
 *
 * A list of who has asked, and no more: nobody is called while asking, so that every room may ask at any time.
 */

import { CUT_SLICE_MS, FLUSH_SLICE_MS, RUN_SLICE_MS, WORK_BY_LOOK } from '../limits.js'
import type { KvClock } from './clock.js'

/** What is done for a client in a turn. */
export interface Served {
  /** Begins what may begin. */
  run(): void
  /** Writes what is ready. */
  flush(): void
}

export class Turns {
  readonly #clock: Pick<KvClock, 'now' | 'defer' | 'afterPromises'>
  readonly #endTurn: () => void
  #toRun: ClientTurn[] = []
  #toFlush: ClientTurn[] = []
  #waitingForRoom = new Set<ClientTurn>()
  #waitingForLeader = new Set<ClientTurn>()
  #isAsked = false
  #isFlushAsked = false
  #isClosed = false
  /** When no more commands begin in this turn. */
  #end = 0
  /** What was begun since the clock was looked at. */
  #work = 0
  /** When no more commands are cut out of what comes before the turn; null: none were yet. */
  #cutEnd: number | null = null

  /** `clock`: its `now` is the uptime of the server. `endTurn` hands over what the clients have begun. */
  constructor(clock: Pick<KvClock, 'now' | 'defer' | 'afterPromises'>, endTurn: () => void) {
    this.#clock = clock
    this.#endTurn = endTurn
  }

  /** Clients that wait: for their turn, to be written to, for room, or for a leader. */
  get count(): number {
    return this.#toRun.length + this.#toFlush.length + this.#waitingForRoom.size + this.#waitingForLeader.size
  }

  /** Asks for a turn, whether or not there is a client to run in it. */
  ask(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#clock.defer(this.#runTurn)
  }

  toRun(turn: ClientTurn): void {
    this.#toRun.push(turn)
    this.ask()
  }

  toFlush(turn: ClientTurn): void {
    this.#toFlush.push(turn)
    if (this.#isFlushAsked) return
    this.#isFlushAsked = true
    this.#clock.afterPromises(this.#flush)
  }

  waitForRoom(turn: ClientTurn): void {
    this.#waitingForRoom.add(turn)
  }

  waitForLeader(turn: ClientTurn): void {
    this.#waitingForLeader.add(turn)
  }

  /** There is room for commands again. */
  roomIsBack(): void {
    if (this.#waitingForRoom.size === 0) return
    const waiting = this.#waitingForRoom
    this.#waitingForRoom = new Set()
    for (const turn of waiting) turn.askRun()
  }

  /** The leadership has changed, or is not waited for any longer. */
  leadershipChanged(): void {
    const waiting = this.#waitingForLeader
    this.#waitingForLeader = new Set()
    for (const turn of waiting) turn.askRun()
  }

  forget(turn: ClientTurn): void {
    this.#waitingForRoom.delete(turn)
    this.#waitingForLeader.delete(turn)
  }

  /** A turn that was asked for will not come. */
  close(): void {
    this.#isClosed = true
  }

  readonly #runTurn = (): void => {
    this.#isAsked = false
    this.#cutEnd = null
    if (this.#isClosed) return
    this.#end = this.#clock.now() + RUN_SLICE_MS
    const turns = this.#toRun
    this.#toRun = []
    const unserved = this.#serve(turns, this.#end, run)
    // They are the first of the next turn, before those that had not finished.
    if (unserved.length > 0) this.#toRun = [...unserved, ...this.#toRun]
    if (this.#toRun.length > 0) this.ask()
    this.#endTurn()
  }

  /** Whether there is time before the turn to cut commands out of what has come; else it is done in the turn. */
  mayCut(now: number): boolean {
    this.#cutEnd ??= now + CUT_SLICE_MS
    return now < this.#cutEnd
  }

  /** Whether another command may begin in this turn, after so much work. */
  mayBegin(work: number): boolean {
    this.#work += work
    if (this.#work < WORK_BY_LOOK) return true
    this.#work = 0
    return this.#clock.now() < this.#end
  }

  /** Writes to as many clients as there is time for; the next turn begins with the others. */
  readonly #flush = (): void => {
    const end = this.#clock.now() + FLUSH_SLICE_MS
    const turns = this.#toFlush
    this.#toFlush = []
    const unserved = this.#serve(turns, end, flush)
    if (unserved.length > 0) this.#toFlush = [...unserved, ...this.#toFlush]
    this.#isFlushAsked = this.#toFlush.length > 0
    if (this.#isFlushAsked) this.#clock.defer(this.#flush)
  }

  /**
   * Serves the first, and the others while there is time; answers with those that were not served. The clock is looked
   * at after each: one may have commands that take long, or an answer of megabytes.
   */
  #serve(turns: readonly ClientTurn[], end: number, serve: (turn: ClientTurn) => void): readonly ClientTurn[] {
    for (const [at, turn] of turns.entries()) {
      serve(turn)
      if (at + 1 < turns.length && this.#clock.now() >= end) return turns.slice(at + 1)
    }
    return []
  }
}

const run = (turn: ClientTurn): void => turn.run()
const flush = (turn: ClientTurn): void => turn.flush()

/** The place of one client in the turns. */
export class ClientTurn {
  readonly #turns: Turns
  readonly #client: Served
  #isToRun = false
  #isToFlush = false

  constructor(turns: Turns, client: Served) {
    this.#turns = turns
    this.#client = client
  }

  /** Asks for `run` at the end of this turn. */
  askRun(): void {
    if (this.#isToRun) return
    this.#isToRun = true
    this.#turns.toRun(this)
  }

  /** Asks for `flush` once everything that settles now has settled. */
  askFlush(): void {
    if (this.#isToFlush) return
    this.#isToFlush = true
    this.#turns.toFlush(this)
  }

  /** Whether there is time to cut commands out of what has come `now`, by the uptime of the server. */
  mayCut(now: number): boolean {
    return this.#turns.mayCut(now)
  }

  /** So much has begun. False: this turn has lasted long enough; `run` comes in the next one. */
  mayGoOn(work: number): boolean {
    if (this.#turns.mayBegin(work)) return true
    this.askRun()
    return false
  }

  /** Asks for `run` when there is room for commands again. */
  waitForRoom(): void {
    this.#turns.waitForRoom(this)
  }

  /** Asks for `run` when the leadership has changed, or is not waited for any longer. */
  waitForLeader(): void {
    this.#turns.waitForLeader(this)
  }

  /** The client is gone: it waits for nothing any longer. */
  end(): void {
    this.#turns.forget(this)
  }

  run(): void {
    this.#isToRun = false
    this.#client.run()
  }

  flush(): void {
    this.#isToFlush = false
    this.#client.flush()
  }
}
