/**
 * Reads: linearizable ones on the leader (thesis 6.4: one confirmed round for all that wait, or its lease, 6.4.1),
 * stale ones on a follower.
 */

import type { ChildProcess } from 'node:child_process'
import type { Load, Work } from '../cluster/messages.js'
import { RaftServers } from '../cluster/raft-servers.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Suite } from '../suite.js'

const WARM_UP_MS = 500

export const read: Suite = {
  name: 'read',
  purpose: 'linearizable reads on the leader, by its lease, on a follower and on all, stale reads on a follower',
  minutes: 2,
  rounds: 5,
  seconds: 2,
  metrics: [
    { key: 'perSecond', head: 'reads/s', digits: 0 },
    { key: 'p50', head: 'p50 ms', digits: 3 },
    { key: 'p99', head: 'p99 ms', digits: 3 },
    { key: 'p999', head: 'p99.9 ms', digits: 3 },
    { key: 'cpuPerRead', head: 'CPU us/read', digits: 2 },
  ],
  judged: { key: 'perSecond', better: 'more' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await RaftServers.start(settings)
  const one =
    (contender: string, work: Work, find: () => Promise<ChildProcess>) =>
    (inFlight: number): Case => ({
      contender,
      at: { 'in flight': inFlight },
      async measure() {
        const load = { work, pace: { inFlight }, payloadBytes: 1, milliseconds: settings.seconds * 1000 }
        const { loaded, latencies, usages } = await servers.measure(await find(), load, WARM_UP_MS)
        const { operations, milliseconds } = loaded
        const cpu = usages.reduce((sum, { before, after }) => sum + after.cpuMicroseconds - before.cpuMicroseconds, 0)
        const { p50, p99, p999 } = latencies
        return { perSecond: operations / (milliseconds / 1000), p50, p99, p999, cpuPerRead: cpu / operations }
      },
    })
  const linearizable = one('linearizable, leader', 'linearizableRead', () => servers.leader())
  const leased = one('by lease, leader', 'leaseRead', () => servers.leader())
  const far = one('linearizable, follower', 'query', () => servers.follower())
  const together = (inFlight: number): Case => ({
    contender: 'linearizable, on all three together',
    at: { 'in flight': inFlight },
    async measure() {
      const load: Load = {
        work: 'query',
        pace: { inFlight },
        payloadBytes: 1,
        milliseconds: settings.seconds * 1000,
      }
      const { loaded, latencies } = await servers.measureAll(load, WARM_UP_MS)
      const perSecond = loaded.reduce(
        (sum, { operations, milliseconds }) => sum + operations / (milliseconds / 1000),
        0,
      )
      const worst = (key: 'p50' | 'p99' | 'p999'): number => Math.max(...latencies.map((one) => one[key]))
      return { perSecond, p50: worst('p50'), p99: worst('p99'), p999: worst('p999') }
    },
  })
  const stale = one('stale, follower', 'staleRead', () => servers.follower())
  return {
    cases: [linearizable, leased, far, together, stale].flatMap((each) => settings.inFlight.map(each)),
    skipped: [],
    notes: [
      'the state machine answers with a number it has at hand: what is measured is the way to it',
      'on all three together: so many in flight on each of them; p50, p99 and p99.9: those of the worst server',
      'a stale read, and one by lease, is a call within the process; the event loop runs after every 64 reads of a caller',
    ],
    close: () => servers.close(),
  }
}
