/**
 * Whether this server was removed for good. One that lost its folder, was removed and added again learns its own
 * removal as it catches up, as history: it goes on being fed, and is a member again behind it. So a server that was
 * removed waits until it is fed no more.
 */

import type { KvClock } from './clock.js'
import { describedMembers } from '../cluster/members.js'
import type { KvRaft } from './kv-raft.js'

/**
 * Resolves once this server is no member and no entry has come for `quietMs` since. It is never resolved while the
 * server is a member.
 */
export function removedForGood(
  raft: Pick<KvRaft, 'on' | 'status'>,
  clock: Pick<KvClock, 'setTimer'>,
  quietMs: number,
): Promise<void> {
  return new Promise((resolve) => {
    let cancel: (() => void) | null = null
    const look = (lastIndex: number): void => {
      cancel = clock.setTimer(quietMs, () => {
        cancel = null
        const { status } = raft
        if (describedMembers(status.configuration).some(({ id }) => id === status.id)) return
        if (status.lastIndex === lastIndex) resolve()
        else look(status.lastIndex)
      })
    }
    raft.on('removed', () => {
      cancel?.()
      look(raft.status.lastIndex)
    })
  })
}
