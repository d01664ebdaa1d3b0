/**
 * The apply bench: three server processes on loopback, everything durable, the load in the leader's process. Each caller waits for
 * its answer before it sends the next command. Prints a table; asserts nothing.
 *
 *   npm run bench [-- --seconds 5] [--rounds 3] [--in-flight 1,64,256] [--bytes 256] [--dir data] [--profile DIR]
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { LoadResult, Usage } from './messages.js'
import { ask, bounded, findLeader, SERVERS, startServers, stop, usageOf } from './server-processes.js'

const WARM_UP_MS = 1000

interface Row {
  readonly inFlight: number
  readonly perSecond: number
  readonly p50: number
  readonly p99: number
  readonly flushesPerEntry: number
  readonly entriesPerCommit: number
  readonly cpuPerEntry: number
  readonly rssMiB: number
}

const options = readOptions()
mkdirSync(options.dir, { recursive: true })
const folder = mkdtempSync(join(options.dir, 'bench-'))
const servers = await startServers(folder, options.profile)
try {
  console.log(
    `three servers, ${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Node ${process.version}, folder ${folder}`,
  )
  console.log(
    `${options.bytes} bytes per command, ${options.seconds} s per round, medians of ${options.rounds} rounds after a warm-up\n`,
  )
  printTable(await measure())
} finally {
  await Promise.all(servers.map(stop))
  rmSync(folder, { recursive: true })
}

async function measure(): Promise<readonly Row[]> {
  const rounds: Row[][] = []
  for (let round = 0; round < options.rounds; round += 1) {
    const rows: Row[] = []
    for (const inFlight of options.inFlight) rows.push(await measureOne(inFlight))
    rounds.push(rows)
  }
  return options.inFlight.map((inFlight, at) => {
    const column = (pick: (row: Row) => number): number => median(rounds.map((rows) => pick(rows[at] as Row)))
    return {
      inFlight,
      perSecond: column((row) => row.perSecond),
      p50: column((row) => row.p50),
      p99: column((row) => row.p99),
      flushesPerEntry: column((row) => row.flushesPerEntry),
      entriesPerCommit: column((row) => row.entriesPerCommit),
      cpuPerEntry: column((row) => row.cpuPerEntry),
      rssMiB: column((row) => row.rssMiB),
    }
  })
}

async function measureOne(inFlight: number): Promise<Row> {
  const leader = await findLeader(servers)
  const load = (milliseconds: number): Promise<LoadResult> =>
    ask(leader, { type: 'load', inFlight, payloadBytes: options.bytes, milliseconds })
  await load(WARM_UP_MS)
  const before = await Promise.all(servers.map(usageOf))
  const { latencies, milliseconds } = await load(options.seconds * 1000)
  const after = await Promise.all(servers.map(usageOf))
  const sorted = [...latencies].sort((a, b) => a - b)
  const entries = sorted.length
  const sum = (pick: (usage: Usage) => number): number =>
    after.reduce((total, usage, at) => total + pick(usage) - pick(before[at] as Usage), 0)
  return {
    inFlight,
    perSecond: entries / (milliseconds / 1000),
    p50: sorted[Math.floor(entries * 0.5)] ?? 0,
    p99: sorted[Math.floor(entries * 0.99)] ?? 0,
    flushesPerEntry: sum((usage) => usage.store.flushes) / SERVERS / entries,
    entriesPerCommit: (entries * SERVERS) / sum((usage) => usage.store.groupCommits),
    cpuPerEntry: sum((usage) => usage.cpuMicroseconds) / entries,
    rssMiB: Math.max(...after.map((usage) => usage.rssBytes)) / 2 ** 20,
  }
}

function printTable(rows: readonly Row[]): void {
  const heads = [
    'in flight',
    'entries/s',
    'p50 ms',
    'p99 ms',
    'flushes/entry',
    'entries/commit',
    'CPU us/entry',
    'RSS MiB',
  ]
  console.log(`| ${heads.join(' | ')} |\n|${' ---: |'.repeat(heads.length)}`)
  for (const row of rows) {
    const cells = [
      row.inFlight,
      Math.round(row.perSecond),
      row.p50.toFixed(2),
      row.p99.toFixed(2),
      row.flushesPerEntry.toFixed(3),
      row.entriesPerCommit.toFixed(1),
      row.cpuPerEntry.toFixed(1),
      row.rssMiB.toFixed(0),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  }
  console.log('\nflushes/entry: device flushes of one server; CPU: user and system time of all three processes.')
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0
}

function readOptions(): {
  seconds: number
  rounds: number
  inFlight: readonly number[]
  bytes: number
  profile: string | undefined
  dir: string
} {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '3' },
      'in-flight': { type: 'string', default: '1,64,256' },
      bytes: { type: 'string', default: '256' },
      profile: { type: 'string' },
      dir: { type: 'string', default: 'data' },
    },
  })
  return {
    seconds: bounded('--seconds', values.seconds, 600),
    rounds: bounded('--rounds', values.rounds, 100),
    inFlight: values['in-flight'].split(',').map((text) => bounded('--in-flight', text, 8192)),
    bytes: bounded('--bytes', values.bytes, 2 ** 20),
    profile: values.profile,
    dir: values.dir,
  }
}
