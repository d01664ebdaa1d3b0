/**
 * Who waits for whom. A client's commands take effect, and are answered, in the order in which the client sent them:
 * - Writes follow each other into the log without waiting.
 * - A read behind writes that are under way waits for them (replicator.ts says why that is enough).
 * - What another server is asked before it is read here, or is asked for less than a linearizable read, is answered in
 *   any order: of a client only the reads of one such question are under way, behind all of its writes.
 * - A read behind a walk over all keys waits for that, since a walk sees what is there when it begins, which may be
 *   later (walks.ts). Of all other reads the later one is carried out later (turn-batch.ts, expiry-clock.ts).
 * - A write behind reads that are under way waits until they have been executed. So that a pipeline of both does not
 *   stop at each turn from reads to writes, a read of single keys that has a write behind it in what has arrived goes
 *   into the log like a write, and is answered in its place there: on the leader alone, as answers that travel are
 *   bounded.
 * - A call (RAFT, WAIT) waits for all before it, and all but what is answered at once waits for it.
 * - A command that steers the connection waits for the reads before it, as a write does. Not WATCH, which is a read
 *   itself, nor MULTI, which only begins. EXEC with watched keys waits for the client's own writes too: only when they
 *   are applied is it known whether they touched such a key.
 *
 * What has begun stands among the answers (client-answers.ts) in the order in which it began, so what need not wait for
 * anything may be answered at once.
 */

import { callOf, type CommandRow, type ControlName } from '../../commands/command-table.js'
import type { KeyWalk } from '../../data-set/key-walk.js'
import { ENTRY_BYTES_MAX } from '../../limits.js'
import { commandBytes } from '../../replication/entry-codec.js'
import type { Leadership } from '../leadership.js'
import type { Replicator } from '../replicator.js'
import type { Proposal, Read, TurnBatch } from '../turn-batch.js'
import type { Walks } from '../walks.js'
import type { ClientTurn } from '../turns.js'
import type { ClientAnswers } from './client-answers.js'
import type { ClientCommand, CommandOwner } from './client-command.js'
import type { ClientSession } from './client-session.js'
import type { Consistency } from './read-mode.js'
import { removeFirst } from './remove-first.js'

/** What all clients share. */
export interface OrderingHost {
  readonly replicator: Pick<Replicator, 'hasRoom' | 'read' | 'turn' | 'write'>
  readonly walks: Walks
  /** By which this server judges deadlines for stale reads. */
  readonly entryTime: () => number
  readonly leadership: Pick<Leadership, 'isLeader'>
}

export class Ordering implements CommandOwner {
  readonly #shared: OrderingHost
  readonly #session: ClientSession
  readonly #turn: ClientTurn
  readonly #answers: Pick<ClientAnswers, 'settled'>
  /** Its client is; then it never begins another command. */
  isGone = false
  /** Arrived and not begun, the oldest first. */
  #waiting: ClientCommand[] = []
  /** What those take. */
  #held = 0
  #arrived = 0
  /** The place of the last that has arrived and goes into the log for sure. */
  #lastWrite = -1
  /** Invariant: as many as there are commands with `isRead`. */
  #readsUnderWay = 0
  /** Invariant: as many as there are commands with `isWrite`. */
  #writesUnderWay = 0
  /** What the reads under way have in common; null: this leader confirms them itself, in their order. */
  #question: string | null = null
  /** The one walk or call that is under way; null: none is. */
  #walk: ClientCommand | null = null
  /** Holds the client's latest write. */
  #batch: TurnBatch | null = null
  /** Bytes of the largest of the client's writes since none was under way. */
  #largestWrite = 0

  constructor(shared: OrderingHost, session: ClientSession, turn: ClientTurn, answers: Pick<ClientAnswers, 'settled'>) {
    this.#shared = shared
    this.#session = session
    this.#turn = turn
    this.#answers = answers
  }

  /** Those that have arrived and not begun; they begin from the front. */
  get waiting(): readonly ClientCommand[] {
    return this.#waiting
  }

  /** Bytes that they take. */
  get held(): number {
    return this.#held
  }

