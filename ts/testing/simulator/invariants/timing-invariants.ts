/**
 * What must hold of time, on each server's own clock: invariant 22, a leader that cannot do its work makes room for
 * another (thesis 6.2), and invariant 23, a deadline expires only when everything that had arrived was looked at, and
 * that of a candidate only when what it asks has left.
 * Neither is a matter of safety, and both are what keeps a cluster that could work from standing still.
 */

import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import type { Configuration, Role, ServerId } from '../../../types.js'
import { isQuorum } from '../../invariants/quorum.js'
import { hold } from '../../invariants/violation.js'
import type { Observer, ServerView } from '../../observer.js'

/** How many election timeouts a leader may go on: without a quorum it has one, without its own disk it has two. */
const QUORUM_TIMEOUTS_MAX = 2
const DISK_TIMEOUTS_MAX = 3

export interface TimingSite {
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
}

interface Seen {
  /** When its last turn began. */
  now: number
  /** Messages that have arrived, and that its core has not seen. */
  unseen: number
  /** The term that it leads, or the last one that it led. */
  leads: number
  /**
   * Since when it is a leader whose event loop was never away for long: whatever was missed before that does not count.
   */
  since: number
  /** In force when it was last looked at, as a leader. */
  configuration: Configuration | null
  readonly contactAt: Map<ServerId, number>
  /** In the last turn that it has decided. */
  role: Role
  /** The ticket with its vote for itself, of its last candidacy; 0 before the first. */
  vote: number
  readonly unwritten: { readonly ticket: number; readonly at: number }[]
}

export class TimingInvariants implements Observer {
  readonly #site: () => TimingSite
  readonly #seen: (Seen | undefined)[] = []

  constructor(site: () => TimingSite) {
    this.#site = site
  }

  booted({ ordinal }: ServerView): void {
    const now = -Infinity
    this.#seen[ordinal] = {
      now,
      unseen: 0,
      leads: 0,
      since: now,
      configuration: null,
      contactAt: new Map(),
      role: 'follower',
      vote: 0,
      unwritten: [],
    }
  }

  // Hot path: once per message.
  delivered(_from: ServerId, { ordinal }: ServerView): void {
    const seen = this.#seen[ordinal]
    if (seen !== undefined) seen.unseen += 1
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore, input: Input): void {
    const seen = this.#seen[server.ordinal]
    if (seen === undefined) return
    if (input.type === 'turn') {
      if (input.now - seen.now > 2 * this.#site().heartbeatMs) seen.since = input.now
      seen.now = input.now
    } else if (input.type === 'request') seen.unseen -= 1
    else if (input.type === 'response') {
      seen.unseen -= 1
      const { message, from } = input
      if (message.type === 'AppendEntriesResult' && message.term === core.term) seen.contactAt.set(from, seen.now)
    } else if (input.type === 'persisted') {
      while ((seen.unwritten[0]?.ticket ?? Infinity) <= input.ticket) seen.unwritten.shift()
    } else if (input.type === 'tick') {
      hold(seen.unseen === 0, 23, () => {
        return `${server.id} lets its deadlines expire before it looks at ${seen.unseen} messages that have arrived`
      })
      if (core.role === 'leader') this.#leads(server, core, seen)
      else if (core.role === 'preCandidate' && seen.role === 'candidate') this.#givesUp(server, core, seen)
    }
  }

  decided({ ordinal }: ServerView, { role }: RaftCore, { ticket }: Ready): void {
    const seen = this.#seen[ordinal]
    if (seen === undefined) return
    if (ticket !== null) seen.unwritten.push({ ticket: ticket.ticket, at: seen.now })
    if (ticket !== null && role === 'candidate' && seen.role !== 'candidate') seen.vote = ticket.ticket
    seen.role = role
  }

  #givesUp({ id }: ServerView, { term }: RaftCore, { unwritten, vote }: Seen): void {
    hold(!unwritten.some(({ ticket }) => ticket === vote), 23, () => {
      return `${id} gives up its candidacy of term ${term} before its own vote is written, and anybody could answer it`
    })
  }

  #leads({ id }: ServerView, core: RaftCore, seen: Seen): void {
    const { now, contactAt, unwritten } = seen
    const { electionTimeoutMs, heartbeatMs } = this.#site()
    if (seen.leads !== core.term) {
      seen.leads = core.term
      seen.since = now
      contactAt.clear()
    }
    // Whoever has come with a configuration has as long to answer as the others had.
    if (seen.configuration !== core.configuration) seen.since = now
    seen.configuration = core.configuration
    const writtenBy = now - DISK_TIMEOUTS_MAX * electionTimeoutMs - 2 * heartbeatMs
    hold((unwritten[0]?.at ?? now) >= writtenBy, 22, () => {
      return `${id} leads term ${core.term} on, and its disk has made no progress for ${now - (unwritten[0]?.at ?? now)} ms`
    })
    const heardBy = now - QUORUM_TIMEOUTS_MAX * electionTimeoutMs - 2 * heartbeatMs
    if (seen.since >= heardBy) return
    const isHeard = (voter: ServerId): boolean => voter === id || (contactAt.get(voter) ?? 0) >= heardBy
    hold(isQuorum(core.configuration, isHeard), 22, () => {
      return `${id} leads term ${core.term} on, and no quorum has answered for ${QUORUM_TIMEOUTS_MAX} election timeouts`
    })
  }
}
