/**
 * Which store stands behind each peer's id. The first incarnation seen is pinned, durably, before anything that the
 * peer says is used; a wiped, replaced or rolled-back store under a known id is refused, because it may have forgotten
 * its vote.
 */

import { peersOf } from '../core/configuration.js'
import type { RaftCore } from '../core/raft-core.js'
import { RaftError } from '../errors.js'
import { neverEmpty } from '../storage/lost-data.js'
import { isPosition, STORED_MAX } from '../types.js'
import type { Identity, LogIndex, ServerId, StoreOperation } from '../types.js'
import { overloaded } from './refusals.js'
import type { Mailbox } from './turn/mailbox.js'

const KEY_PREFIX = 'peer/'

/**
 * How far a boot counter may be above the one known here, or above 0 at the first contact: a start a second for twelve
 * days, none of which has reached this server. What is believed once shuts out every lower one, so a hello that was
 * forged or damaged must not be believed for being high.
 */
export const BOOT_JUMP_MAX = 2 ** 20

/** The part of an identity that must not change, or not fall, while its id stays. */
interface Pin {
  readonly incarnation: string
  readonly bootCounter: number
}

/** Claims that wait for the disk, whoever else knows the name of the cluster: a few for each peer that there can be. */
const CLAIMS_MAX = 64

/** Of a peer to be who it says, until that is durable. */
class Claim {
  readonly peer: Identity
  readonly admitted: Promise<void>
  /** Both settle `admitted`, once. */
  resolve: () => void = () => {}
  reject: (error: RaftError) => void = () => {}

  constructor(peer: Identity) {
    this.peer = peer
    this.admitted = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  isOf({ incarnation, bootCounter }: Identity): boolean {
    return this.peer.incarnation === incarnation && this.peer.bootCounter === bootCounter
  }
}

export class PeerPins {
  readonly #self: Identity
  readonly #core: RaftCore
  readonly #mailbox: Mailbox
  /** By peer: what is durable here. */
  readonly #pins = new Map<ServerId, Pin>()
  /** Peers whose next boot counter is believed, whatever was known: the operator says so. */
  readonly #excused: Set<ServerId>
  /** Peers that have lost what they had acknowledged, each until it starts again. */
  readonly #expelled = new Map<ServerId, { readonly pin: Pin; readonly error: RaftError }>()
  /** What asked to be admitted and is not pinned yet, in the order in which it asked. Bounded, with `#writing`. */
  #waiting: Claim[] = []
  /** What is being written: at most one claim for each peer, each judged when its write began. */
  #writing: readonly Claim[] = []

  constructor(
    self: Identity,
    facts: ReadonlyMap<string, Uint8Array>,
    core: RaftCore,
    mailbox: Mailbox,
    excused: readonly ServerId[] = [],
  ) {
    this.#excused = new Set(excused)
    this.#self = self
    this.#core = core
    this.#mailbox = mailbox
    for (const [key, value] of facts) {
      if (key.startsWith(KEY_PREFIX)) this.#pins.set(key.slice(KEY_PREFIX.length), decodePin(value))
    }
  }

  /** Claims that are not durable yet. */
  get count(): number {
    return this.#waiting.length + this.#writing.length
  }

