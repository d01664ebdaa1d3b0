/** Which jobs wait, and who works on which. */

import { text } from 'node:stream/consumers'
import { defineStateMachine, msgpackCodec } from 'balsa-raft'

/** So long a job is left to the worker that took it, by the time of entries; then it waits again. */
export const LEASE_MS = 2000
const JOBS_MAX = 10_000
const PAYLOAD_LENGTH_MAX = 1000

export interface Job {
  readonly id: number
  readonly payload: string
  /** Whoever took it last is known by this. */
  readonly lease: number
  readonly until: number
}

export type Command =
  | { readonly type: 'add'; readonly payload: string }
  | { readonly type: 'take' }
  | { readonly type: 'finish'; readonly id: number; readonly lease: number }

export const codec = msgpackCodec<Command>()

export function makeQueue() {
  /** By id; the job that has waited for longest comes first. */
  let waiting = new Map<number, Job>()
  /** By id; the job whose lease ends first comes first. */
  let taken = new Map<number, Job>()

  function expire(time: number): void {
    for (const [id, job] of taken) {
      if (job.until > time) return
      taken.delete(id)
      waiting.set(id, job)
    }
  }

  function add(id: number, payload: string): Job | null {
    if (waiting.size + taken.size >= JOBS_MAX) return null
    const job = { id, payload, lease: 0, until: 0 }
    waiting.set(id, job)
    return job
  }

  function take(lease: number, time: number): Job | null {
    const [next] = waiting.values()
    if (next === undefined) return null
    const job = { ...next, lease, until: time + LEASE_MS }
    waiting.delete(job.id)
    taken.set(job.id, job)
    return job
  }

  function finish(id: number, lease: number): Job | null {
    const job = taken.get(id)
    return job?.lease === lease && taken.delete(id) ? job : null
  }

  return defineStateMachine(codec, {
    validate: (command) => {
      if (command.type !== 'add' || command.payload.length <= PAYLOAD_LENGTH_MAX) return
      throw new RangeError(`a payload has ${PAYLOAD_LENGTH_MAX} characters at most`)
    },
    apply: (batch) =>
      batch.map(({ index, time, command }) => {
        expire(time)
        if (command.type === 'add') return add(index, command.payload)
        return command.type === 'take' ? take(index, time) : finish(command.id, command.lease)
      }),
    query: () => ({ waiting: waiting.size, taken: taken.size }),
    snapshot: () => [Buffer.from(JSON.stringify([[...waiting], [...taken]]))],
    restore: async (source) => {
      const [first, second] = JSON.parse(await text(source))
      waiting = new Map(first)
      taken = new Map(second)
    },
  })
}
