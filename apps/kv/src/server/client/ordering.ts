/**
 * Who waits for whom. A client's commands take effect, and are answered, in the order in which the client sent them:
 * - Writes follow each other into the log without waiting.
 * - A read behind writes that are under way waits for them (replicator.ts says why that is enough).
 * - A read behind a walk over all keys waits for that, since a walk sees what is there when it begins, which may be
 *   later (walks.ts). Of all other reads the later one is carried out later (turn-batch.ts, expiry-clock.ts).
 * - A write behind reads that are under way waits until they have been executed. So that a pipeline of both does not
 *   stop at each turn from reads to writes, a read of single keys that has a write behind it in what has arrived goes
 *   into the log like a write, and is answered in its place there.
 * - A call of the library (RAFT) waits for the reads before it, and all but what is answered at once waits for it.
 * - A command that steers the connection waits for the reads before it, as a write does. Not WATCH, which is a read
 *   itself, nor MULTI, which only begins. EXEC with watched keys waits for the client's own writes too: only when they
 *   are applied is it known whether they touched such a key.
 *
 * What has begun stands among the answers (client-answers.ts) in the order in which it began, so what need not wait for
 * anything may be answered at once.
 */

import type { CommandRow, ControlName } from '../../commands/command-table.js'
import type { KeyWalk } from '../../data-set/key-walk.js'
import { ENTRY_BYTES_MAX } from '../../limits.js'
import { commandBytes } from '../../replication/entry-codec.js'
import type { Replicator } from '../replicator.js'
import type { Proposal, Read, TurnBatch } from '../turn-batch.js'
import type { Walks } from '../walks.js'
import type { ClientTurn } from '../turns.js'
import type { ClientAnswers } from './client-answers.js'
import type { ClientCommand, CommandOwner } from './client-command.js'
import { removeFirst } from './remove-first.js'

export class Ordering implements CommandOwner {
  readonly #replicator: Pick<Replicator, 'hasRoom' | 'read' | 'write'>
  readonly #walks: Walks
  readonly #entryTime: () => number
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
  /** The one walk or call that is under way; null: none is. */
  #walk: ClientCommand | null = null
  /** Holds the client's latest write. */
  #batch: TurnBatch | null = null
  /** Bytes of the largest of the client's writes since none was under way. */
  #largestWrite = 0

  /** `entryTime`: by which this server judges deadlines for stale reads. */
  constructor(
    replicator: Pick<Replicator, 'hasRoom' | 'read' | 'write'>,
    walks: Walks,
    entryTime: () => number,
    turn: ClientTurn,
    answers: Pick<ClientAnswers, 'settled'>,
  ) {
    this.#replicator = replicator
    this.#walks = walks
    this.#entryTime = entryTime
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
    if (this.#replicator.hasRoom) return true
    this.#turn.waitForRoom()
    return false
  }

  /** Whether a command may go into the log now. */
  get mayWrite(): boolean {
    return this.#readsUnderWay === 0
  }

  /** Whether a read may be carried out as soon as it is known to be current. */
  get mayRead(): boolean {
    return this.#walk === null
  }

  /** Whether a call of the library may begin: one of a client at a time, behind its reads. */
  get mayCall(): boolean {
    return this.#readsUnderWay === 0
  }

  get #isWriting(): boolean {
    return this.#batch !== null && this.#batch.state !== 'settled'
  }

  /** As many bytes as any value may have that a write of this client under way will leave. */
  get writtenBytesMax(): number {
    return this.#isWriting ? this.#largestWrite : 0
  }

  /** Whether a command that steers the connection may begin now. */
  maySteer(control: ControlName, isWatching: boolean): boolean {
    if (control === 'watch') return this.mayRead
    if (this.#readsUnderWay > 0 && control !== 'multi') return false
    return control !== 'exec' || !isWatching || !this.#isWriting
  }

  /** Whether a read is better carried out in its place in the log: a write is behind it. */
  readsInTheLog({ row, words, place }: ClientCommand): boolean {
    return row !== undefined && row.firstKey > 0 && place < this.#lastWrite && commandBytes(words) <= ENTRY_BYTES_MAX
  }

  /** `owner`: the command, or what settles it. */
  write(entry: Uint8Array, owner: Proposal): void {
    if (!this.#isWriting) this.#largestWrite = 0
    this.#largestWrite = Math.max(this.#largestWrite, entry.length)
    this.#batch = this.#replicator.write(entry, owner)
  }

  /** `read`: the command, or what settles it. */
  read(command: ClientCommand, read: Read = command): void {
    command.isRead = true
    this.#readsUnderWay += 1
    if (command.row?.type === 'data' && command.row.command.walkOf !== null) this.#walk = command
    this.#replicator.read(read, this.#batch)
  }

  /** A walk over what is here, which needs nobody's word that it is current, or a call: all behind it wait. */
  holdUp(command: ClientCommand): void {
    command.isRead = true
    this.#readsUnderWay += 1
    this.#walk = command
  }

  walk(command: ClientCommand, keyWalk: KeyWalk, isStale: boolean): void {
    this.#walks.add(command, keyWalk, isStale ? this.#entryTime : () => 0)
  }

  settled(command: ClientCommand): void {
    this.#answers.settled(command)
    if (command.isRead) {
      command.isRead = false
      this.#readsUnderWay -= 1
      if (this.#walk === command) this.#walk = null
    }
    if (this.isAnyWaiting) this.#turn.askRun()
    this.#turn.askFlush()
  }
}

/** Whether it goes into the log whatever stands behind it. */
function isWrite(row: CommandRow): boolean {
  return row.type === 'data' ? row.command.writes : row.type === 'control' && row.control === 'exec'
}
