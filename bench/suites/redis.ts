/**
 * `redis-benchmark` against the leader of the key-value store, and against one redis-server that flushes every write,
 * in the same rounds.
 */

import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../../support/free-addresses.js'
import { killed, KvServers } from '../cluster/kv-servers.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Skipped, Suite } from '../suite.js'

const run = promisify(execFile)

/** `redis-benchmark` counts requests, not time. So many are asked for per second of the settings. */
const REQUESTS_PER_SECOND = 10_000
/** Not counted. */
const WARM_UP_SHARE = 0.2
/** Before the first round, of each command: a server is at its full speed only after some 150,000. */
const FIRST_REQUESTS = 150_000
const FIRST_CLIENTS = 64
const PIPELINE = 16
const VALUE_BYTES = 256
const START_MS_MAX = 10_000
const BENCHMARK_MS_MAX = 300_000

export const redis: Suite = {
  name: 'redis',
  purpose: 'redis-benchmark against the leader of the key-value store and one redis-server with appendfsync always',
  minutes: 5,
  rounds: 5,
  seconds: 2,
  metrics: [
    { key: 'perSecond', head: 'requests/s', digits: 0 },
    { key: 'p50', head: 'p50 ms', digits: 2 },
    { key: 'p99', head: 'p99 ms', digits: 2 },
  ],
  judged: { key: 'perSecond', better: 'more' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const missing = await whyNot('redis-benchmark')
  if (missing !== null) {
    return { cases: [], skipped: [{ what: 'redis', reason: missing }], notes: [], close: async () => {} }
  }
  const skipped: Skipped[] = []
  const noServer = await whyNot('redis-server')
  if (noServer !== null) skipped.push({ what: 'redis-server', reason: noServer })
  const single = noServer === null ? await SingleRedis.start(settings.dir) : null
  const servers = await KvServers.start(settings, true)
  const close = async (): Promise<void> => {
    await servers.close()
    await single?.close()
  }
  try {
    // Every server takes a write, so who leads is asked otherwise.
    const leaderPort = async (): Promise<number> => servers.ports[await servers.leader()] ?? 0
    const followerPort = async (): Promise<number> => servers.ports[servers.after(await servers.leader())] ?? 0
    const cases = [
      ...casesOf(settings, 'balsa-kv, three servers', leaderPort),
      ...casesOf(settings, 'balsa-kv, a follower that forwards', followerPort),
    ]
    const beside = single === null ? [] : casesOf(settings, 'redis-server, one', async () => single.port)
    const ports = [await leaderPort(), await followerPort(), ...(single === null ? [] : [single.port])]
    for (const port of ports) await benchmark(port, ['-t', 'set,get', '-c', `${FIRST_CLIENTS}`], FIRST_REQUESTS)
    return { cases: [...cases, ...beside], skipped, notes: notesOf(settings), close }
  } catch (error) {
    await close()
    throw error
  }
}

function notesOf({ seconds }: Settings): readonly string[] {
  return [
    `values of ${VALUE_BYTES} bytes; ${REQUESTS_PER_SECOND * seconds} requests without and ${PIPELINE} times as many with a pipeline of ${PIPELINE}; a fifth as many before, that do not count, and ${FIRST_REQUESTS} of each command before the first round`,
    'redis-server: --appendonly yes --appendfsync always, one process on the same disk; redis-benchmark shares the cores with whom it measures',
    'GET on balsa-kv is linearizable',
  ]
}

function casesOf({ clients, seconds }: Settings, contender: string, port: () => Promise<number>): readonly Case[] {
  return [1, PIPELINE].flatMap((pipeline) =>
    clients.flatMap((count) =>
      ['set', 'get'].map((command): Case => ({
        contender,
        at: { command, clients: count, pipeline },
        async measure() {
          const requests = REQUESTS_PER_SECOND * seconds * pipeline
          const load = ['-t', command, '-c', `${count}`, '-P', `${pipeline}`]
          await benchmark(await port(), load, Math.ceil(requests * WARM_UP_SHARE))
          return sampleOf(await benchmark(await port(), load, requests), command)
        },
      })),
    ),
  )
}

async function benchmark(port: number, load: readonly string[], requests: number): Promise<string> {
  const words = ['-h', '127.0.0.1', '-p', `${port}`, ...load, '-d', `${VALUE_BYTES}`, '-n', `${requests}`, '--csv']
  return (await run('redis-benchmark', words, { timeout: BENCHMARK_MS_MAX })).stdout
}

/** The line of the command: "SET","rps","avg","min","p50","p95","p99","max". */
function sampleOf(csv: string, command: string): Sample {
  const line = csv.split('\n').find((text) => text.startsWith(`"${command.toUpperCase()}"`))
  const [, perSecond, , , p50, , p99] = line?.split(',').map((cell) => Number(cell.replaceAll('"', ''))) ?? []
  if (perSecond === undefined || p50 === undefined || p99 === undefined) {
    throw new Error(`redis-benchmark printed no figures for ${command}: ${csv.trim()}`)
  }
  return { perSecond, p50, p99 }
}

async function whyNot(program: string): Promise<string | null> {
  try {
    await run(program, ['--version'])
    return null
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return `there is no ${program} on the PATH (Debian: apt-get install redis-server redis-tools)`
  }
}

class SingleRedis {
  readonly port: number
  readonly #folder: string
  readonly #process: ChildProcess

  private constructor(folder: string, port: number) {
    this.#folder = folder
    this.port = port
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '']
    const words = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, ...durable]
    this.#process = spawn('redis-server', words, { stdio: 'ignore' })
    process.once('exit', this.#kill)
  }

  static async start(dir: string): Promise<SingleRedis> {
    const port = await freePort()
    const started = new SingleRedis(mkdtempSync(join(dir, 'redis-')), port)
    const end = performance.now() + START_MS_MAX
    while (!(await answers(port))) {
      if (performance.now() < end) continue
      await started.close()
      throw new Error(`redis-server did not listen within ${START_MS_MAX} ms`)
    }
    return started
  }

  /** It does not notice that its parent is gone. */
  readonly #kill = (): void => void this.#process.kill('SIGKILL')

  async close(): Promise<void> {
    process.off('exit', this.#kill)
    await killed(this.#process)
    rmSync(this.#folder, { recursive: true })
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => setTimeout(resolve, 20, false))
  })
}
