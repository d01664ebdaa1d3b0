/**
 * What a member tells somebody who belongs to no cluster and asks which one this is (open/joining.ts has the other
 * side).
 *
 * Invariants: whoever answers changes nothing, and says nothing that a hello does not say. So many answers are given in
 * a second and no more, whoever asks: strangers take no time from the members.
 */

import type { LeaderHint } from '../errors.js'
import { VALUE_BYTES_MAX } from '../format/operations.js'
import { QuietLog } from '../transport/quiet-log.js'
import type { Clock, Identity, Logger, ServerId } from '../types.js'
import { decodeTold, encodeTold } from './told.js'
import type { Told } from './told.js'

/** Within a second: all places of a cluster may be asked for at once. */
const ANSWERS_MAX = 64
const WITHIN_MS = 1000
const ID_LENGTH_MAX = 255

export interface TellerParts {
  readonly self: Identity
  readonly clusterName: string
  /** The payload of the first entry; null where it is not known. */
  readonly first: Uint8Array | null
  readonly recoveries: readonly string[]
  readonly clock: Clock
  readonly logger: Logger
  leader(): LeaderHint | null
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

  constructor(parts: TellerParts) {
    this.#parts = parts
    this.#quiet = new QuietLog(parts.logger)
  }

  /** Null where there is no answer. */
  answer(question: Uint8Array): Uint8Array | null {
    const { id, incarnation } = decodeTold(question)
    if (typeof id !== 'string' || id === '' || typeof incarnation !== 'string') return null
    return this.#mayAnswer() ? encodeTold(this.#toldTo(id.slice(0, ID_LENGTH_MAX))) : null
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

  #toldTo(id: ServerId): Told {
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
    if (!this.#parts.isMember(id)) this.#say(id, leader?.id === self.serverId)
    return { cluster, clusterId: self.clusterId, first: Buffer.from(first).toString('base64'), recoveries, leader }
  }

  #say(id: ServerId, leads: boolean): void {
    if (!leads) return
    const remedy = `it waits until it is added: raft.addVoter({ id: '${id}', address }), or addNonvoter`
    this.#quiet.warn('join.asked', id, remedy, { id })
  }
}
