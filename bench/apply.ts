/**
 * The apply bench: three server processes on loopback, everything durable, the load in the leader's process. Each caller waits for
 * its answer before it sends the next command. Prints a table; asserts nothing.
 *
 *   npm run bench [-- --seconds 5] [--rounds 3] [--in-flight 1,64,256] [--bytes 256] [--dir data] [--profile DIR]
 */

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { FromServer, LoadResult, ToServer, Usage } from './messages.js'

const WARM_UP_MS = 1000
const SERVERS = 3

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
  const leader = await findLeader()
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

async function startServers(dir: string, profile: string | undefined): Promise<readonly ChildProcess[]> {
  const ports = await freePorts(SERVERS)
  const list = ports.map((port, at) => `s${at + 1}=127.0.0.1:${port}`).join(',')
  const script = fileURLToPath(new URL('apply-server.js', import.meta.url))
  const execArgv = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  const started = ports.map((_, at) => fork(script, [`s${at + 1}`, join(dir, `s${at + 1}`), list], { execArgv }))
  await Promise.all(started.map((server) => next(server, 'ready')))
  return started
}

async function findLeader(): Promise<ChildProcess> {
  for (const server of servers) if ((await usageOf(server)).role === 'leader') return server
  throw new Error('no leader: the servers lost it between two rounds; run again on a quieter machine')
}

function usageOf(server: ChildProcess): Promise<Usage> {
  return ask(server, { type: 'usage' })
}

function ask<Answer extends FromServer>(server: ChildProcess, question: ToServer): Promise<Answer> {
  const answer = next<Answer>(server, question.type === 'load' ? 'loaded' : 'usage')
  server.send(question)
  return answer
}

function next<Answer extends FromServer>(server: ChildProcess, type: Answer['type']): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a server ended early, exit code ${code}`))
    server.once('exit', onExit)
    const onMessage = (message: FromServer): void => {
      if (message.type !== type) return
      server.off('exit', onExit)
      server.off('message', onMessage)
      resolve(message as Answer)
    }
    server.on('message', onMessage)
  })
}

function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    server.once('exit', () => resolve())
    const question: ToServer = { type: 'close' }
    server.send(question)
  })
}

async function freePorts(count: number): Promise<readonly number[]> {
  const held = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const ports = held.map((server) => (server.address() as { port: number }).port)
  await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
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

function bounded(name: string, text: string, max: number): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > max) {
    console.error(`${name} is ${text}; must be a whole number of 1 .. ${max}`)
    process.exit(64)
  }
  return value
}
