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
  /** Of each server: the term that it leads, or has led in this turn; 0 for none. */
  readonly #led: number[] = []

  // Hot path: once per core step.
  stepped({ ordinal }: ServerView, core: RaftCore, input: Input): void {
    if (input.type === 'credit') this.#credits[ordinal] = input.bytes
    if (core.role === 'leader') this.#led[ordinal] = core.term
  }

  // Hot path: once per turn.
  decided({ id, ordinal }: ServerView, { role }: RaftCore, { ticket }: Ready): void {
    const led = this.#led[ordinal] ?? 0
    if (role !== 'leader') this.#led[ordinal] = 0
    if (ticket === null) return
    const credit = this.#credits[ordinal] ?? 0
    // One that won an election and was deposed in the same turn has taken entries as either.
    let [own, taken] = [0, 0]
    for (const operation of ticket.operations) {
      if (operation.type !== 'append') continue
      const { block } = operation
      if (block.term === led) own += block.last - block.first + 1
      else taken += block.data.byteLength
    }
    const isAllowed = taken <= credit && (credit > 0 || own <= 1)
    hold(
      isAllowed,
      31,
      () => `${id}, ${role}, takes ${own} entries of its own and ${taken} bytes of others, there is room for ${credit}`,
    )
  }
}
