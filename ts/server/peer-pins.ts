/**
 * Which store stands behind each peer's id. The first incarnation seen is pinned, durably, before anything that the
 * peer says is used; a wiped, replaced or rolled-back store under a known id is refused, because it may have forgotten
 * its vote.
 *
 * A pin falls with the committed removal of its peer, or with the configuration that names another store for it (the
 * removal may be in a snapshot), and with nothing else: from then on its votes and answers count for nothing, and the
 * same id may come back with another store.
 *
 * Invariant: a boot is believed only if it is the pinned one, or a later one that shows the nonce of the pinned one.
 * Counters alone prove nothing: a copy that is started often passes any of them.
 */

import { membersOf } from '../core/configuration.js'
import type { RaftCore } from '../core/raft-core.js'
import type { ConfigurationAt } from '../core/raft-log.js'
import { RaftError } from '../errors.js'
import { neverEmpty } from '../storage/lost-data.js'
import { isPosition, logIndex, STORED_MAX } from '../types.js'
import type { Boot, Configuration, Identity, Introduction, LogIndex, ServerId, StoreOperation } from '../types.js'
import { clusterRefusal, isSameBoot } from '../transport/refusal.js'
import type { StoreBoot } from '../transport/refusal.js'
import { hasJoined, joinedFact } from './joined-fact.js'
import { overloaded } from './refusals.js'
import type { Mailbox } from './turn/mailbox.js'

/** Of the facts that say what was pinned. */
export const PIN_PREFIX = 'peer/'

/**
 * How far a boot counter may be above the one known here, or above 0 at the first contact: a start a second for twelve
 * days, none of which has reached this server. What is believed once shuts out every lower one, so a hello that was
 * forged or damaged must not be believed for being high.
 */
export const BOOT_JUMP_MAX = 2 ** 20

/**
 * The part of an identity that must not change, or must be followed, while its id stays. What follows one without a
 * nonce is believed by its counter, and pinned with one.
 */
interface Pin extends StoreBoot {
  /** The newest configuration with the peer when it was pinned: a later one without it takes the pin along. */
  readonly since: LogIndex
}

/** A boot of a peer was pinned in the place of another one: what is still connected as that one is to end. */
export interface Superseded {
  readonly by: Identity
  readonly error: RaftError
}

/** Claims that wait for the disk, whoever else knows the name of the cluster: a few for each peer that there can be. */
const CLAIMS_MAX = 64

const NONE: readonly Superseded[] = []
const NO_STEPS: readonly StoreOperation[] = []

/** What waits until it is durable. */
class Pending {
  readonly durable: Promise<void>
  /** Both settle `durable`, once. */
  resolve: () => void = () => {}
  reject: (error: RaftError) => void = () => {}

  constructor() {
    this.durable = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}

/** That this server was added, as a peer says. */
class News extends Pending {
  isBeingWritten = false
}

/** Of a peer to be who it says. */
class Claim extends Pending {
  readonly peer: Introduction
  /** The newest configuration with the peer when its write began. */
  since = logIndex(0)

  constructor(peer: Introduction) {
    super()
    this.peer = peer
  }

  isOf(peer: Identity): boolean {
    return isSameBoot(this.peer, peer)
  }
}

export class PeerPins {
  readonly #self: Identity
  readonly #core: RaftCore
  readonly #mailbox: Mailbox
  /** By peer: what is durable here. */
  readonly #pins = new Map<ServerId, Pin>()
  /** Peers whose next boot is believed, whatever was known: the operator says so. */
  readonly #excused: Set<ServerId>
  /** Peers that have lost what they had acknowledged, each until it starts again. */
  readonly #expelled = new Map<ServerId, { readonly pin: Pin; readonly error: RaftError }>()
  /** What asked to be admitted and is not pinned yet, in the order in which it asked. Bounded, with `#writing`. */
  #waiting: Claim[] = []
  #superseded: Superseded[] = []
  /** Who was let in without being a member, and is not known to be one yet. Bounded. */
  readonly #guests = new Set<ServerId>()
  /** Peers whose pins have fallen, and are still on the disk. */
  readonly #fallen = new Set<ServerId>()
  /** What is being written: at most one claim for each peer, each judged when its write began. */
  #writing: readonly Claim[] = []
  /** Whether this server was added, and is none of the first members: durable. */
  #hasJoined: boolean
  /** That it was, as a peer says, until that is durable; whatever that peer says waits for it. */
  #news: News | null = null

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
    this.#hasJoined = hasJoined(facts)
    for (const [key, value] of facts) {
      if (key.startsWith(PIN_PREFIX)) this.#pins.set(key.slice(PIN_PREFIX.length), decodePin(value))
    }
    this.#sweep()
  }

