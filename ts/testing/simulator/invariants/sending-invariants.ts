/**
 * Invariant 29, of each leader by itself: within a session entries are sent again only when an answer has refused them,
 * or was made after a later message and does not have them; never because time passes. A link may only be slow, and
 * what is sent again makes it slower.
 *
 * It asks for a session that keeps its order and loses nothing, as the contract of transports has it: answers that
 * overtake each other, or come twice, speak of what is no longer so.
 */

import type { AppendEntriesResult, Request, Response } from '../../../core/messages.js'
import type { RaftCore } from '../../../core/raft-core.js'
import type { Input } from '../../../core/ready.js'
import type { ServerId } from '../../../types.js'
import { hold } from '../../invariants/violation.js'
import type { Observer, ServerView } from '../../observer.js'

/** What one leadership has sent to a peer on one connection. */
interface Sent {
  readonly session: number
  term: number
  /** The peer has said that it has everything up to here. */
  has: number
  /** Messages with entries that no answer has settled, each behind the one before it. */
  underWay: { readonly last: number; readonly round: number }[]
  /** Where that ends which an answer has disproved: what is sent behind it cannot be taken. Null when there is none. */
  lostThrough: number | null
}

const NOTHING = { has: 0, lostThrough: null }

export class SendingInvariants implements Observer {
  /** By server, then by peer. */
  readonly #sent: (Map<ServerId, Sent> | undefined)[] = []

  booted({ ordinal }: ServerView): void {
    this.#sent[ordinal] = new Map()
  }

  // Hot path: once per core step.
  stepped({ ordinal }: ServerView, _core: RaftCore, input: Input): void {
    if (input.type === 'peerUp') {
      const { session } = input
      this.#sent[ordinal]?.set(input.peer, { session, ...NOTHING, term: 0, underWay: [] })
    } else if (input.type === 'response' && input.message.type === 'AppendEntriesResult') {
      const sent = this.#sent[ordinal]?.get(input.from)
      const isCurrent = sent?.session === input.session && sent.term === input.message.term
      if (isCurrent) settle(sent, input.message)
    }
  }

  // Hot path: once per message.
  sent({ id, ordinal }: ServerView, to: ServerId, message: Request | Response): void {
    if (message.type !== 'AppendEntries') return
    const last = message.blocks.at(-1)?.last
    const sent = this.#sent[ordinal]?.get(to)
    if (last === undefined || sent === undefined) return
    const { term, prevIndex, round } = message
    if (sent.term !== term) Object.assign(sent, { ...NOTHING, term, underWay: [] })
    const through = sent.underWay.at(-1)?.last ?? sent.has
    hold(prevIndex >= through, 29, () => {
      return `${id} sends ${prevIndex + 1} .. ${last} to ${to} again, and no answer has disproved what it had up to ${through}`
    })
    if (prevIndex === sent.lostThrough) {
      sent.lostThrough = last
      return
    }
    sent.lostThrough = null
    sent.underWay.push({ last, round })
  }
}

/** Rounds only grow, so an answer of a round before that of a message was made before that had arrived. */
function settle(sent: Sent, { status, matchIndex, acceptedIndex, round }: AppendEntriesResult): void {
  if (status !== 'conflict') sent.has = Math.max(sent.has, acceptedIndex ?? matchIndex)
  const left = sent.underWay.filter(({ last }) => last > sent.has)
  const [first] = left
  const isDisproved = first !== undefined && (status === 'matched' ? round > first.round : round >= first.round)
  if (isDisproved) sent.lostThrough = left.at(-1)?.last ?? null
  sent.underWay = isDisproved ? [] : left
}
