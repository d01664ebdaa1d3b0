/**
 * Owners that want the same few locks, and the promise of the lock service: no lock has two owners at a time, and the
 * token grows from owner to owner.
 */

import { setTimeout as pause } from 'node:timers/promises'
import type { Lock } from '../lock-service/machine.js'
import { LEASE_MS } from '../lock-service/machine.js'
import { Client } from './client.js'
import type { Check } from './check.js'
import type { Run } from './run.js'

const OWNERS = 8
const LOCKS = 6
/** Each so many owners one never releases what it holds. */
const LOST_OWNER = 40
const HELD_MS_MAX = 20
const REFUSED_PAUSE_MS = 20
/** Entry time passes as real time does to within a twentieth: an owner that goes by its own clock ends early. */
const TRUSTED_MS = LEASE_MS * 0.95

/** A lock that was held, by the clock of this process, from `from` to `to` for certain. */
export interface Grant {
  readonly name: string
  readonly owner: string
  readonly token: number
  readonly askedAt: number
  readonly from: number
  readonly to: number
}

export const lockCheck: Check<readonly Grant[]> = {
  service: 'lock-service',
  promise: 'no lock held twice, tokens grow',
  run: async (run) => {
    const grants: Grant[] = []
    await Promise.all(Array.from({ length: OWNERS }, (_, at) => acquireAndRelease(`o${at}`, at, run, grants)))
    return grants
  },
  faultOf,
}

async function acquireAndRelease(name: string, first: number, run: Run, grants: Grant[]): Promise<void> {
  const client = new Client(run.urls, first)
  for (let round = 0; !run.isOver; round += 1) {
    const lock = `lock${Math.floor(Math.random() * LOCKS)}`
    const owner = `${name}-${round}`
    const { status, body, askedAt, answeredAt } = await client.send('PUT', `/locks/${lock}`)
    if (status === 409) {
      await pause(REFUSED_PAUSE_MS)
      continue
    }
    if (status !== 200) throw new Error(`acquire was answered with ${status}: ${JSON.stringify(body)}`)
    run.tally.add()
    const { token } = body as Lock
    const grant = { name: lock, owner, token, askedAt, from: answeredAt }
    if (Math.random() < 1 / LOST_OWNER) {
      grants.push({ ...grant, to: askedAt + TRUSTED_MS })
      continue
    }
    await pause(Math.random() * HELD_MS_MAX)
    grants.push({ ...grant, to: Math.min(performance.now(), askedAt + TRUSTED_MS) })
    await client.send('DELETE', `/locks/${lock}`, { token })
    run.tally.add()
  }
}

/** How two grants break the promise, or null. */
function faultOf(grants: readonly Grant[]): string | null {
  if (grants.length === 0) return 'no lock was ever held'
  for (const name of new Set(grants.map((grant) => grant.name))) {
    const ofOne = grants.filter((grant) => grant.name === name)
    for (const before of ofOne) {
      for (const after of ofOne) {
        const fault = before === after ? null : faultBetween(before, after)
        if (fault !== null) return `${name}: ${fault}`
      }
    }
  }
  return null
}

function faultBetween(before: Grant, after: Grant): string | null {
  if (before.from <= after.from && after.from < Math.min(before.to, after.to)) {
    return `${after.owner} was given what ${before.owner} held`
  }
  if (before.from < after.askedAt && before.token >= after.token) {
    return `${after.owner} came after ${before.owner} with token ${after.token}, which had ${before.token}`
  }
  return null
}
