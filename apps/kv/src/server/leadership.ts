/**
 * Where the leader is, as this server knows it: kept from the library's events, so that no command has to ask.
 *
 * A change of the leader begins when this server starts, when the old one is lost, or when a new one is heard of, which
 * may be the old one in a later term: another may have led, and acknowledged, in between. It ends when this server
 * leads itself, or follows a leader and has applied an entry of that leader's term: then it holds everything that was
 * acknowledged in earlier terms, for that precedes the entry in the log (5.4.2). Commands may wait for that, but no
 * longer than one wait: it is not begun anew while it runs, however often the leader changes.
 */

import type { LeaderHint } from 'balsa-raft'
import { describedMembers, knownMember, type KnownMember, type Listed, type Member } from '../cluster/members.js'
import type { KvClock } from './clock.js'
import type { KvRaft } from './kv-raft.js'

export interface LeadershipOptions extends Listed {
  /** How long the end of a change is waited for; 0: not at all. */
  readonly waitMs: number
  /** What only a leader can do for a client is asked of it, over the connections between servers. Default false. */
  readonly forwards?: boolean
  readonly clock: Pick<KvClock, 'setTimer'>
  readonly onChange: () => void
}

export class Leadership {
  readonly self: Member
  readonly forwards: boolean
  /** By the configuration in force. Invariant: `leader` and `owner` are of these, or this server, or told by a hint. */
  #members: readonly KnownMember[]
  #isLeader: boolean
  #leader: KnownMember | null
  #lastLeader: KnownMember | null
  /** Peers to which this server has no connection any more. */
  readonly #unreachable = new Set<string>()
  readonly #raft: KvRaft
  readonly #options: LeadershipOptions
  /** Ends the wait for the end of a change; null: none runs. */
  #cancelWait: (() => void) | null = null
  #untilKnown: (() => void)[] = []
  #waitMs: number
  #isLost = false
  /** What precedes the term of the leader is applied here. */
  #isReady = false
  #awaitsReady = false
  readonly #stop: (() => void)[]

  constructor(raft: KvRaft, options: LeadershipOptions) {
    this.self = options.self
    this.forwards = options.forwards ?? false
    this.#raft = raft
    this.#options = options
    this.#waitMs = options.waitMs
    const { role, leader, configuration } = raft.status
    this.#members = this.#membersOf(configuration)
    this.#isLeader = role === 'leader'
    this.#leader = this.member(leader)
    this.#lastLeader = this.#leader
    this.#stop = [
      raft.on('role', (event) => {
        this.#isLeader = event.role === 'leader'
        this.#changed(false)
      }),
      // Once for each term of a leader, and again when it is named by the log of this server.
      raft.on('leader', (event) => {
        this.#leader = this.member(event.leader)
        this.#lastLeader = this.#leader ?? this.#lastLeader
        this.#isReady = false
        this.#changed(true)
      }),
      raft.on('configuration', ({ configuration }) => {
        this.#members = this.#membersOf(configuration)
        this.#leader = this.#anew(this.#leader)
        this.#lastLeader = this.#anew(this.#lastLeader)
        this.#changed(false)
      }),
      raft.on('peer', (event) => {
        if (event.connected) this.#unreachable.delete(event.id)
        else this.#unreachable.add(event.id)
        this.#changed(false)
      }),
    ]
    this.#review(true)
  }

  get isLeader(): boolean {
    return this.#isLeader
  }

  /** Whether clients of this server have done here what only a leader can do: by it, or by the one it forwards to. */
  get canServe(): boolean {
    return this.#isLeader || (this.forwards && this.#leader !== null)
  }

  get members(): readonly KnownMember[] {
    return this.#members
  }

  /** Null: none is known now. */
  get leader(): KnownMember | null {
    return this.#isLeader ? this.self : this.#leader
  }

  /**
   * The leader is lost, or was never known, and its successor is not known yet, since not long ago: a command for the
   * leader had better wait.
   */
  get isChanging(): boolean {
    return this.#cancelWait !== null && this.#isLost
  }

  /**
   * The change of the leader has not ended here, since not long ago: a stale read had better wait. It is now that
   * clients come here for what the lost leader acknowledged, some without having chosen a stale read (ioredis says
   * READONLY by itself, and tries any server when one is lost).
   */
  get isBehind(): boolean {
    return this.#cancelWait !== null
  }

  /** Waits for the end of a change that run, one at most, and those that are told of it. */
  get waits(): number {
    return Number(this.#cancelWait !== null) + this.#untilKnown.length
  }

  /** Calls back once the leader's change is over, or is not waited for any longer: at once, if there is none. */
  whenKnown(callback: () => void): void {
    if (this.isChanging) this.#untilKnown.push(callback)
    else callback()
  }

  /**
   * Whom to name as owner of the slots. While there is no leader that is the last one known, or this server: a client
   * that is told of no owner at all forgets the whole cluster, while one that asks any server is told CLUSTERDOWN and
   * comes again.
   */
  get owner(): KnownMember {
    return this.leader ?? this.#lastLeader ?? this.self
  }

  /** From now on no change is waited for: this server closes, and whoever waits here is told so by what is known. */
  waitNoMore(): void {
    this.#waitMs = 0
    this.#endWait()
    this.#changed(false)
  }

  stop(): void {
    for (const stop of this.#stop) stop()
    this.#endWait()
    this.#tellKnown()
  }

  #changed(isNews: boolean): void {
    this.#review(isNews)
    if (!this.isChanging) this.#tellKnown()
    this.#options.onChange()
  }

  #tellKnown(): void {
    for (const callback of this.#untilKnown.splice(0)) callback()
  }

  /** `isNews`: another leader, or none, which is a reason to wait once more. */
  #review(isNews: boolean): void {
    const isLost = !this.#isLeader && (this.#leader === null || this.#unreachable.has(this.#leader.id))
    const isReason = isNews || isLost !== this.#isLost
    this.#isLost = isLost
    if (!this.#isReady) this.#awaitReady()
    if (this.#isLeader || (!isLost && this.#isReady)) {
      this.#endWait()
    } else if (isReason && this.#cancelWait === null && this.#waitMs > 0) {
      this.#cancelWait = this.#options.clock.setTimer(this.#waitMs, () => {
        this.#cancelWait = null
        this.#tellKnown()
        this.#options.onChange()
      })
    }
  }

  /** One call is enough: it resolves for the leader that is known by then. */
  #awaitReady(): void {
    if (this.#awaitsReady) return
    this.#awaitsReady = true
    const settle = (isReady: boolean): void => {
      this.#awaitsReady = false
      this.#isReady = isReady
      if (isReady) this.#changed(false)
    }
    // It fails when the library has closed or halted; nothing more is applied then.
    this.#raft.ready().then(
      () => settle(true),
      () => settle(false),
    )
  }

  #endWait(): void {
    this.#cancelWait?.()
    this.#cancelWait = null
  }

  /** A server that was added since the configuration of this one tells of itself in the hint. */
  member(hint: LeaderHint | null): KnownMember | null {
    if (hint === null) return null
    return this.#members.find(({ id }) => id === hint.id) ?? knownMember(hint, this.#options)
  }

  #membersOf(configuration: Parameters<typeof describedMembers>[0]): readonly KnownMember[] {
    return describedMembers(configuration).map((server) => knownMember(server, this.#options))
  }

  /** As the configuration has it now. */
  #anew(leader: KnownMember | null): KnownMember | null {
    return leader === null ? null : (this.#members.find(({ id }) => id === leader.id) ?? null)
  }
}
