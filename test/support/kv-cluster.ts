/** Servers of the key-value store as real processes: started, killed, paused, started again over the same folders. */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freeAddresses } from '../../support/free-addresses.js'
import type { RespReply } from './resp-client.js'
import { RespClient, RespError } from './resp-client.js'
import { until } from './until.js'

export interface LogLine {
  readonly level: string
  readonly event: string
  readonly [field: string]: unknown
}

const EXIT_MS_MAX = 30_000

/** One process. Its log is kept whole: a test's is short. */
export class KvProcess {
  readonly #exited: Promise<number | null>
  readonly #child: ChildProcess
  #output = ''
  #mayEnd = false

  constructor(words: readonly string[], nodeOptions: readonly string[] = []) {
    const child = spawn(process.execPath, [...nodeOptions, 'apps/kv/dist/main.js', ...words, '--stop-with-stdin'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    this.#child = child
    child.stdin?.on('error', () => undefined)
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#output += text))
    this.#exited = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code) => resolve(code))
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  get log(): readonly LogLine[] {
    const whole = this.#output.slice(0, this.#output.lastIndexOf('\n') + 1)
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        try {
          return JSON.parse(line) as LogLine
        } catch {
          return { level: 'none', event: line }
        }
      })
  }

  /** It has ended by itself. */
  get hasFailed(): boolean {
    return !this.isRunning && !this.#mayEnd
  }

  /** From now on it is no failure when it ends by itself. */
  mayEnd(): void {
    this.#mayEnd = true
  }

  signal(name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' | 'SIGTERM'): void {
    if (name === 'SIGKILL' || name === 'SIGTERM') this.#mayEnd = true
    this.#child.kill(name)
  }

  /** The exit code; null when a signal ended it. One that does not end in time is killed. */
  async untilExit(): Promise<number | null> {
    try {
      await until(`server process ${this.pid} ends`, () => !this.isRunning, EXIT_MS_MAX)
    } catch (error) {
      this.signal('SIGKILL')
      throw error
    }
    return this.#exited
  }

  untilOpen(): Promise<void> {
    return until('the server listens for clients', () => {
      if (this.isRunning) return this.log.some(({ event }) => event === 'server.open')
      throw new Error(`the server ended early: ${this.#output}`)
    })
  }
}

interface Member {
  readonly id: string
  readonly peer: string
  readonly redis: string
  readonly dir: string
}

export class KvCluster {
  readonly #members: Member[]
  /** How many began the cluster. */
  readonly #first: number
  readonly #folder: string
  readonly #options: readonly string[]
  readonly #nodeOptions: readonly string[]
  /** The running one of each server, or the last that ran. */
  readonly #processes: KvProcess[] = []
  /** Those that ran in its place before, of each server. */
  readonly #former: KvProcess[][] = []

