/**
 * How long writes are held up when a server is told to stop (SIGTERM), and what clients are refused meanwhile: the
 * leader, which hands over first, and a follower. Each is started again before the next.
 */

import { KvServers } from '../cluster/kv-servers.js'
import { KvWriters } from '../cluster/kv-writers.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'

const WRITERS = 8
/** Before each stop, so that the cluster is at work. */
const WARM_UP_MS = 300

const KINDS = [
  ['moved', 'MOVED'],
  ['down', 'CLUSTERDOWN'],
  ['again', 'TRYAGAIN'],
  ['refused', 'refused'],
  ['doubt', 'in doubt'],
] as const

export const rolling: Suite = {
  name: 'rolling',
  purpose: 'SIGTERM of the leader and of a follower of the key-value store under writes: how long no write is taken',
  minutes: 2,
  rounds: 20,
  distribution: true,
  seconds: 1,
  metrics: [
    { key: 'gapMs', head: 'longest time without a write, ms', digits: 1 },
    { key: 'moved', head: 'MOVED', digits: 0 },
    { key: 'down', head: 'CLUSTERDOWN', digits: 0 },
    { key: 'again', head: 'TRYAGAIN', digits: 0 },
    { key: 'refused', head: 'not listening', digits: 0 },
    { key: 'doubt', head: 'in doubt', digits: 0 },
    { key: 'other', head: 'others', digits: 0 },
  ],
  judged: { key: 'gapMs', better: 'less' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const servers = await KvServers.start(settings)
  const writers = new KvWriters(servers.ports, WRITERS)
  const stopped = (stops: 'the leader' | 'a follower'): Case => ({
    contender: 'balsa-kv',
    at: { stops },
    async measure() {
      const leader = await servers.write(0)
      const at = stops === 'the leader' ? leader : servers.after(leader)
      await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS))
      writers.restart()
      await servers.stop(at)
      await servers.write(servers.after(at))
      const sample = sampleOf(writers)
      await servers.restart(at)
      return sample
    },
  })
  const { electionTimeoutMs } = settings
  return {
    cases: [stopped('the leader'), stopped('a follower')],
    skipped: [],
    notes: [
      `${WRITERS} clients, one SET at a time each, from the signal to the end of the process; election timeout ${electionTimeoutMs} ms`,
      'in doubt: the connection ended before the answer came; others: any error that no client should see',
    ],
    async close() {
      await writers.close()
      await servers.close()
    },
  }
}

function sampleOf(writers: KvWriters): Sample {
  const errors = new Map(writers.errors)
  const counts = KINDS.map(([key, word]) => [key, errors.get(word) ?? 0] as const)
  const all = [...errors.values()].reduce((sum, count) => sum + count, 0)
  const known = counts.reduce((sum, [, count]) => sum + count, 0)
  return { gapMs: writers.longestGapMs, ...Object.fromEntries(counts), other: all - known }
}
