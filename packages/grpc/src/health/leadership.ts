/** Whether a server leads, told whenever that changes. */

import type { RaftError, Role, Term } from 'balsa-raft'

/** So much of `Raft` as is needed. */
export interface LeadershipSource {
  readonly status: { readonly role: Role }
  readonly health: { readonly isAlive: boolean }
  readonly closed: Promise<RaftError | null>
  on(name: 'role', listener: (event: { readonly role: Role; readonly term: Term }) => void): () => void
}

/** How a server stands to its leadership. */
export interface Leadership {
  readonly isLeader: boolean
  /** It has neither halted nor closed. */
  readonly isOpen: boolean
}

/**
 * Calls `tell` now, and again when this server begins or ceases to lead, or has ended: for a health service that the
 * application has already (`tell` sets its status). Returns what ends that.
 */
export function followLeadership(raft: LeadershipSource, tell: (leadership: Leadership) => void): () => void {
  let isStopped = false
  const unsubscribe = raft.on('role', ({ role }) => tell({ isLeader: role === 'leader', isOpen: true }))
  void raft.closed.then(() => {
    if (!isStopped) tell({ isLeader: false, isOpen: false })
  })
  const { isAlive } = raft.health
  tell({ isLeader: isAlive && raft.status.role === 'leader', isOpen: isAlive })
  return () => {
    isStopped = true
    unsubscribe()
  }
}
