/**
 * Clients that wait until other servers have what they wrote (WAIT). The leader knows how far each has come, by what
 * those have flushed and said so; while anybody waits it looks every `WAIT_LOOK_MS`.
 *
 * Bounds: one wait for each client, which begins no other command meanwhile; who has gone, or sends no more, waits no
 * longer.
 */

import { WAIT_LOOK_MS } from '../limits.js'
import { failure, type Reply } from '../resp/reply.js'
import type { KvClock } from './clock.js'
import type { KvRaft } from './kv-raft.js'

export interface CopyWait {
  readonly client: {
    /** It sends no more, or is gone. */
    readonly hasLeft: boolean
  }
  /** What is waited for: all entries up to this one, */
  readonly index: number
  /** on so many other servers. */
  readonly count: number
  readonly timeoutMs: number
}

interface Waiting extends CopyWait {
  readonly until: number
  readonly answer: (reply: Reply) => void
}

/** As Redis says it. */
const unblocked = failure(
  'UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)',
)

export class CopyWaits {
  readonly #raft: Pick<KvRaft, 'status'>
  readonly #clock: Pick<KvClock, 'now' | 'setTimer'>
  #waiting: Waiting[] = []
  #cancelLook: (() => void) | null = null

  constructor(raft: Pick<KvRaft, 'status'>, clock: Pick<KvClock, 'now' | 'setTimer'>) {
    this.#raft = raft
    this.#clock = clock
  }

  get count(): number {
    return this.#waiting.length
  }

  /** Other servers that have all entries up to this one on disk, as far as this leader has heard. */
  copies(index: number): number {
    return copiesOf(this.#matches, index)
  }

  wait(wanted: CopyWait): Promise<Reply> {
    return new Promise((answer) => {
      const until = this.#clock.now() + wanted.timeoutMs
      this.#waiting.push({ ...wanted, until, answer })
      this.#lookLater()
    })
  }

  /** This server leads no more, or closes: what others have it hears no longer. */
  endAll(): void {
    this.#cancelLook?.()
    this.#cancelLook = null
    for (const { answer } of this.#waiting.splice(0)) answer(unblocked)
  }

  get #matches(): readonly number[] {
    return this.#raft.status.peers.map(({ matchIndex }) => matchIndex)
  }

  #lookLater(): void {
    if (this.#waiting.length === 0) return
    this.#cancelLook ??= this.#clock.setTimer(WAIT_LOOK_MS, () => {
      this.#cancelLook = null
      this.#look()
    })
  }

  #look(): void {
    const matches = this.#matches
    const now = this.#clock.now()
    this.#waiting = this.#waiting.filter(({ client, index, count, until, answer }) => {
      const copies = copiesOf(matches, index)
      if (copies < count && now < until && !client.hasLeft) return true
      answer(copies)
      return false
    })
    this.#lookLater()
  }
}

/** The first entry of a log is the first that anybody can have. */
function copiesOf(matches: readonly number[], index: number): number {
  return matches.filter((match) => match >= Math.max(1, index)).length
}
