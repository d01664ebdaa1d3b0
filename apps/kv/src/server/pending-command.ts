/** One command of a client from the moment it was begun until its answer is written; answers leave in the order of the commands. */

import { firstKeyOf, keysOf } from '../commands/command-keys.js'
import type { CommandRow } from '../commands/command-table.js'
import { keySlot } from '../cluster/slots.js'
import type { DataSet } from '../data-set/data-set.js'
import type { ProtocolVersion } from '../resp/reply-encoder.js'
import type { Reply } from '../resp/reply.js'
import type { Proposal, Read } from './turn-batch.js'

/** What a command reports to. */
export interface CommandOwner {
  /** The answer is there. */
  settled(command: PendingCommand): void
  executeRead(command: PendingCommand, data: DataSet, now: number): Reply
  /** Turns what was applied into the answer. */
  finish(command: PendingCommand, reply: Reply): Reply
  explain(command: PendingCommand, error: unknown): Reply
}

export class PendingCommand implements Proposal, Read {
  readonly owner: CommandOwner
  readonly row: CommandRow | null
  readonly words: readonly string[]
  /** How the answer is written; null: not at all (CLIENT REPLY). */
  version: ProtocolVersion | null
  /** Undefined until it is known. */
  reply: Reply | undefined = undefined
  /** Whether it is under way as a read, and holds up the client's writes behind it. */
  isRead = false

  constructor(
    owner: CommandOwner,
    request: { readonly row: CommandRow | null; readonly words: readonly string[] },
    version: ProtocolVersion | null,
  ) {
    this.owner = owner
    this.row = request.row
    this.words = request.words
    this.version = version
  }

  get keys(): readonly string[] | null {
    return this.row === null || this.row.firstKey === 0 ? null : keysOf(this.row, this.words)
  }

  get slot(): number {
    const key = this.row === null ? null : firstKeyOf(this.row, this.words)
    return key === null ? 0 : keySlot(key)
  }

  settle(reply: Reply): void {
    this.reply = reply
    this.owner.settled(this)
  }

  applied(reply: Reply): void {
    this.settle(this.owner.finish(this, reply))
  }

  execute(data: DataSet, now: number): void {
    this.settle(this.owner.executeRead(this, data, now))
  }

  failed(error: unknown): void {
    this.settle(this.owner.explain(this, error))
  }
}
