/**
 * Invariant 27: a healthy leader stays. A follower that hears its leader calls for no election, a leader that a quorum
 * answers does not yield for want of one, and heartbeats leave, also beside appends that nobody has answered yet. Each
 * on the server's own clock, and with its own numbers: there is no slack in them.
 */

import type { Request } from '../../../core/messages.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Input, Ready } from '../../../core/ready.js'
import type { Role, ServerId } from '../../../types.js'
import { isQuorum } from '../../invariants/quorum.js'
import { hold } from '../../invariants/violation.js'
import type { Observer, ServerView } from '../../observer.js'
import type { TimingSite } from './timing-invariants.js'

/** Silence towards a peer, in heartbeats: what was sent just after one is due makes the next one needless. */
const SILENCE_HEARTBEATS_MAX = 2

/** What a leader has said to one peer, and heard from it. All times are those of the server's turns. */
interface Line {
  /** Of the connection; null while there is none. */
  session: number | null
  /** Since when there is one. */
  since: number
  sentAt: number
  /** When the last message without entries left. */
  heartbeatAt: number
  answeredAt: number
  /** It was found to have lost entries: its answers count for nothing. */
  isRefused: boolean
}

interface Seen {
  /** When its last turn began. */
  now: number
  /** In the last turn that it has decided. */
  role: Role
  /** When it last heard from a leader of its term. */
  heardAt: number
  /** The term that it leads, or the last one that it led, and since when. */
  leads: number
  since: number
  readonly lines: Map<ServerId, Line>
}

export class StabilityInvariants implements Observer {
  readonly #site: () => TimingSite
  readonly #seen: (Seen | undefined)[] = []

  constructor(site: () => TimingSite) {
    this.#site = site
  }

  booted({ ordinal }: ServerView): void {
    const never = -Infinity
    this.#seen[ordinal] = { now: 0, role: 'follower', heardAt: never, leads: 0, since: never, lines: new Map() }
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore, input: Input): void {
    const seen = this.#seen[server.ordinal]
    if (seen === undefined) return
    if (input.type === 'turn') seen.now = input.now
    else if (input.type === 'request') heard(seen, core, input.message)
    else if (input.type === 'arriving' && core.leader?.id === input.from) seen.heardAt = seen.now
    // Nobody waits for a leader whose process is gone.
    else if (input.type === 'peerGone' && core.leader?.id === input.peer) seen.heardAt = -Infinity
    else if (input.type === 'peerUp')
      Object.assign(lineTo(seen, input.peer), { session: input.session, since: seen.now })
    else if (input.type === 'peerDown') {
      const line = lineTo(seen, input.peer)
      if (line.session === input.session) line.session = null
    } else if (input.type === 'response') {
      const { message, from, session } = input
      const line = lineTo(seen, from)
      // Of round 0 is the refusal of what it sent when it led an earlier term: no answer to this leadership.
      const isAnswer = message.type === 'AppendEntriesResult' && message.term === core.term && message.round > 0
      if (isAnswer && line.session === session) line.answeredAt = seen.now
    }
  }

  decided(server: ServerView, core: RaftCore, ready: Ready): void {
    const seen = this.#seen[server.ordinal]
    if (seen === undefined) return
    for (const event of ready.events) {
      if (event.type === 'regressed') lineTo(seen, event.peer).isRefused = true
      else if (event.type === 'steppedDown' && event.reason.startsWith('no quorum')) this.#yields(server, core, seen)
    }
    if (core.role === 'preCandidate' && seen.role === 'follower') this.#campaigns(server, seen)
    seen.role = core.role
    if (core.role === 'leader') this.#leads(server, core, seen, ready)
  }

  #campaigns({ id }: ServerView, { now, heardAt }: Seen): void {
    const { electionTimeoutMs } = this.#site()
    hold(now - heardAt >= electionTimeoutMs, 27, () => {
      return `${id} calls for an election ${now - heardAt} ms after it heard its leader; the timeout is ${electionTimeoutMs} ms`
    })
  }

  #yields({ id }: ServerView, { configuration }: RaftCore, { now, lines }: Seen): void {
    const since = now - this.#site().electionTimeoutMs
    const isHeard = (voter: ServerId): boolean => {
      const line = lines.get(voter)
      return voter === id || (line !== undefined && !line.isRefused && line.answeredAt > since)
    }
    hold(!isQuorum(configuration, isHeard), 27, () => {
      return `${id} yields for want of a quorum, and a quorum has answered within an election timeout`
    })
  }

  /** Hot path: once per turn of a leader. */
  #leads(server: ServerView, core: RaftCore, seen: Seen, { messages }: Ready): void {
    const { now } = seen
    if (seen.leads !== core.term) {
      seen.leads = core.term
      seen.since = now
      for (const line of seen.lines.values()) line.isRefused = false
    }
    for (const outgoing of messages) {
      if (outgoing.kind !== 'request' || outgoing.message.type !== 'AppendEntries') continue
      const line = lineTo(seen, outgoing.to)
      line.sentAt = now
      if (outgoing.message.blocks.length === 0) line.heartbeatAt = now
    }
    const earliest = now - SILENCE_HEARTBEATS_MAX * this.#site().heartbeatMs
    for (const [peer, line] of seen.lines) {
      if (line.session === null || Math.max(line.since, seen.since) >= earliest) continue
      hold(
        line.sentAt >= earliest,
        27,
        () => `${server.id} leads, and has told ${peer} nothing for ${now - line.sentAt} ms`,
      )
      hold(line.answeredAt >= earliest || line.heartbeatAt >= earliest, 27, () => {
        const sinceMs = now - line.heartbeatAt
        return `${server.id} leads, and ${peer}, which does not answer, was sent no heartbeat for ${sinceMs} ms`
      })
    }
  }
}

function heard(seen: Seen, core: RaftCore, message: Request): void {
  if (message.type === 'AppendEntries' && message.term === core.term) seen.heardAt = seen.now
}

function lineTo({ lines }: Seen, peer: ServerId): Line {
  let line = lines.get(peer)
  if (line === undefined) {
    const never = -Infinity
    line = { session: null, since: never, sentAt: never, heartbeatAt: never, answeredAt: never, isRefused: false }
    lines.set(peer, line)
  }
  return line
}
