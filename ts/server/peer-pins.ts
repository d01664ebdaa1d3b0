/**
 * Which store stands behind each peer's id. The first incarnation seen is pinned, durably, before anything that the peer
 * says is used; a wiped, replaced or rolled-back store under a known id is refused, because it may have forgotten its vote.
 */

import { peersOf } from '../core/configuration.js'
import type { RaftCore } from '../core/raft-core.js'
import { RaftError } from '../errors.js'
import type { Identity, ServerId, StoreOperation } from '../types.js'
import { overloaded } from './refusals.js'
import type { Mailbox } from './turn/mailbox.js'

const KEY_PREFIX = 'peer/'
/** Claims that wait for the disk: a few for each peer that there can be, whoever else knows the name of the cluster. */
const CLAIMS_MAX = 64

interface Pin {
  readonly incarnation: string
  readonly bootCounter: number
}

/** Of a peer to be who it says, until that is durable. Whoever claims the same meanwhile waits for the same. */
class Claim {
  readonly peer: ServerId
  readonly pin: Pin
  readonly admitted: Promise<void>
  resolve: () => void = () => {}
  reject: (error: RaftError) => void = () => {}

  constructor(peer: ServerId, pin: Pin) {
    this.peer = peer
    this.pin = pin
    this.admitted = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  isOf({ serverId, incarnation, bootCounter }: Identity): boolean {
    return this.peer === serverId && this.pin.incarnation === incarnation && this.pin.bootCounter === bootCounter
  }
}

export class PeerPins {
  readonly #self: Identity
  readonly #core: RaftCore
  readonly #mailbox: Mailbox
  readonly #pins = new Map<ServerId, Pin>()
  #fresh: readonly Claim[] = []
  /** At most one for each peer: what is durable in the end is what was believed first. */
  #writing: readonly Claim[] = []

  constructor(self: Identity, facts: ReadonlyMap<string, Uint8Array>, core: RaftCore, mailbox: Mailbox) {
    this.#self = self
    this.#core = core
    this.#mailbox = mailbox
    for (const [key, value] of facts) {
      if (key.startsWith(KEY_PREFIX)) this.#pins.set(key.slice(KEY_PREFIX.length), decodePin(value))
    }
  }

  /** Claims that are not durable yet. */
  get count(): number {
    return this.#fresh.length + this.#writing.length
  }

  /** Resolves when the peer may be talked to. */
  admit(peer: Identity): Promise<void> {
    const refusal = this.#refusal(peer)
    if (refusal !== null) return Promise.reject(refusal)
    const { serverId, incarnation, bootCounter } = peer
    if (this.#pins.get(serverId)?.bootCounter === bootCounter) return Promise.resolve()
    const known = [...this.#writing, ...this.#fresh].find((claim) => claim.isOf(peer))
    if (known !== undefined) return known.admitted
    if (this.count >= CLAIMS_MAX) return Promise.reject(overloaded(`${this.count} peers wait to be written down`))
    const claim = new Claim(serverId, { incarnation, bootCounter })
    this.#fresh = [...this.#fresh, claim]
    this.#mailbox.schedule()
    return claim.admitted
  }

  /** What to write now. One write is under way at a time; the caller reports its end with `written` or `failAll`. */
  takeWrites(): readonly StoreOperation[] {
    if (this.#writing.length > 0 || this.#fresh.length === 0) return []
    const writing = new Map<ServerId, Claim>()
    const waiting: Claim[] = []
    for (const claim of this.#fresh) {
      const refusal = this.#refusalOfPin(claim.peer, claim.pin)
      if (refusal !== null) claim.reject(refusal)
      else if (writing.has(claim.peer)) waiting.push(claim)
      else writing.set(claim.peer, claim)
    }
    this.#fresh = waiting
    this.#writing = [...writing.values()]
    return this.#writing.map(({ peer, pin }) => ({ type: 'put', key: KEY_PREFIX + peer, value: encodePin(pin) }))
  }

  written(): void {
    const written = this.#writing
    this.#writing = []
    for (const { peer, pin, resolve } of written) {
      this.#pins.set(peer, pin)
      resolve()
    }
    if (this.#fresh.length > 0) this.#mailbox.schedule()
  }

  failAll(error: RaftError): void {
    const claims = [...this.#writing, ...this.#fresh]
    this.#writing = []
    this.#fresh = []
    for (const { reject } of claims) reject(error)
  }

  #refusal(peer: Identity): RaftError | null {
    const { clusterId, serverId } = this.#self
    if (peer.clusterId !== clusterId) {
      return new RaftError(
        'ERR_RAFT_CLUSTER_MISMATCH',
        `server ${peer.serverId} belongs to cluster ${peer.clusterId}, this one to ${clusterId}: start all servers with the same cluster name and the same list of servers`,
      )
    }
    const isSelf = peer.serverId === serverId
    if (isSelf || !peersOf(this.#core.configuration, serverId).some(({ id }) => id === peer.serverId)) {
      const why = isSelf ? 'is the id of this server itself' : 'is not a member of the cluster'
      return new RaftError('ERR_RAFT_CLUSTER_MISMATCH', `${peer.serverId} ${why}`)
    }
    return this.#refusalOfPin(peer.serverId, peer)
  }

  #refusalOfPin(peer: ServerId, seen: Pin): RaftError | null {
    const known = this.#pins.get(peer)
    if (known === undefined) return null
    const isSame = known.incarnation === seen.incarnation && known.bootCounter <= seen.bootCounter
    return isSame ? null : replaced(peer, known, seen)
  }
}

function replaced(peer: ServerId, known: Pin, seen: Pin): RaftError {
  const what =
    known.incarnation === seen.incarnation
      ? `went back from boot ${known.bootCounter} to boot ${seen.bootCounter}`
      : `has another store (${seen.incarnation}) than the one known here (${known.incarnation})`
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${peer} ${what}: it may have forgotten votes and entries. Give it back its own folder, or remove its id from the cluster and add it under a new one`,
  )
}

function encodePin({ incarnation, bootCounter }: Pin): Uint8Array {
  return new TextEncoder().encode(`${incarnation} ${bootCounter}`)
}

function decodePin(value: Uint8Array): Pin {
  const [incarnation, bootCounter] = new TextDecoder().decode(value).split(' ')
  if (incarnation === undefined || !/^[0-9a-f]{32}$/.test(incarnation) || !/^\d+$/.test(bootCounter ?? '')) {
    throw new RaftError(
      'ERR_RAFT_STORE_CORRUPT',
      'the stored identity of a peer cannot be read: restore the folder from a backup',
    )
  }
  return { incarnation, bootCounter: Number(bootCounter) }
}
