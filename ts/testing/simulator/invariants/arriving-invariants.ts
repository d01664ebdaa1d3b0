/**
 * Invariant 29, of each follower by itself: a message of its leader that arrives part by part is a sign of life. Each
 * turn that is told of a part answers the leader, and no election is called for within an election timeout of one.
 */

import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import type { Role } from '../../../types.js'
import { hold } from '../../invariants/violation.js'
import type { Observer, ServerView } from '../../observer.js'

/** Of one process, on its own clock. */
interface Seen {
  /** When its last turn began. */
  now: number
  /** In the last turn that it has decided. */
  role: Role
  /** When it was last told of a part. */
  partAt: number
  /** In this turn it was. */
  isOwed: boolean
}

export class ArrivingInvariants implements Observer {
  readonly #electionTimeoutMs: number
  readonly #seen: (Seen | undefined)[] = []

  constructor(electionTimeoutMs: number) {
    this.#electionTimeoutMs = electionTimeoutMs
  }

  booted({ ordinal }: ServerView): void {
    this.#seen[ordinal] = { now: 0, role: 'follower', partAt: -Infinity, isOwed: false }
  }

  // Hot path: once per core step.
  stepped({ ordinal }: ServerView, core: RaftCore, input: Input): void {
    const seen = this.#seen[ordinal]
    if (seen === undefined) return
    if (input.type === 'turn') seen.now = input.now
    else if (input.type === 'arriving' && core.role === 'follower' && core.leader?.id === input.from) {
      seen.partAt = seen.now
      seen.isOwed = true
    } else if (input.type === 'peerGone' && core.leader?.id === input.peer) {
      seen.partAt = -Infinity
    }
  }

  decided({ id, ordinal }: ServerView, core: RaftCore, { messages }: Ready): void {
    const seen = this.#seen[ordinal]
    if (seen === undefined) return
    const sinceMs = seen.now - seen.partAt
    hold(core.role !== 'preCandidate' || seen.role !== 'follower' || sinceMs >= this.#electionTimeoutMs, 29, () => {
      return `${id} calls for an election ${sinceMs} ms after a part of its leader's message had come`
    })
    seen.role = core.role
    if (!seen.isOwed) return
    seen.isOwed = false
    // Who has a term to write says nothing before that is done, and who has left the leader owes it nothing.
    if (core.role !== 'follower' || !core.tickets.hardStateIsDurable) return
    const isAnswered = messages.some(({ message }) => message.type === 'AppendEntriesResult')
    hold(isAnswered, 29, () => `${id} says nothing to its leader, of which a part of a message has come`)
  }
}