  /** Whether that is the id of another member. */
  isPeer(peer: ServerId): boolean {
    return peersOf(this.#core.configuration, this.#self.serverId).some(({ id }) => id === peer)
  }

  /** Resolves when the peer may be talked to. One that asks again while its claim waits, waits for the same. */
  admit(peer: Identity): Promise<void> {
    const refusal = this.#refusal(peer)
    if (refusal !== null) return Promise.reject(refusal)
    if (this.#isPinned(peer)) return Promise.resolve()
    const known = this.#claimOf(peer)
    if (known !== null) return known.admitted
    if (this.count >= CLAIMS_MAX) return Promise.reject(overloaded(`${this.count} claims of peers wait for the disk`))
    const claim = new Claim(peer)
    this.#waiting.push(claim)
    this.#mailbox.schedule()
    return claim.admitted
  }

  /** From now on this boot of the peer is refused. Invariant: it was admitted. */
  expel(peer: ServerId, error: RaftError): void {
    const pin = this.#pins.get(peer)
    if (pin !== undefined) this.#expelled.set(peer, { pin, error })
  }

  /**
   * What to write now. One write is under way at a time; the caller reports its end with `written` or `failAll`. Each
   * claim is judged again, by what was pinned since it asked, and waits while another one for its peer is being
   * written: no claim that is refused in memory may stand on the disk.
   */
  takeWrites(): readonly StoreOperation[] {
    if (this.#writing.length > 0 || this.#waiting.length === 0) return []
    const writing = new Map<ServerId, Claim>()
    const waiting: Claim[] = []
    for (const claim of this.#waiting) {
      const { peer } = claim
      const refusal = this.#refusal(peer)
      if (refusal !== null) claim.reject(refusal)
      else if (this.#isPinned(peer)) claim.resolve()
      else if (writing.has(peer.serverId)) waiting.push(claim)
      else writing.set(peer.serverId, claim)
    }
    this.#writing = [...writing.values()]
    this.#waiting = waiting
    return this.#writing.map(({ peer }) => ({
      type: 'put',
      key: KEY_PREFIX + peer.serverId,
      value: encodePin(peer),
    }))
  }

  written(): void {
    for (const claim of this.#writing) {
      const { serverId } = claim.peer
      this.#pins.set(serverId, claim.peer)
      this.#excused.delete(serverId)
      claim.resolve()
    }
    this.#writing = []
    if (this.#waiting.length > 0) this.#mailbox.schedule()
  }

  failAll(error: RaftError): void {
    const claims = [...this.#writing, ...this.#waiting]
    this.#writing = []
    this.#waiting = []
    for (const claim of claims) claim.reject(error)
  }

  /** The same claim, if it is the one being written, or the last that waits for that peer. */
  #claimOf(peer: Identity): Claim | null {
    const isOfPeer = (claim: Claim): boolean => claim.peer.serverId === peer.serverId
    const candidates = [this.#writing.find(isOfPeer), this.#waiting.findLast(isOfPeer)]
    return candidates.find((claim) => claim?.isOf(peer)) ?? null
  }

  /** Whether a claim that nothing speaks against says what is on the disk already. */
  #isPinned({ serverId, bootCounter }: Identity): boolean {
    return this.#pins.get(serverId)?.bootCounter === bootCounter && !this.#excused.has(serverId)
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
    if (isSelf || !this.isPeer(peer.serverId)) {
      const why = isSelf ? 'is the id of this server itself' : 'is not a member of the cluster'
      return new RaftError('ERR_RAFT_CLUSTER_MISMATCH', `${peer.serverId} ${why}`)
    }
    const pin = this.#pins.get(peer.serverId)
    if (pin !== undefined && pin.incarnation !== peer.incarnation) return replaced(peer.serverId, pin, peer)
    const expelled = this.#expelled.get(peer.serverId)
    if (expelled !== undefined && expelled.pin.bootCounter >= peer.bootCounter) return expelled.error
    if (this.#excused.has(peer.serverId)) return null
    if (pin !== undefined && pin.bootCounter > peer.bootCounter) return replaced(peer.serverId, pin, peer)
    const known = pin?.bootCounter ?? 0
    return peer.bootCounter - known > BOOT_JUMP_MAX ? implausible(peer, known) : null
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

function implausible({ serverId, bootCounter }: Identity, known: number): RaftError {
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${serverId} says that this is its boot ${bootCounter}, and ${known} was the last one known here: no server starts 2^20 times unseen, so this is damage or a forgery, and it is not believed. If the count of that server is right, start this one once with the option acceptPeerBoot of Raft.open (balsa-kv: --accept-peer-boot ${serverId})`,
  )
}

/** What a leader finds of a peer that has come back with less than it had. */
export function lostEntries(peer: ServerId, acknowledged: LogIndex, lastIndex: LogIndex | null): RaftError {
  const now = lastIndex === null ? 'its log does not agree so far' : `its log ends at ${lastIndex}`
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${peer} has lost entries: it had acknowledged all up to ${acknowledged}, and now ${now}, or differs before that. Its disk was rolled back or has lost writes, and it may have forgotten votes. Give it back its own folder, as it was when it last ran; without that it stays out, since this version replaces no member`,
  )
}

function encodePin({ incarnation, bootCounter }: Pin): Uint8Array {
  return new TextEncoder().encode(`${incarnation} ${bootCounter}`)
}

function decodePin(value: Uint8Array): Pin {
  const [incarnation, bootCounter] = new TextDecoder().decode(value).split(' ')
  if (incarnation === undefined || !/^[0-9a-f]{32}$/.test(incarnation) || !isBoot(bootCounter)) {
    throw new RaftError('ERR_RAFT_STORE_CORRUPT', `the stored identity of a peer cannot be read. ${neverEmpty}`)
  }
  return { incarnation, bootCounter: Number(bootCounter) }
}

function isBoot(text: string | undefined): boolean {
  return /^\d+$/.test(text ?? '') && isPosition(Number(text), STORED_MAX)
}
