/**
 * That the configuration says where clients find each member: while this server leads it puts there what the command
 * line says, of itself in any case, of others as long as nobody has said anything. So a server that was started without
 * the list can name all of them. Another one changes what is said of it by RAFT UPDATE, or when it leads.
 *
 * Invariant: one change is asked for at a time, and none that would change nothing.
 */

import { describedMembers, formatAddress, type Described, type Listed } from '../cluster/members.js'
import { CLUSTER_CALL_MS, PUBLISH_RETRY_MS } from '../limits.js'
import type { Log } from '../log.js'
import type { KvClock } from './clock.js'
import type { KvRaft } from './kv-raft.js'

export class PublishedAddresses {
  readonly #raft: KvRaft
  readonly #listed: Listed
  readonly #clock: Pick<KvClock, 'setTimer'>
  readonly #log: Log
  #isAsking = false
  /** Ends the wait after a change that failed; null: there is none. */
  #cancelRetry: (() => void) | null = null
  /** What the configuration says of this server, when that was last complained of. */
  #complainedOf: string | null = null
  #stop: readonly (() => void)[] = []
  #isStopped = false

  constructor(raft: KvRaft, listed: Listed, clock: Pick<KvClock, 'setTimer'>, log: Log) {
    this.#raft = raft
    this.#listed = listed
    this.#clock = clock
    this.#log = log
    const review = (): void => this.#review()
    this.#stop = [raft.on('role', review), raft.on('configuration', review)]
    review()
  }

  /** Waits that run: one at most. */
  get waits(): number {
    return Number(this.#cancelRetry !== null)
  }

  stop(): void {
    this.#isStopped = true
    for (const stop of this.#stop) stop()
    this.#cancelRetry?.()
    this.#cancelRetry = null
  }

  #review(): void {
    const { role, configuration, configurationIndex, configurationIsCommitted } = this.#raft.status
    const members = describedMembers(configuration)
    if (role !== 'leader') return this.#complain(members.find(({ id }) => id === this.#listed.self.id))
    if (this.#isAsking || this.#cancelRetry !== null || !configurationIsCommitted) return
    for (const member of members) {
      const redis = this.#missing(member)
      if (redis !== null) return void this.#publish(member, redis, configurationIndex)
    }
  }

  /** What is to be said of a member; null: it is said. */
  #missing({ id, meta }: Described): string | null {
    const { self, members } = this.#listed
    const said = meta?.['redis']
    const known = id === self.id ? self : said === undefined ? members.find((member) => member.id === id) : undefined
    return known === undefined || said === formatAddress(known.redis) ? null : formatAddress(known.redis)
  }

  async #publish({ id, meta }: Described, redis: string, ifIndex: number): Promise<void> {
    const { updateServer } = this.#raft
    if (updateServer === undefined) return
    this.#isAsking = true
    try {
      const options = { timeoutMs: CLUSTER_CALL_MS, ifIndex }
      const { configuration } = await updateServer.call(this.#raft, id, { meta: { ...meta, redis } }, options)
      const isSaid = describedMembers(configuration).some(
        (member) => member.id === id && member.meta?.['redis'] === redis,
      )
      this.#asked(isSaid ? 0 : PUBLISH_RETRY_MS)
    } catch (error) {
      this.#log.debug('address.unsaid', { of: id, redis, reason: String(error) })
      this.#asked(PUBLISH_RETRY_MS)
    }
  }

  /** `pauseMs`: it has come to nothing, and may again if it is asked for at once. */
  #asked(pauseMs: number): void {
    this.#isAsking = false
    if (this.#isStopped) return
    if (pauseMs === 0) return this.#review()
    this.#cancelRetry = this.#clock.setTimer(pauseMs, () => {
      this.#cancelRetry = null
      this.#review()
    })
  }

  /** Clients are sent where nobody listens, until this server leads or somebody says it for it. */
  #complain(self: Described | undefined): void {
    const said = self?.meta?.['redis']
    const own = formatAddress(this.#listed.self.redis)
    if (self === undefined || said === undefined || said === own || said === this.#complainedOf) return
    this.#complainedOf = said
    const remedy = `say to the leader: RAFT UPDATE ${self.id} ${self.address} ${own}`
    this.#log.warn('address.differs', { said, own, remedy })
  }
}
