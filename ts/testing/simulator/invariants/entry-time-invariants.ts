/**
 * Invariant 24: the time of entries never falls along a log, across blocks, restarts and leaders; whatever is planned
 * by it (expiry, limits by rate) is done once, and in order.
 */

import { RecordCursor, verifyBlock } from '../../../format/block.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Ready } from '../../../core/ready.js'
import type { Block } from '../../../types.js'
import type { Observer, ServerView } from '../../observer.js'
import { hold } from '../../invariants/violation.js'

export class EntryTimeInvariants implements Observer {
  /** Of each server, by index: the time of the entry that its log holds there. */
  readonly #times: number[][] = []
  readonly #cursor = new RecordCursor()

  booted(server: ServerView): void {
    const times = [0]
    this.#times[server.ordinal] = times
    // Of what has rotted nothing is known.
    for (const block of server.disk.durable.blocks) if (verifyBlock(block.data)) this.#append(server, times, block)
  }

  // Hot path: once per turn.
  decided(server: ServerView, _core: RaftCore, { ticket }: Ready): void {
    const times = this.#times[server.ordinal]
    if (ticket === null || times === undefined) return
    for (const operation of ticket.operations) {
      if (operation.type === 'truncateSuffix') times.length = operation.from
      else if (operation.type === 'append') this.#append(server, times, operation.block)
      else if (operation.type === 'compact' && !operation.keepSuffix) {
        // Another log, of which this entry alone is known.
        times.length = 0
        times[operation.snapshot.index] = operation.snapshot.time
      }
    }
  }

  #append({ id }: ServerView, times: number[], block: Block): void {
    const cursor = this.#cursor
    cursor.reset(block)
    while (cursor.next()) {
      const { index, time } = cursor
      const before = times[index - 1] ?? 0
      hold(
        time >= before,
        24,
        () => `${id}: entry ${index} of term ${block.term} has time ${time}, the one before it ${before}`,
      )
      times[index] = time
    }
  }
}
