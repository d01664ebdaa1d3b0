/**
 * Invariant 31: nothing is taken into a log before its store has said that it has room. A follower takes no more than
 * that; a leader, while there is none, only the no-op of its term.
 */

import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import type { Observer, ServerView } from '../../observer.js'
import { hold } from '../../invariants/violation.js'

export class RoomInvariants implements Observer {
  /** Of each server: what its store has said last. */
  readonly #credits: number[] = []

  // Hot path: once per core step.
  stepped({ ordinal }: ServerView, _core: RaftCore, input: Input): void {
    if (input.type === 'credit') this.#credits[ordinal] = input.bytes
  }

  // Hot path: once per turn.
  decided({ id, ordinal }: ServerView, { role }: RaftCore, { ticket }: Ready): void {
    if (ticket === null) return
    const credit = this.#credits[ordinal] ?? 0
    let [bytes, entries] = [0, 0]
    for (const operation of ticket.operations) {
      if (operation.type !== 'append') continue
      bytes += operation.block.data.byteLength
      entries += operation.block.last - operation.block.first + 1
    }
    const isAllowed = role === 'leader' ? credit > 0 || entries <= 1 : bytes <= credit
    hold(
      isAllowed,
      31,
      () => `${id}, ${role}, takes ${entries} entries with ${bytes} bytes, there is room for ${credit}`,
    )
  }
}
