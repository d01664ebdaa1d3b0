/**
 * Memory under a long load: three servers in processes of their own, the load in the leader's process, the resident set of each
 * server after every second of it. Prints a table; asserts nothing.
 *
 *   npm run build && node build/bench/soak.js [--entries 2000000] [--in-flight 256] [--bytes 256] [--dir data]
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { LoadResult, Usage } from './messages.js'
import { ask, bounded, findLeader, startServers, stop, usageOf } from './server-processes.js'

const SLICE_MS = 2000

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '2000000' },
    'in-flight': { type: 'string', default: '256' },
    bytes: { type: 'string', default: '256' },
    dir: { type: 'string', default: 'data' },
  },
})
const entriesMax = bounded('--entries', values.entries, 1e9)
const inFlight = bounded('--in-flight', values['in-flight'], 8192)
const payloadBytes = bounded('--bytes', values.bytes, 2 ** 20)

mkdirSync(values.dir, { recursive: true })
const folder = mkdtempSync(join(values.dir, 'soak-'))
const servers = await startServers(folder, undefined)
try {
  console.log('| applied | entries/s | RSS MiB: leader first |\n| ---: | ---: | :--- |')
  for (let applied = 0; applied < entriesMax;) {
    const leader = await findLeader(servers)
    const load: LoadResult = await ask(leader, { type: 'load', inFlight, payloadBytes, milliseconds: SLICE_MS })
    const usages = await Promise.all(servers.map(usageOf))
    applied = Math.max(...usages.map((usage) => usage.appliedIndex))
    const perSecond = Math.round(load.latencies.length / (load.milliseconds / 1000))
    console.log(`| ${applied} | ${perSecond} | ${usages.toSorted(leaderFirst).map(rssOf).join(', ')} |`)
  }
} finally {
  await Promise.all(servers.map(stop))
  rmSync(folder, { recursive: true })
}

function leaderFirst(a: Usage, b: Usage): number {
  return Number(b.role === 'leader') - Number(a.role === 'leader')
}

function rssOf(usage: Usage): string {
  return (usage.rssBytes / 2 ** 20).toFixed(0)
}
