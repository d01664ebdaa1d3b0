/** Which locks are held, and until when. */

import { text } from 'node:stream/consumers'
import { defineStateMachine, msgpackCodec } from 'balsa-raft'

/** So long a lock is held, by the time of entries, unless it is acquired again with its token. */
export const LEASE_MS = 2000
const LOCKS_MAX = 10_000
const NAME_LENGTH_MAX = 200

export interface Lock {
  /** Grows with each holder: what a lock protects refuses whoever comes with a lower one than it has seen. */
  readonly token: number
  readonly until: number
}

export interface Command {
  readonly type: 'acquire' | 'release'
  readonly name: string
  /** Of the lock that is held; 0: it is to be a new one. */
  readonly token: number
}

export const codec = msgpackCodec<Command>()

export function makeLocks() {
  /** By name; the lock that ends first comes first. */
  let locks = new Map<string, Lock>()

  function expire(time: number): void {
    for (const [name, { until }] of locks) {
      if (until > time) return
      locks.delete(name)
    }
  }

  function acquire(name: string, token: number, index: number, time: number): Lock | null {
    const isHeld = locks.delete(name)
    if (!isHeld && locks.size >= LOCKS_MAX) return null
    const lock = { token: isHeld ? token : index, until: time + LEASE_MS }
    locks.set(name, lock)
    return lock
  }

  return defineStateMachine(codec, {
    validate: ({ name }) => {
      if (name.length > 0 && name.length <= NAME_LENGTH_MAX) return
      throw new RangeError(`the name of a lock has 1 .. ${NAME_LENGTH_MAX} characters`)
    },
    apply: (batch) =>
      batch.map(({ index, time, command: { type, name, token } }) => {
        expire(time)
        if (token !== (locks.get(name)?.token ?? 0)) return null
        if (type === 'acquire') return acquire(name, token, index, time)
        locks.delete(name)
        return null
      }),
    query: (name: string) => locks.get(name) ?? null,
    snapshot: () => [Buffer.from(JSON.stringify([...locks]))],
    restore: async (source) => {
      locks = new Map(JSON.parse(await text(source)))
    },
  })
}
