/**
 * Whose votes count. A vote is of a store, not of an id: an id that was removed may come back with another disk, which
 * knows nothing of what the one before has promised. Such a store is sent the log from the beginning, and reads there
 * that its id is a voter, also the only one, as it once was (scenario M16).
 *
 * Invariant: a store that has joined votes in the configurations that name its incarnation, and in no other. Whoever
 * leads names it where it becomes a voter, and until then says that the id was added and no store has a vote yet. A
 * configuration that says nothing of a voter is of the first members, who wrote the first entry themselves: no store
 * that has joined was there. Whether it has joined a store knows by its options, or is told by the first who knows,
 * before anything else that it says is used (server/peer-pins.ts).
 */

import type { Configuration, ServerId, StoreIdentity } from '../types.js'
import { isVoter, membersOf } from './configuration.js'
import type { BlockMaker } from './raft-log.js'

/** A connection that is up, and what stands at its other end. */
export interface PeerSession {
  readonly session: number
  readonly store: StoreIdentity
}

/** In the place of an incarnation: the member was added, and no store has its vote. */
export const NOBODY = ''

export class Electorate {
  readonly #id: ServerId
  #store: StoreIdentity
  readonly #sessions: ReadonlyMap<ServerId, PeerSession>
  readonly #maker: BlockMaker

  constructor(id: ServerId, store: StoreIdentity, sessions: ReadonlyMap<ServerId, PeerSession>, maker: BlockMaker) {
    this.#id = id
    this.#store = store
    this.#sessions = sessions
    this.#maker = maker
  }

  hasJoined(): void {
    this.#store = { ...this.#store, hasJoined: true }
  }

  /** Whether that member was added, as far as the configuration says. */
  wasAdded(configuration: Configuration, id: ServerId): boolean {
    return this.#maker.incarnationsOf(configuration).has(id)
  }

  /** The incarnation of the store that votes for that member; null where none is named. */
  storeNamedFor(configuration: Configuration, id: ServerId): string | null {
    const named = this.#maker.incarnationsOf(configuration).get(id) ?? NOBODY
    return named === NOBODY ? null : named
  }

  /** Whether this server is a member of that configuration, as far as that says whose store it means. */
  isMemberHere(configuration: Configuration): boolean {
    if (!membersOf(configuration).some(({ id }) => id === this.#id)) return false
    const named = this.#maker.incarnationsOf(configuration).get(this.#id)
    return named === NOBODY || this.#isStoreOf(named, this.#store)
  }

  /** Whether this server is a voter of that configuration, with the store that it has. */
  isVoterHere(configuration: Configuration): boolean {
    return this.#votes(configuration, this.#id, this.#store)
  }

  /** Whether a vote that came from that peer on that session counts in that configuration. */
  counts(configuration: Configuration, peer: ServerId, session: number): boolean {
    const current = this.#sessions.get(peer)
    return current?.session === session && this.#votes(configuration, peer, current.store)
  }

  /**
   * The connection of a peer, for a leader; null also where another store is at its end than the one that is named:
   * what that has and says is not what the member of that configuration has said.
   */
  sessionOf(configuration: Configuration, peer: ServerId): number | null {
    const current = this.#sessions.get(peer)
    if (current === undefined) return null
    const named = this.storeNamedFor(configuration, peer)
    return named === null || named === current.store.incarnation ? current.session : null
  }

  /**
   * What is to follow `before`, with the store that votes for each voter which was none; or a voter of which no store
   * is known here, as it is not connected. Of who goes nothing is said any more.
   */
  named(before: Configuration, after: Configuration): Configuration | { readonly unknown: ServerId } {
    const said = this.#maker.incarnationsOf(before)
    const wasMember = new Set(membersOf(before).map(({ id }) => id))
    const incarnations = new Map<ServerId, string>()
    for (const { id } of membersOf(after)) {
      const known = wasMember.has(id) ? said.get(id) : NOBODY
      if (known !== undefined) incarnations.set(id, known)
    }
    for (const { id } of after.voters) {
      if (isVoter(before, id)) continue
      // Never this server itself: who is no voter leads to no configuration (M11).
      const peer = this.#sessions.get(id)
      if (peer === undefined) return { unknown: id }
      incarnations.set(id, peer.store.incarnation)
    }
    return this.#maker.withIncarnations(after, incarnations)
  }

  #votes(configuration: Configuration, id: ServerId, store: StoreIdentity): boolean {
    if (!isVoter(configuration, id)) return false
    return this.#isStoreOf(this.#maker.incarnationsOf(configuration).get(id), store)
  }

  #isStoreOf(named: string | undefined, store: StoreIdentity): boolean {
    return named === undefined ? !store.hasJoined : named === store.incarnation
  }
}
