/** Where the leader is, as this server knows it: kept from the library's events, so that no command has to ask. */

import type { LeaderHint } from 'balsa-raft'
import type { Member } from '../cluster/members.js'
import type { KvRaft } from './kv-raft.js'

export class Leadership {
  readonly self: Member
  readonly members: readonly Member[]
  #isLeader: boolean
  #leader: Member | null
  #lastLeader: Member | null
  /** Peers to which this server has no connection. */
  readonly #unreachable = new Set<string>()
  readonly #onChange: () => void
  readonly #waitMs: number
  /** Runs while a lost leader is waited for. */
  #wait: NodeJS.Timeout | null = null
  #hasWaited = false
  readonly #stop: (() => void)[]

  /** `waitMs`: how long a lost leader's successor is waited for; 0: not at all. */
  constructor(raft: KvRaft, self: Member, members: readonly Member[], waitMs: number, onChange: () => void) {
    this.self = self
    this.members = members
    this.#waitMs = waitMs
    this.#onChange = onChange
    const { role, leader } = raft.status
    this.#isLeader = role === 'leader'
    this.#leader = this.#member(leader)
    this.#lastLeader = this.#leader
    this.#stop = [
      raft.on('role', (event) => {
        this.#isLeader = event.role === 'leader'
        this.#changed()
      }),
      raft.on('leader', (event) => {
        this.#leader = this.#member(event.leader)
        this.#lastLeader = this.#leader ?? this.#lastLeader
        this.#changed()
      }),
      raft.on('peer', (event) => {
        if (event.connected) this.#unreachable.delete(event.id)
        else this.#unreachable.add(event.id)
        this.#changed()
      }),
    ]
  }

  get isLeader(): boolean {
    return this.#isLeader
  }

  /** Null: none is known now. */
  get leader(): Member | null {
    return this.#isLeader ? this.self : this.#leader
  }

  /** The leader is lost and its successor not known yet, since not long ago: a command for the leader had better wait. */
  get isChanging(): boolean {
    return this.#wait !== null
  }

  /**
   * Whom to name as owner of the slots. While there is no leader that is the last one known, or this server: a client that is told of no owner at all
   * forgets the whole cluster, while one that asks any server is told CLUSTERDOWN and comes again.
   */
  get owner(): Member {
    return this.leader ?? this.#lastLeader ?? this.self
  }

  member(hint: LeaderHint | null): Member | null {
    return this.#member(hint)
  }

  stop(): void {
    for (const stop of this.#stop) stop()
    this.#endWait()
  }

  #changed(): void {
    const isLost = !this.#isLeader && (this.#leader === null || this.#unreachable.has(this.#leader.id))
    if (!isLost) {
      this.#hasWaited = false
      this.#endWait()
    } else if (!this.#hasWaited && this.#waitMs > 0) {
      this.#hasWaited = true
      this.#wait = setTimeout(() => {
        this.#wait = null
        this.#onChange()
      }, this.#waitMs)
    }
    this.#onChange()
  }

  #endWait(): void {
    if (this.#wait !== null) clearTimeout(this.#wait)
    this.#wait = null
  }

  #member(hint: LeaderHint | null): Member | null {
    return hint === null ? null : (this.members.find((member) => member.id === hint.id) ?? null)
  }
}
