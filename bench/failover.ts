/**
 * How long writes are held up when the leader is killed: three servers of the key-value store in processes of their own, one
 * write at a time, kill -9 of the leader, and the time from the kill to the next acknowledged write; then the killed server
 * is started again, and the next round begins. Prints a table; asserts nothing.
 *
 *   npm run build && node build/bench/failover.js [--rounds 10] [--election-timeout-ms 1000] [--dir data]
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bounded, freePorts, SERVERS } from './server-processes.js'

/** Writes before each kill, so that the cluster is at work. */
const WRITES_PER_ROUND = 200
const ANSWER_MS_MAX = 1000
const RETRY_MS = 5

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '10' },
    'election-timeout-ms': { type: 'string', default: '1000' },
    dir: { type: 'string', default: 'data' },
  },
})
const rounds = bounded('--rounds', values.rounds, 1000)
const electionTimeoutMs = bounded('--election-timeout-ms', values['election-timeout-ms'], 600_000)

mkdirSync(values.dir, { recursive: true })
const folder = mkdtempSync(join(values.dir, 'failover-'))
const drawn = await freePorts(2 * SERVERS)
const peerPorts = drawn.slice(0, SERVERS)
const ports = drawn.slice(SERVERS)
const servers = ports.map((_, at) => start(at))
try {
  const gaps: number[] = []
  let leader = await writeUntilTaken(0)
  console.log('| round | from kill -9 to the next acknowledged write, ms |\n| ---: | ---: |')
  for (let round = 1; round <= rounds; round += 1) {
    for (let left = WRITES_PER_ROUND; left > 0; left -= 1) leader = await writeUntilTaken(leader)
    const killedAt = performance.now()
    await kill(servers[leader])
    const next = await writeUntilTaken((leader + 1) % SERVERS)
    gaps.push(performance.now() - killedAt)
    console.log(`| ${round} | ${gaps.at(-1)?.toFixed(0)} |`)
    servers[leader] = start(leader)
    await untilItAnswers(leader)
    leader = next
  }
  report(gaps)
} finally {
  await Promise.all(servers.map(kill))
  rmSync(folder, { recursive: true })
}

function start(at: number): ChildProcess {
  const list = ports.map((port, n) => `s${n + 1}=127.0.0.1:${peerPorts[n]}/127.0.0.1:${port}`).join(',')
  const id = `s${at + 1}`
  const words = ['--servers', list, '--id', id, '--dir', join(folder, id), '--log-level', 'error']
  const timing = ['--election-timeout-ms', String(electionTimeoutMs), '--stop-with-stdin']
  return spawn(process.execPath, ['apps/kv/dist/main.js', ...words, ...timing], {
    stdio: ['pipe', 'inherit', 'inherit'],
  })
}

function kill(server: ChildProcess | undefined): Promise<void> {
  if (server === undefined || server.exitCode !== null || server.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    server.once('exit', () => resolve())
    server.kill('SIGKILL')
  })
}

/** Tries the servers in turn, from `first` on; resolves with the one that took the write. */
async function writeUntilTaken(first: number): Promise<number> {
  for (let at = first; ; at = (at + 1) % SERVERS) {
    const answer = await ask(at, 'SET k v')
    if (answer === '+OK') return at
    if (at === first) await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** The killed server is back: it knows a leader again. */
async function untilItAnswers(at: number): Promise<void> {
  while (!/^(\+OK|-MOVED )/.test((await ask(at, 'SET k v')) ?? '')) {
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** One inline command on a connection of its own; the first line of the answer, or null when there was none. */
function ask(at: number, line: string): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ port: ports[at] ?? 0, host: '127.0.0.1', timeout: ANSWER_MS_MAX })
    const end = (answer: string | null): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setEncoding('latin1')
    socket.once('connect', () => socket.write(`${line}\r\n`))
    socket.once('data', (text: string) => end(text.split('\r\n')[0] ?? null))
    socket.once('timeout', () => end(null))
    socket.once('error', () => end(null))
    socket.once('close', () => end(null))
  })
}

function report(gaps: readonly number[]): void {
  const sorted = gaps.toSorted((a, b) => a - b)
  const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0).toFixed(0)
  console.log(`\nmin ${at(0)}, median ${at(0.5)}, p90 ${at(0.9)}, max ${at(1)} ms over ${gaps.length} kills`)
  console.log(`election timeout ${electionTimeoutMs} ms: three of them are ${3 * electionTimeoutMs} ms`)
  console.log(`load average ${loadavg()[0]?.toFixed(1)}`)
}
