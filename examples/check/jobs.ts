/**
 * Producers and workers, and the promise of the job queue: a job is with one worker at a time, is finished once, and is
 * not lost once it was acknowledged.
 */

import { setTimeout as pause } from 'node:timers/promises'
import type { Job } from '../job-queue/machine.js'
import { LEASE_MS } from '../job-queue/machine.js'
import { Client } from './client.js'
import type { Reply } from './client.js'
import type { Check } from './check.js'
import type { Run } from './run.js'

const PRODUCERS = 2
const WORKERS = 6
/** Each so many takes a worker never finishes the job. */
const LOST_WORKER = 40
const WORK_MS_MAX = 20
/** Producers wait while more are added than workers have finished: what is left at the end is soon done. */
const AHEAD_MAX = 50
const IDLE_MS = 20
/** Entry time passes as real time does to within a twentieth: a worker that goes by its own clock ends early. */
const TRUSTED_MS = LEASE_MS * 0.95

/** A job that a worker had, by the clock of this process, from `from` to `to` for certain. */
export interface Handing {
  readonly id: number
  readonly worker: string
  readonly askedAt: number
  readonly from: number
  readonly to: number
  /** When the worker was told that it has finished the job; null: never, or the queue has refused it. */
  readonly finishedAt: number | null
}

export interface JobHistory {
  /** Ids of the jobs whose adding was acknowledged. */
  readonly added: readonly number[]
  readonly handings: readonly Handing[]
}

export const jobCheck: Check<JobHistory> = {
  service: 'job-queue',
  promise: 'no job handed out twice, none lost',
  run: async (run) => {
    const shared: Shared = { run, added: [], handings: [], finished: 0, producing: PRODUCERS }
    await Promise.all([
      ...Array.from({ length: PRODUCERS }, (_, at) => produce(at, shared)),
      ...Array.from({ length: WORKERS }, (_, at) => work(at, shared)),
    ])
    return shared
  },
  faultOf,
}

interface Shared {
  readonly run: Run
  readonly added: number[]
  readonly handings: Handing[]
  finished: number
  producing: number
}

async function produce(at: number, shared: Shared): Promise<void> {
  const client = new Client(shared.run.urls, at)
  for (let round = 0; !shared.run.isOver; round += 1) {
    if (shared.added.length - shared.finished >= AHEAD_MAX) {
      await pause(IDLE_MS)
      continue
    }
    const { status, body } = await client.send('POST', '/jobs', { payload: `job ${round} of producer ${at}` })
    if (status !== 200) throw new Error(`add was answered with ${status}: ${JSON.stringify(body)}`)
    shared.added.push((body as Job).id)
    shared.run.tally.add()
  }
  shared.producing -= 1
}

/** Until all that was added is finished; leases of lost workers have to end first. */
async function work(at: number, shared: Shared): Promise<void> {
  const client = new Client(shared.run.urls, at)
  for (let round = 0; !shared.run.isLate; round += 1) {
    const reply = await client.send('PUT', '/jobs')
    if (reply.status === 200) {
      shared.run.tally.add()
      const handing = await handle(client, reply, `worker ${at} in round ${round}`)
      shared.handings.push(handing)
      if (handing.finishedAt === null) continue
      shared.run.tally.add()
      shared.finished += 1
    } else if (reply.status !== 409) {
      throw new Error(`take was answered with ${reply.status}: ${JSON.stringify(reply.body)}`)
    } else if (shared.producing === 0 && (await isEmpty(client))) {
      return
    } else {
      await pause(IDLE_MS)
    }
  }
}

async function handle(client: Client, { body, askedAt, answeredAt }: Reply, worker: string): Promise<Handing> {
  const { id, lease } = body as Job
  const lostAt = askedAt + TRUSTED_MS
  const had = { id, worker, askedAt, from: answeredAt }
  if (Math.random() < 1 / LOST_WORKER) return { ...had, to: lostAt, finishedAt: null }
  await pause(Math.random() * WORK_MS_MAX)
  const to = Math.min(performance.now(), lostAt)
  const finished = await client.send('DELETE', '/jobs', { id, lease })
  return { ...had, to, finishedAt: finished.status === 200 ? finished.answeredAt : null }
}

async function isEmpty(client: Client): Promise<boolean> {
  const { body } = await client.ask('GET', '/jobs')
  const { waiting, taken } = body as { readonly waiting: number; readonly taken: number }
  return waiting === 0 && taken === 0
}

/** How the history breaks the promise, or null. */
function faultOf({ added, handings }: JobHistory): string | null {
  if (added.length === 0) return 'no job was ever added'
  const byId = new Map<number, Handing[]>(added.map((id) => [id, []]))
  for (const handing of handings) {
    const ofOne = byId.get(handing.id)
    if (ofOne === undefined) return `job ${handing.id} was handed out, and nobody has added it`
    ofOne.push(handing)
  }
  for (const [id, ofOne] of byId) {
    const finished = ofOne.filter(({ finishedAt }) => finishedAt !== null)
    if (finished.length !== 1) return `job ${id} was finished ${finished.length} times`
    for (const before of ofOne) {
      for (const after of ofOne) {
        const fault = before === after ? null : faultBetween(before, after)
        if (fault !== null) return `job ${id}: ${fault}`
      }
    }
  }
  return null
}

function faultBetween(before: Handing, after: Handing): string | null {
  if (before.from <= after.from && after.from < Math.min(before.to, after.to)) {
    return `${after.worker} was given what ${before.worker} had`
  }
  if (before.finishedAt !== null && before.finishedAt < after.askedAt) {
    return `${after.worker} was given what ${before.worker} had finished`
  }
  return null
}
