/**
 * What a member tells somebody who belongs to no cluster and asks which one this is (open/joining.ts has the other
 * side).
 *
 * Invariants: without `allowJoin` whoever answers changes nothing; with it the leader makes nonvoters of those that
 * ask, one at a time, and none while a nonvoter is not reached: ids that are made up keep out the next, and do no more.
 * Nobody gets a vote by asking. So many answers are given in a second and no more, whoever asks: strangers take no time
 * from the members.
 */

import type { LeaderHint } from '../errors.js'
import { textOf } from '../foreign-values.js'
import { VALUE_BYTES_MAX } from '../format/operations.js'
import { metaFlaw, withMeta } from '../format/server-meta.js'
import { QuietLog } from '../transport/quiet-log.js'
import type { Clock, Identity, Logger, Server, ServerId, ServerMeta } from '../types.js'
import { decodeTold, encodeTold } from './told.js'
import type { Admission, Told } from './told.js'

/** Within a second: all places of a cluster may be asked for at once. */
const ANSWERS_MAX = 64
const WITHIN_MS = 1000
const NAME_BYTES_MAX = 255

export interface TellerParts {
  readonly self: Identity
  readonly clusterName: string
  /** The payload of the first entry; null where it is not known. */
  readonly first: Uint8Array | null
  readonly recoveries: readonly string[]
  readonly clock: Clock
  readonly logger: Logger
  /** Whether a leader makes a nonvoter of who asks, and says where it will be found. */
  readonly allowJoin: boolean
  leader(): LeaderHint | null
  /** The first nonvoter to which this server has no connection; null: it reaches all of them. */
  unreached(): ServerId | null
  /** What is wrong with an address; null when nothing is. */
  addressFlaw(address: string): string | null
  /** Makes it a nonvoter. */
  add(server: Server): Promise<unknown>
  /** Whether that is the id of a member. */
  isMember(id: ServerId): boolean
  /** Whether a store stands behind that id, so that another one would be refused. */
  isTaken(id: ServerId): boolean
}

export class Teller {
  readonly #parts: TellerParts
  readonly #quiet: QuietLog
  /** Since then so many answers were given. */
  #since = -Infinity
  #answers = 0
  /** A nonvoter is being made. */
  #isAdding = false

  constructor(parts: TellerParts) {
    this.#parts = parts
    this.#quiet = new QuietLog(parts.logger)
  }

  /** Null where there is no answer. */
  answer(question: Uint8Array): Uint8Array | null {
    const asking = decodeTold(question)
    const { id, incarnation } = asking
    if (typeof id !== 'string' || id === '' || typeof incarnation !== 'string') return null
    if (Buffer.byteLength(id) > NAME_BYTES_MAX || !this.#mayAnswer()) return null
    return encodeTold(this.#toldTo(id, asking))
  }

  #mayAnswer(): boolean {
    const now = this.#parts.clock.now()
    if (now - this.#since >= WITHIN_MS) {
      this.#since = now
      this.#answers = 0
    }
    this.#answers += 1
    return this.#answers <= ANSWERS_MAX
  }

  #toldTo(id: ServerId, asking: Readonly<Record<string, unknown>>): Told {
    const { self, clusterName: cluster, first, recoveries } = this.#parts
    if (this.#parts.isTaken(id)) {
      const remedy = `choose another id, or if that store is lost, replace it: raft.replace('${id}', ...)`
      return { refusal: `the id ${id} is that of a member with another store: ${remedy}` }
    }
    if (first === null || first.byteLength > VALUE_BYTES_MAX) {
      const remedy = 'set join to true, and bootstrap to their list'
      return { refusal: `server ${self.serverId} cannot tell the first members of its cluster: ${remedy}` }
    }
    const hint = this.#parts.leader()
    const leader = hint === null ? null : { id: hint.id, address: hint.address }
    const text = Buffer.from(first).toString('base64')
    const admission = this.#admission(id, asking, leader?.id === self.serverId)
    return { cluster, clusterId: self.clusterId, first: text, recoveries, leader, ...admission }
  }

  #admission(
    id: ServerId,
    asking: Readonly<Record<string, unknown>>,
    leads: boolean,
  ): { readonly admission: Admission; readonly remedy: string } {
    if (this.#parts.isMember(id)) return { admission: 'done', remedy: '' }
    if (!leads) return { admission: 'elsewhere', remedy: 'ask the leader' }
    const server = this.#parts.allowJoin ? this.#serverOf(id, asking) : null
    if (server === null) {
      const remedy = `it waits until it is added: raft.addVoter({ id: '${id}', address }), or addNonvoter`
      this.#quiet.warn('join.asked', id, remedy, { id })
      return { admission: 'waits', remedy }
    }
    const unreached = this.#parts.unreached()
    if (unreached !== null) {
      const remedy = `the nonvoter ${unreached} is not reached: no other is made before it is, or was removed (removeServer)`
      this.#quiet.warn('join.held-up', unreached, remedy, { id })
      return { admission: 'again', remedy }
    }
    if (!this.#isAdding) void this.#add(server)
    return { admission: 'again', remedy: 'it is being made a nonvoter, or another one is' }
  }

  async #add(server: Server): Promise<void> {
    this.#isAdding = true
    const { id, address } = server
    try {
      await this.#parts.add(server)
      this.#parts.logger.info('join.added', { id, address })
    } catch (error) {
      this.#quiet.warn('join.not-added', id, textOf(error), { id, address })
    }
    this.#isAdding = false
  }

  /** Null where it does not say where it will be found, or not so that it can be told to others. */
  #serverOf(id: ServerId, { address, meta }: Readonly<Record<string, unknown>>): Server | null {
    if (typeof address !== 'string' || address === '' || Buffer.byteLength(address) > NAME_BYTES_MAX) return null
    if (/\p{Surrogate}/u.test(id + address) || this.#parts.addressFlaw(address) !== null) return null
    if (meta === undefined) return { id, address }
    return metaFlaw(meta) === null ? withMeta({ id, address }, meta as ServerMeta) : null
  }
}
