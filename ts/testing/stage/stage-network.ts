/**
 * The network of a stage is a list of messages under way. Each server dials each other one; requests leave on the
 * dialled session, answers come back on its link. A message is delivered, dropped or repeated only when somebody says
 * so.
 */

import type { Input, OutgoingMessage, Request, Response } from '../../core/index.js'
import { assert } from '../../errors.js'
import type { ServerId } from '../../types.js'

/** A message under way. */
export interface Envelope {
  readonly from: ServerId
  readonly to: ServerId
  readonly link: number
  readonly message: Request | Response
}

interface Link {
  readonly dialer: ServerId
  readonly listener: ServerId
  readonly session: number
  /** The boot of the dialer: another process never sees the answers. */
  readonly boot: number
}

export class StageNetwork {
  /** In the order in which they were sent. */
  inFlight: Envelope[] = []
  readonly #cuts = new Set<string>()
  /** Sessions are numbered from 1, links from 0, both as they are made. */
  readonly #links: Link[] = []

  /** A new session; answers with its number. */
  dial(dialer: ServerId, listener: ServerId, boot: number): number {
    const session = this.#links.length + 1
    this.#links.push({ dialer, listener, session, boot })
    return session
  }

  linkOf(session: number): number {
    return session - 1
  }

  /** From now on nothing that one sends reaches the other; nobody is told. */
  cut(from: ServerId, to: ServerId): void {
    this.#cuts.add(`${from}>${to}`)
  }

  isCut(from: ServerId, to: ServerId): boolean {
    return this.#cuts.has(`${from}>${to}`)
  }

  heal(): void {
    this.#cuts.clear()
  }

  /** Where a message goes that leaves a server. */
  addressed(from: ServerId, outgoing: OutgoingMessage): Envelope {
    const link = outgoing.kind === 'response' ? outgoing.link : this.linkOf(outgoing.session)
    const wire = this.#links[link]
    assert(wire !== undefined, `${from} sends on link ${link}, which does not exist`)
    const to = outgoing.kind === 'request' ? outgoing.to : wire.dialer
    const [dialer, listener] = outgoing.kind === 'request' ? [from, to] : [to, from]
    assert(
      wire.dialer === dialer && wire.listener === listener,
      `${from} sends to ${to} on link ${link}, the wrong one`,
    )
    return { from, to, link, message: outgoing.message }
  }

  /** Takes what matches out of the network. */
  take(matches: (envelope: Envelope) => boolean): readonly Envelope[] {
    const taken = this.inFlight.filter(matches)
    this.inFlight = this.inFlight.filter((envelope) => !taken.includes(envelope))
    return taken
  }

  /** What a message is to the core that it reaches in that boot; null when nobody waits for it any more. */
  inputOf({ from, link, message }: Envelope, boot: number): Input | null {
    const wire = this.#links[link]
    if (wire === undefined) return null
    if (isRequest(message)) return { type: 'request', from, link, message }
    if (wire.boot !== boot) return null
    return { type: 'response', from, session: wire.session, message }
  }
}

export function isRequest(message: Request | Response): message is Request {
  const { type } = message
  return type === 'AppendEntries' || type === 'RequestVote' || type === 'PreVote' || type === 'TimeoutNow'
}