  /** Claims that are not durable yet. */
  get count(): number {
    return this.#waiting.length + this.#writing.length
  }

  /** Whether this server was added, and is none of the first members. */
  get hasJoined(): boolean {
    return this.#hasJoined
  }

  /** Whether that is the id of another member. */
  isPeer(peer: ServerId): boolean {
    return this.#core.contacts.some(({ id }) => id === peer)
  }

  /** Whether it was let in without being a member, and what stands behind its id is still not written down. */
  isGuest(peer: ServerId): boolean {
    return this.#guests.has(peer) && !this.#pins.has(peer)
  }

  /** Whether a store stands behind that id, so that another one would be refused. */
  isTaken(id: ServerId): boolean {
    return id === this.#self.serverId || (this.isPeer(id) && this.#pins.has(id))
  }

  /** Which boot of that peer is pinned; 0 for none. */
  bootOf(peer: ServerId): number {
    return this.#pins.get(peer)?.bootCounter ?? 0
  }

  /** Resolves when the peer may be talked to. One that asks again while its claim waits, waits for the same. */
  async admit(peer: Introduction): Promise<void> {
    await this.#admit(peer)
    if (peer.targetWasAdded === true && !this.#hasJoined) await this.#learn()
  }

  #admit(peer: Introduction): Promise<void> {
    const refusal = this.#refusal(peer)
    if (refusal !== null) return Promise.reject(refusal)
    if (this.#isPinned(peer)) return Promise.resolve()
    if (this.#mayBeGuest(peer)) return this.#welcome(peer)
    const known = this.#claimOf(peer)
    if (known !== null) return known.durable
    if (this.count >= CLAIMS_MAX) return Promise.reject(overloaded(`${this.count} claims of peers wait for the disk`))
    const claim = new Claim(peer)
    this.#waiting.push(claim)
    this.#mailbox.schedule()
    return claim.durable
  }

  /**
   * A configuration is committed: whoever was pinned before it and is no member of it, or not with that store, or comes
   * with it, is known no more.
   */
  committed(configuration: Configuration, index: LogIndex): void {
    const isMember = new Set(membersOf(configuration).map(({ id }) => id))
    const before = this.#core.log.configurations.findLast((at) => at.index < index)?.configuration ?? configuration
    for (const [peer, { since, incarnation }] of this.#pins) {
      // Its removal may be in a snapshot that says only who came after it.
      const voting = this.#core.storeNamedFor(configuration, peer)
      const isReplaced = voting !== null && voting !== incarnation
      // It came with an entry that was taken back; whoever asked for that may send another machine the next time.
      const isNew = !isIn(before, peer)
      if (since >= index || (isMember.has(peer) && !isReplaced && !isNew)) continue
      this.#pins.delete(peer)
      this.#expelled.delete(peer)
      this.#fallen.add(peer)
    }
    for (const id of this.#guests) if (this.#pins.has(id)) this.#guests.delete(id)
  }

  /** From now on this boot of the peer is refused. Invariant: it was admitted. */
  expel(peer: ServerId, error: RaftError): void {
    const pin = this.#pins.get(peer)
    if (pin !== undefined) this.#expelled.set(peer, { pin, error })
  }

  /**
   * What to write now. One write of claims or news is under way at a time; the caller reports its end with `written` or
   * `failAll`. Each claim is judged again, by what was pinned since it asked, and waits while another one for its peer
   * is being written: no claim that is refused in memory may stand on the disk.
   */
  takeWrites(): readonly StoreOperation[] {
    const puts = this.#takePuts()
    if (this.#fallen.size === 0) return puts
    const falls = [...this.#fallen].map((peer) => ({ type: 'delete', key: PIN_PREFIX + peer }) as const)
    this.#fallen.clear()
    return [...falls, ...puts]
  }

  /** This server was added: nothing that it reads of before makes it a voter, from when that is durable. */
  #learn(): Promise<void> {
    this.#news ??= new News()
    this.#mailbox.schedule()
    return this.#news.durable
  }

  // Hot path: once per turn, and nearly always nothing.
  #takePuts(): readonly StoreOperation[] {
    if (this.#writing.length > 0 || this.#news?.isBeingWritten === true) return NO_STEPS
    const claims = this.#takeClaims()
    if (this.#news === null) return claims
    this.#news.isBeingWritten = true
    return [joinedFact(), ...claims]
  }

  #takeClaims(): readonly StoreOperation[] {
    if (this.#waiting.length === 0) return NO_STEPS
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
    return this.#writing.map((claim) => {
      claim.since = this.#memberSince(claim.peer.serverId)
      const { peer, since } = claim
      return { type: 'put', key: PIN_PREFIX + peer.serverId, value: encodePin(peer, since) }
    })
  }

  written(): void {
    for (const claim of this.#writing) {
      const { serverId } = claim.peer
      const before = this.#pins.get(serverId)
      if (before !== undefined && !isSameBoot(before, claim.peer)) {
        this.#superseded.push({ by: claim.peer, error: superseded(claim.peer) })
      }
      const { incarnation, bootCounter, bootNonce } = claim.peer
      this.#pins.set(serverId, { incarnation, bootCounter, bootNonce, since: claim.since })
      this.#excused.delete(serverId)
      claim.resolve()
    }
    this.#writing = []
    if (this.#news?.isBeingWritten === true) {
      this.#hasJoined = true
      // Before whatever the peer that said it sends.
      this.#mailbox.push({ type: 'hasJoined' })
      this.#news.resolve()
      this.#news = null
    }
    this.#sweep()
    if (this.#waiting.length > 0 || this.#news !== null) this.#mailbox.schedule()
  }

  /** What was pinned in the place of another boot since the last time. Hot path: once per turn. */
  takeSuperseded(): readonly Superseded[] {
    if (this.#superseded.length === 0) return NONE
    const taken = this.#superseded
    this.#superseded = []
    return taken
  }

  failAll(error: RaftError): void {
    const claims = [...this.#writing, ...this.#waiting]
    this.#writing = []
    this.#waiting = []
    for (const claim of claims) claim.reject(error)
    this.#news?.reject(error)
    this.#news = null
  }

  #memberSince(peer: ServerId): LogIndex {
    const has = ({ configuration }: ConfigurationAt): boolean => isIn(configuration, peer)
    return this.#core.log.configurationsInQuestion.findLast(has)?.index ?? logIndex(0)
  }

  /** What was committed before this server began, or while a claim was being written. */
  #sweep(): void {
    const { configurations, settledIndex } = this.#core.log
    for (const { configuration, index } of configurations) {
      if (index <= settledIndex) this.committed(configuration, index)
    }
  }

  /** The same claim, if it is the one being written, or the last that waits for that peer. */
  #claimOf(peer: Identity): Claim | null {
    const isOfPeer = (claim: Claim): boolean => claim.peer.serverId === peer.serverId
    const candidates = [this.#writing.find(isOfPeer), this.#waiting.findLast(isOfPeer)]
    return candidates.find((claim) => claim?.isOf(peer)) ?? null
  }

  #welcome({ serverId }: Introduction): Promise<void> {
    const isFull = this.#guests.size >= CLAIMS_MAX && !this.#guests.has(serverId)
    if (isFull) return Promise.reject(overloaded(`${this.#guests.size} servers were let in that are no members here`))
    this.#guests.add(serverId)
    return Promise.resolve()
  }

  /**
   * A server that is no member here, and may lead all the same: this one may have missed who came. Nothing is written
   * down of it, and the core gives it no vote: what a leader says brings the news of the members.
   */
  #mayBeGuest({ serverId: id, term, lastIndex }: Introduction): boolean {
    if (this.isPeer(id) || this.#pins.has(id)) return false
    const { log, term: ownTerm } = this.#core
    const knowsMore = term > ownTerm || (term === ownTerm && lastIndex > log.lastIndex)
    return knowsMore || !log.configurationsInQuestion.some((at) => isIn(at.configuration, this.#self.serverId))
  }

  /** Whether a claim that nothing speaks against says what is on the disk already. */
  #isPinned(peer: Identity): boolean {
    const pin = this.#pins.get(peer.serverId)
    return pin !== undefined && isSameBoot(pin, peer) && !this.#excused.has(peer.serverId)
  }

  #refusal(peer: Introduction): RaftError | null {
    const { clusterId, serverId } = this.#self
    if (peer.clusterId !== clusterId) {
      const { code, reason } = clusterRefusal(this.#self, peer)
      return new RaftError(code, reason)
    }
    const isSelf = peer.serverId === serverId
    if (isSelf || !(this.isPeer(peer.serverId) || this.#mayBeGuest(peer))) {
      const why = isSelf
        ? 'is the id of this server itself'
        : 'is not a member of the cluster: add it, or if it was removed, stop it'
      return new RaftError('ERR_RAFT_CLUSTER_MISMATCH', `${peer.serverId} ${why}`)
    }
    const pin = this.#pins.get(peer.serverId)
    if (pin !== undefined && pin.incarnation !== peer.incarnation) return replaced(peer.serverId, pin, peer)
    const core = this.#core
    // Only a leader knows: who catches up reads of stores that have been replaced since.
    const voting = core.role === 'leader' ? core.storeNamedFor(core.configuration, peer.serverId) : null
    if (voting !== null && voting !== peer.incarnation) {
      return replaced(peer.serverId, { incarnation: voting, bootCounter: 0, bootNonce: null }, peer)
    }
    const expelled = this.#expelled.get(peer.serverId)
    if (expelled !== undefined && isSameBoot(expelled.pin, peer)) return expelled.error
    const loss = this.#loss(peer, pin)
    if (loss !== null || this.#excused.has(peer.serverId)) return loss
    const known = pin?.bootCounter ?? 0
    if (peer.bootCounter - known > BOOT_JUMP_MAX) return implausible(peer, known)
    return pin === undefined ? null : unfollowed(pin, peer)
  }

  /**
   * A leader knows what the peer has acknowledged to it in this term. All of that was said by boots up to the pinned
   * one, so whatever boot comes next had it on its disk when it began. Only a leader of a later term takes entries
   * back, and then the peer is in that term. What the pinned boot itself says may be older than what it acknowledged:
   * it comes on another connection.
   */
  #loss(peer: Introduction, pin: Pin | undefined): RaftError | null {
    const { role, term } = this.#core
    if (role !== 'leader' || pin === undefined || isSameBoot(pin, peer) || peer.term > term) return null
    const acknowledged = this.#core.matchIndexOf(peer.serverId)
    if (acknowledged === 0) return null
    if (peer.term < term) return lostEntries(peer.serverId, acknowledged, `it is back in term ${peer.term}`)
    if (peer.lastIndex >= acknowledged) return null
    return lostEntries(peer.serverId, acknowledged, `its log ends at ${peer.lastIndex}`)
  }
}

function isIn(configuration: Configuration, id: ServerId): boolean {
  return membersOf(configuration).some((server) => server.id === id)
}

/** Why that boot is not taken for one that follows the pinned one, of the same store; null when it is. */
function unfollowed(pin: Pin, peer: Introduction): RaftError | null {
  if (peer.bootCounter < pin.bootCounter) return replaced(peer.serverId, pin, peer)
  if (pin.bootNonce === null) return null
  const isOfPin = ({ bootCounter }: Boot): boolean => bootCounter === pin.bootCounter
  const shown = isOfPin(peer) ? peer : peer.boots.find(isOfPin)
  if (shown === undefined) return unproven(peer, pin.bootCounter)
  return shown.bootNonce === pin.bootNonce ? null : otherLife(peer, pin.bootCounter)
}

/** What helps a server that is refused, and when it does not. */
const OWN_FOLDER =
  'Give it back its own folder, as it was when it last ran; without that, replace the server (raft.replace, or removeServer and addVoter): the id may then come with an empty folder, and option join with the addresses of members'

/** The way back when this server is wrong. */
const accept = (peer: ServerId): string =>
  `start this one once with the option acceptPeerBoot of Raft.open (balsa-kv: --accept-peer-boot ${peer})`

function replaced(peer: ServerId, known: StoreBoot, seen: StoreBoot): RaftError {
  const what =
    known.incarnation === seen.incarnation
      ? `went back from boot ${known.bootCounter} to boot ${seen.bootCounter}`
      : `has another store (${seen.incarnation}) than the one known here (${known.incarnation})`
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${peer} ${what}: it may have forgotten votes and entries. ${OWN_FOLDER}`,
  )
}

/** What the boot before it is told, where it is still connected. */
function superseded({ serverId, bootCounter }: Identity): RaftError {
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${serverId} runs in boot ${bootCounter} now, and this connection is of another boot of it. If both run, they run from copies of one folder, and the one that is refused must be stopped`,
  )
}

function implausible({ serverId, bootCounter }: Identity, known: number): RaftError {
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${serverId} says that this is its boot ${bootCounter}, and ${known} was the last one known here: no server starts 2^20 times unseen, so this is damage or a forgery, and it is not believed. If the count of that server is right, ${accept(serverId)}`,
  )
}

function otherLife({ serverId, bootCounter }: Identity, known: number): RaftError {
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${serverId}, in its boot ${bootCounter}, comes from another boot ${known} than the one known here: two servers have run from copies of one folder, and this one lacks what the other voted and acknowledged. ${OWN_FOLDER}. If this is that folder, and a copy of it was known here, ${accept(serverId)}`,
  )
}

/** The peer is told which boot to show, by what this server says of itself, and may show it with its next dial. */
function unproven({ serverId, bootCounter }: Identity, known: number): RaftError {
  return new RaftError(
    'ERR_RAFT_BOOT_UNPROVEN',
    `server ${serverId}, in its boot ${bootCounter}, has not shown the nonce of its boot ${known}, which is the last one known here. If it stays so, its folder is a copy from before that boot, or it has been started more than 65536 times since. ${OWN_FOLDER}. If its folder is its own, ${accept(serverId)}`,
  )
}

/** What a leader finds of a peer that has come back with less than it had. `now`: how it stands. */
export function lostEntries(peer: ServerId, acknowledged: LogIndex, now: string): RaftError {
  return new RaftError(
    'ERR_RAFT_PEER_REPLACED',
    `server ${peer} has lost entries: it had acknowledged all up to ${acknowledged}, and now ${now}, or differs before that. Its disk was rolled back or has lost writes, and it may have forgotten votes. ${OWN_FOLDER}`,
  )
}

function encodePin({ incarnation, bootCounter, bootNonce }: Identity, since: LogIndex): Uint8Array {
  return new TextEncoder().encode(`${incarnation} ${bootCounter} ${bootNonce} ${since}`)
}

function decodePin(value: Uint8Array): Pin {
  const [incarnation, bootCounter, bootNonce = null, since = '0'] = new TextDecoder().decode(value).split(' ')
  const isNonce = bootNonce === null || isHex(bootNonce)
  if (!isHex(incarnation) || !isBoot(bootCounter) || !isNonce || !isBoot(since)) {
    throw new RaftError('ERR_RAFT_STORE_CORRUPT', `the stored identity of a peer cannot be read. ${neverEmpty}`)
  }
  return { incarnation, bootCounter: Number(bootCounter), bootNonce, since: logIndex(Number(since)) }
}

const isHex = (text: string | undefined): text is string => /^[0-9a-f]{32}$/.test(text ?? '')

function isBoot(text: string | undefined): boolean {
  return /^\d+$/.test(text ?? '') && isPosition(Number(text), STORED_MAX)
}
