/** One command of a client, from its arrival until its answer is written. */

import { keySlot } from '../../cluster/slots.js'
import { firstKeyOf, keysOf } from '../../commands/command-keys.js'
import type { CommandRow } from '../../commands/command-table.js'
import type { KeyWalk } from '../../data-set/key-walk.js'
import type { DataSet } from '../../data-set/data-set.js'
import { WORD_GROWTH_BYTES } from '../../data-set/item.js'
import { WORK_BY_LOOK } from '../../limits.js'
import type { ProtocolVersion } from '../../resp/reply-encoder.js'
import type { ErrorReply, Reply } from '../../resp/reply.js'
import type { Leadership } from '../leadership.js'
import { isForLeader, readFailure, writeFailure } from '../raft-answers.js'
import type { Proposal, Read } from '../turn-batch.js'
import type { Walker } from '../walks.js'
import { isCurrent, type Consistency } from './read-mode.js'

/** What a command that is under way reports to. */
export interface CommandOwner {
  /** The client is gone. */
  readonly isGone: boolean
  /** The command is to be carried out by a walk that begins soon, by this server's own time when `isStale`. */
  walk(command: ClientCommand, keyWalk: KeyWalk, isStale: boolean): void
  /** A write of it was applied; it stands at `index` in the log, or before. */
  wrote(index: number): void
  /** The answer is there. */
  settled(command: ClientCommand): void
}

// Hot path: one object per command, and no other that lives as long. Plain fields: private ones cost 7 % of a pipelined
// SET when they are made.
export class ClientCommand implements Proposal, Read, Walker {
  readonly owner: CommandOwner
  readonly leadership: Leadership
  /** Undefined: there is no such command. */
  readonly row: CommandRow | undefined
  readonly words: string[]
  /** Why it is refused whatever it is: it was over a bound, and its words were not kept. */
  readonly refusal: ErrorReply | null
  /** Counts what the client has sent; set once, on arrival. */
  place = 0
  /** What its words take; set once, on arrival. */
  bytes = 0
  /** What else is kept for it while it is under way: the commands of its transaction. */
  alongBytes = 0
  /** Of its answer: expected ones until it is known. */
  answerBytes = 0
  /** How the answer is written; null: not at all (CLIENT REPLY). Set once, when the command begins. */
  version: ProtocolVersion | null = null
  /** Undefined until it is known. */
  reply: Reply | undefined = undefined
  /** What the data set must hold when it reads. */
  consistency: Consistency = 'linearizable'
  /** Whether it is under way as a read, and holds up the client's writes behind it. */
  isRead = false
  /** Whether it is under way as a write. */
  isWrite = false

  constructor(
    owner: CommandOwner,
    leadership: Leadership,
    row: CommandRow | undefined,
    words: string[],
    refusal: ErrorReply | null = null,
  ) {
    this.owner = owner
    this.leadership = leadership
    this.row = row
    this.words = words
    this.refusal = refusal
  }

  get keys(): readonly string[] | null {
    return this.row === undefined || this.row.firstKey === 0 ? null : keysOf(this.row, this.words)
  }

  /** As `WORK_BY_LOOK` counts it. What names no keys may look at many, or list what it knows. */
  get work(): number {
    return this.row?.type === 'data' && this.row.firstKey > 0 ? this.bytes : WORK_BY_LOOK
  }

  get growthMax(): number {
    return this.row?.type === 'data' && this.row.grows ? this.words.length * WORD_GROWTH_BYTES : 0
  }

  get slot(): number {
    const key = this.row === undefined ? null : firstKeyOf(this.row, this.words)
    return key === null ? 0 : keySlot(key)
  }

  applied(reply: Reply, index: number): void {
    this.owner.wrote(index)
    this.settle(reply)
  }

  get isGone(): boolean {
    return this.owner.isGone
  }

  execute(data: DataSet, now: number): void {
    if (this.row?.type !== 'data') return this.settle(null)
    const { command } = this.row
    const isLesser = !isCurrent(this.consistency)
    if (command.walkOf !== null) return this.walk(command.walkOf(this.words), isLesser)
    const run = (at: number): Reply => command.run(data, this.words, at)
    this.settle(isLesser ? data.readAt(now, run) : run(now))
  }

  /** Carries it out by a walk. */
  walk(keyWalk: KeyWalk | ErrorReply, isStale: boolean): void {
    if ('type' in keyWalk) this.settle(keyWalk)
    else this.owner.walk(this, keyWalk, isStale)
  }

  failed(error: unknown): void {
    const explain = this.isRead ? readFailure : writeFailure
    const answer = (): void => this.settle(explain(error, this.leadership, this.slot))
    if (isForLeader(error)) this.leadership.whenKnown(answer)
    else answer()
  }

  settle(reply: Reply): void {
    this.reply = reply
    this.owner.settled(this)
  }
}