  /** Reads under way, and walks among them, before which no write begins. */
  get rooms(): Readonly<Record<'reads' | 'walks', number>> {
    return { reads: this.#readsUnderWay, walks: Number(this.#walk !== null) }
  }

  get isAnyWaiting(): boolean {
    return this.#waiting.length > 0
  }

  arrive(command: ClientCommand): void {
    command.place = this.#arrived
    if (command.row !== undefined && isWrite(command.row)) this.#lastWrite = command.place
    this.#arrived += 1
    this.#held += command.bytes
    this.#waiting.push(command)
  }

  /** The first `count` of those that waited have begun. */
  begun(count: number): void {
    for (let at = 0; at < count; at += 1) this.#held -= this.#waiting[at]?.bytes ?? 0
    removeFirst(this.#waiting, count)
  }

  /** Those that wait will not begin. */
  forgetWaiting(): void {
    this.#waiting = []
    this.#held = 0
  }

  /** False: the server has no room for a command; the client's turn comes when it has. */
  mayBegin(): boolean {
    if (this.#shared.replicator.hasRoom) return true
    this.#turn.waitForRoom()
    return false
  }

  /** Whether a command may go into the log now. */
  get mayWrite(): boolean {
    return this.#readsUnderWay === 0
  }

  /** Whether a read may be carried out as soon as it is known to have seen enough. */
  mayRead(consistency: Consistency): boolean {
    if (this.#walk !== null) return false
    if (this.#isWriting && !this.#confirms(consistency)) return false
    return this.#readsUnderWay === 0 || this.#questionOf(consistency) === this.#question
  }

  /** Whether a call may begin: one of a client at a time, behind all that it has under way. */
  get mayCall(): boolean {
    return this.#readsUnderWay === 0 && !this.#isWriting
  }

  /** Whether one is under way. */
  get isCalling(): boolean {
    return this.#walk?.row !== undefined && callOf(this.#walk.row, this.#walk.words) !== null
  }

  get #isWriting(): boolean {
    return this.#writesUnderWay > 0
  }

  /** As many bytes as any value may have that a write of this client under way will leave. */
  get writtenBytesMax(): number {
    return this.#isWriting ? this.#largestWrite : 0
  }

  /** Whether a command that steers the connection may begin now. */
  maySteer(control: ControlName, isWatching: boolean): boolean {
    if (control === 'watch') return this.mayRead('linearizable')
    if (this.#readsUnderWay > 0 && control !== 'multi') return false
    return control !== 'exec' || !isWatching || !this.#isWriting
  }

  /** Whether a read is better carried out in its place in the log: a write is behind it. */
  readsInTheLog({ row, words, place }: ClientCommand): boolean {
    if (!this.#shared.leadership.isLeader) return false
    return row !== undefined && row.firstKey > 0 && place < this.#lastWrite && commandBytes(words) <= ENTRY_BYTES_MAX
  }

  /** `owner`: the command, or what settles it. */
  write(command: ClientCommand, entry: Uint8Array, owner: Proposal = command): void {
    if (!this.#isWriting) this.#largestWrite = 0
    this.#largestWrite = Math.max(this.#largestWrite, entry.length)
    command.isWrite = true
    this.#writesUnderWay += 1
    this.#batch = this.#shared.replicator.write(entry, owner)
  }

  /** `read`: the command, or what settles it. */
  read(command: ClientCommand, read: Read = command): void {
    command.isRead = true
    this.#readsUnderWay += 1
    this.#question = this.#questionOf(read.consistency)
    if (command.row?.type === 'data' && command.row.command.walkOf !== null) this.#walk = command
    this.#shared.replicator.read(read, this.#batch)
  }

  /** A walk over what is here, which needs nobody's word that it is current, or a call: all behind it wait. */
  holdUp(command: ClientCommand): void {
    command.isRead = true
    this.#readsUnderWay += 1
    this.#walk = command
  }

  walk(command: ClientCommand, keyWalk: KeyWalk, isStale: boolean): void {
    this.#shared.walks.add(command, keyWalk, isStale ? this.#shared.entryTime : () => 0)
  }

  #questionOf(consistency: Consistency): string | null {
    return this.#confirms(consistency) ? null : `${this.#shared.replicator.turn} ${JSON.stringify(consistency)}`
  }

  /** Whether this leader confirms such reads itself, in their order. */
  #confirms(consistency: Consistency): boolean {
    return consistency === 'linearizable' && this.#shared.leadership.isLeader
  }

  wrote(index: number): void {
    this.#session.writtenIndex = Math.max(this.#session.writtenIndex, index)
  }

  settled(command: ClientCommand): void {
    this.#answers.settled(command)
    if (command.isRead) {
      command.isRead = false
      this.#readsUnderWay -= 1
      if (this.#walk === command) this.#walk = null
    }
    if (command.isWrite) {
      command.isWrite = false
      this.#writesUnderWay -= 1
    }
    if (this.isAnyWaiting) this.#turn.askRun()
    this.#turn.askFlush()
  }
}

/** Whether it goes into the log whatever stands behind it. */
function isWrite(row: CommandRow): boolean {
  return row.type === 'data' ? row.command.writes : row.type === 'control' && row.control === 'exec'
}
