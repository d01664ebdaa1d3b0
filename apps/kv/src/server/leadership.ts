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
  readonly #stop: (() => void)[]

  constructor(raft: KvRaft, self: Member, members: readonly Member[], onChange: () => void) {
    this.self = self
    this.members = members
    const { role, leader } = raft.status
    this.#isLeader = role === 'leader'
    this.#leader = this.#member(leader)
    this.#lastLeader = this.#leader
    this.#stop = [
      raft.on('role', (event) => {
        this.#isLeader = event.role === 'leader'
        onChange()
      }),
      raft.on('leader', (event) => {
        this.#leader = this.#member(event.leader)
        this.#lastLeader = this.#leader ?? this.#lastLeader
        onChange()
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
  }

  #member(hint: LeaderHint | null): Member | null {
    return hint === null ? null : (this.members.find((member) => member.id === hint.id) ?? null)
  }
}
