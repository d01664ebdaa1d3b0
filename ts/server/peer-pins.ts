/**
 * Which store stands behind each peer's id. The first incarnation seen is pinned, durably, before anything that the
 * peer says is used; a wiped, replaced or rolled-back store under a known id is refused, because it may have forgotten
 * its vote.
 */

import { peersOf } from '../core/configuration.js'
import type { RaftCore } from '../core/raft-core.js'
import { RaftError } from '../errors.js'
import { neverEmpty } from '../storage/lost-data.js'
import type { Identity, ServerId, StoreOperation } from '../types.js'
import type { Mailbox } from './turn/mailbox.js'

const KEY_PREFIX = 'peer/'

interface Pin {
  readonly incarnation: string
  readonly bootCounter: number
}

interface Admission {
  readonly peer: ServerId
  readonly pin: Pin
  readonly resolve: () => void
  readonly reject: (error: RaftError) => void
}

export class PeerPins {
  readonly #self: Identity
  readonly #core: RaftCore
  readonly #mailbox: Mailbox
  readonly #pins = new Map<ServerId, Pin>()
  #fresh: Admission[] = []
  #writing: readonly Admission[] = []

  constructor(self: Identity, facts: ReadonlyMap<string, Uint8Array>, core: RaftCore, mailbox: Mailbox) {
    this.#self = self
    this.#core = core
    this.#mailbox = mailbox
    for (const [key, value] of facts) {
      if (key.startsWith(KEY_PREFIX)) this.#pins.set(key.slice(KEY_PREFIX.length), decodePin(value))
    }
  }

  /** Resolves when the peer may be talked to. */
  admit(peer: Identity): Promise<void> {
    const refusal = this.#refusal(peer)
    if (refusal !== null) return Promise.reject(refusal)
    const { incarnation, bootCounter } = peer
    if (this.#pins.get(peer.serverId)?.bootCounter === bootCounter) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#fresh.push({ peer: peer.serverId, pin: { incarnation, bootCounter }, resolve, reject })
      this.#mailbox.schedule()
    })
  }

  /** What to write now. One write is under way at a time; the caller reports its end with `written` or `failAll`. */
  takeWrites(): readonly StoreOperation[] {
    if (this.#writing.length > 0 || this.#fresh.length === 0) return []
    this.#writing = this.#fresh
    this.#fresh = []
    return this.#writing.map(({ peer, pin }) => ({ type: 'put', key: KEY_PREFIX + peer, value: encodePin(pin) }))
  }

  written(): void {
    const admissions = this.#writing
    this.#writing = []
    for (const { peer, pin, resolve, reject } of admissions) {
      // Another store may have claimed the same id while the first claim was being written: the first is the one.
      const known = this.#pins.get(peer)
      if (known !== undefined && known.incarnation !== pin.incarnation) {
        reject(replaced(peer, known, pin))
        continue
      }
      this.#pins.set(peer, pin)
      resolve()
    }
    if (this.#fresh.length > 0) this.#mailbox.schedule()
  }

  failAll(error: RaftError): void {
    const admissions = [...this.#writing, ...this.#fresh]
    this.#writing = []
    this.#fresh = []
    for (const { reject } of admissions) reject(error)
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
    const pin = this.#pins.get(peer.serverId)
    if (pin !== undefined && (pin.incarnation !== peer.incarnation || pin.bootCounter > peer.bootCounter)) {
      return replaced(peer.serverId, pin, peer)
    }
    return null
  }
}

function replaced(peer: ServerId, known: Pin, seen: Pin): RaftError {
  const what =
    known.incarnation === seen.incarnation
      ? `went back from boot ${known.bootCounter} to boot ${seen.bootCounter}`
      : `has another store (${seen.incarnation}) than the one known here (${known.incarnation})`
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${peer} ${what}: it may have forgotten votes and entries. Give it back its own folder, as it was when it last ran; without that it stays out, since this version replaces no member`,
  )
}

function encodePin({ incarnation, bootCounter }: Pin): Uint8Array {
  return new TextEncoder().encode(`${incarnation} ${bootCounter}`)
}

function decodePin(value: Uint8Array): Pin {
  const [incarnation, bootCounter] = new TextDecoder().decode(value).split(' ')
  if (incarnation === undefined || !/^[0-9a-f]{32}$/.test(incarnation) || !/^\d+$/.test(bootCounter ?? '')) {
    throw new RaftError('ERR_RAFT_STORE_CORRUPT', `the stored identity of a peer cannot be read. ${neverEmpty}`)
  }
  return { incarnation, bootCounter: Number(bootCounter) }
}