  private constructor(
    folder: string,
    addresses: readonly string[],
    options: readonly string[],
    nodeOptions: readonly string[],
  ) {
    this.#folder = folder
    this.#options = options
    this.#nodeOptions = nodeOptions
    const count = addresses.length / 2
    this.#members = Array.from({ length: count }, (_, at) => {
      const id = `s${at + 1}`
      return { id, peer: addresses[at] ?? '', redis: addresses[count + at] ?? '', dir: join(folder, id) }
    })
    this.#first = count
  }

  /** Every server is started when this resolves, and listens for clients. */
  static async start(
    options: readonly string[] = [],
    count = 3,
    nodeOptions: readonly string[] = [],
  ): Promise<KvCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'balsa-kv-'))
    const cluster = new KvCluster(folder, await freeAddresses(2 * count), options, nodeOptions)
    try {
      await Promise.all(cluster.ports.map((_, at) => cluster.startServer(at).untilOpen()))
    } catch (error) {
      await cluster.close()
      throw error
    }
    return cluster
  }

  /** For clients, one for each server. */
  get ports(): readonly number[] {
    return this.#members.map(({ redis }) => portOf(redis))
  }

  get peerPorts(): readonly number[] {
    return this.#members.map(({ peer }) => portOf(peer))
  }

  get processes(): readonly KvProcess[] {
    return this.#processes
  }

  /** The command line of a server. */
  words(at: number): readonly string[] {
    const first = this.#members.slice(0, this.#first)
    const list = first.map((member) => `${member.id}=${member.peer}/${member.redis}`).join(',')
    const { id, peer, redis, dir } = this.#member(at)
    const self = at < this.#first ? [] : ['--self', `${peer}/${redis}`]
    return ['--servers', list, '--id', id, ...self, '--dir', dir, ...this.#options]
  }

  /** A server that is none of the first: started, and not added yet. Returns which it is. */
  async startAnother(): Promise<number> {
    const [peer = '', redis = ''] = await freeAddresses(2)
    const id = `s${this.#members.length + 1}`
    const at = this.#members.push({ id, peer, redis, dir: join(this.#folder, id) }) - 1
    await this.startServer(at).untilOpen()
    return at
  }

  /** As RAFT ADD wants it: id, where its peers dial it, where its clients do. */
  described(at: number): readonly [id: string, peer: string, redis: string] {
    const { id, peer, redis } = this.#member(at)
    return [id, peer, redis]
  }

  /** Asks the leader, whoever that is; rejects with what else is answered than where to go. */
  async askLeader(...words: readonly string[]): Promise<RespReply> {
    let reply: RespReply = null
    let at = await this.findLeader()
    await until(`the leader answers ${words.join(' ')}`, async () => {
      const client = await RespClient.connect(this.ports[at] ?? 0).catch(() => null)
      if (client !== null) reply = await client.ask(...words).catch(() => null)
      client?.close()
      if (reply !== null && !(reply instanceof RespError)) return true
      if (reply !== null && !/^(MOVED|CLUSTERDOWN|TRYAGAIN) /.test(reply.message)) throw new Error(reply.message)
      at = await this.findLeader()
      return false
    })
    return reply
  }

  dir(at: number): string {
    return this.#member(at).dir
  }

  id(at: number): string {
    return this.#member(at).id
  }

  process(at: number): KvProcess {
    const found = this.#processes[at]
    if (found === undefined) throw new RangeError(`server ${at} was never started`)
    return found
  }

  /** All that the server has said, in whichever of its processes. */
  log(at: number): readonly LogLine[] {
    return [...(this.#former[at] ?? []), this.process(at)].flatMap(({ log }) => log)
  }

  startServer(at: number): KvProcess {
    const started = new KvProcess(this.words(at), this.#nodeOptions)
    const former = this.#processes[at]
    if (former !== undefined) (this.#former[at] ??= []).push(former)
    this.#processes[at] = started
    return started
  }

  async kill(at: number): Promise<void> {
    this.process(at).signal('SIGKILL')
    await this.process(at).untilExit()
  }

  /** Which server says that it leads; asks only those that run. A paused one would never answer. */
  async findLeader(): Promise<number> {
    let leader = -1
    await until('a server leads', async () => {
      const roles = await Promise.all(
        this.ports.map((port, at) => (this.#processes[at]?.isRunning === true ? roleOf(port) : Promise.resolve(null))),
      )
      leader = roles.indexOf('master')
      return leader !== -1
    })
    return leader
  }

  /** Stops what still runs, as a person would; resolves with the exit codes. Removes the folders. */
  async close(): Promise<readonly (number | null)[]> {
    const codes = await Promise.all(
      this.#processes.map((server) => {
        server.signal('SIGCONT')
        server.signal('SIGTERM')
        return server.untilExit()
      }),
    )
    // Again after a failed test, whose own message is worth more than a second failure here.
    rmSync(this.#folder, { recursive: true, force: true })
    return codes
  }

  #member(at: number): Member {
    const found = this.#members[at]
    if (found === undefined) throw new RangeError(`there is no server ${at}`)
    return found
  }
}

/** `ip:port`, as the tests draw them. */
function portOf(address: string): number {
  return Number(address.split(':')[1])
}

async function roleOf(port: number): Promise<unknown> {
  let client: RespClient | null = null
  try {
    client = await RespClient.connect(port)
    const answer = await client.ask('ROLE')
    return Array.isArray(answer) ? (answer as readonly unknown[])[0] : null
  } catch {
    return null
  } finally {
    client?.close()
  }
}
