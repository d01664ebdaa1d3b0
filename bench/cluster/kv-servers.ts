/**
 * Three servers of the key-value store as processes of their own, and a client that speaks one inline command at a
 * time.
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePorts } from '../../support/free-addresses.js'
import type { Settings } from '../settings.js'
import { root } from './root.js'

const SERVERS = 3
const ANSWER_MS_MAX = 1000
const RETRY_MS = 5
/** A cluster that takes no write for so long will not take one. */
const WRITE_MS_MAX = 60_000

export class KvServers {
  readonly ports: readonly number[]
  readonly #folder: string
  readonly #peerPorts: readonly number[]
  readonly #electionTimeoutMs: number
  readonly #forward: boolean
  readonly #processes: ChildProcess[]

  private constructor(folder: string, ports: readonly number[], electionTimeoutMs: number, forward: boolean) {
    this.#folder = folder
    this.#peerPorts = ports.slice(0, SERVERS)
    this.ports = ports.slice(SERVERS)
    this.#electionTimeoutMs = electionTimeoutMs
    this.#forward = forward
    this.#processes = this.ports.map((_, at) => this.#spawn(at))
  }

  /** With `forward` those that do not lead have the leader do what they are asked. */
  static async start({ dir, electionTimeoutMs }: Settings, forward = false): Promise<KvServers> {
    return new KvServers(mkdtempSync(join(dir, 'kv-')), await freePorts(2 * SERVERS), electionTimeoutMs, forward)
  }

  /** Tries the servers in turn, from `first` on; resolves with the one that took the write: the leader. */
  async write(first: number): Promise<number> {
    const end = performance.now() + WRITE_MS_MAX
    for (let at = first; performance.now() < end; at = this.after(at)) {
      if ((await this.#ask(at, 'SET k v')) === '+OK') return at
      if (this.after(at) === first) await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    throw new Error(`no server took a write within ${WRITE_MS_MAX} ms`)
  }

  /** The one that says so; waits until one does. */
  async leader(): Promise<number> {
    const end = performance.now() + WRITE_MS_MAX
    for (let at = 0; performance.now() < end; at = this.after(at)) {
      // The answer to ROLE has several lines; the second is the length of the word, the third the word.
      if ((await this.#ask(at, 'ROLE', 3)) === 'master') return at
      if (this.after(at) === 0) await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    throw new Error(`no server led within ${WRITE_MS_MAX} ms`)
  }

  after(at: number): number {
    return (at + 1) % SERVERS
  }

  async kill(at: number): Promise<void> {
    const server = this.#processes[at]
    if (server !== undefined) await killed(server)
  }

  /** Resolves when another server leads. */
  async transfer(leader: number): Promise<void> {
    const answer = await this.#ask(leader, 'RAFT TRANSFER')
    if (answer?.startsWith('*') !== true) throw new Error(`leadership was not handed over: ${String(answer)}`)
  }

  /** Tells a server to stop, and waits until it has. */
  async stop(at: number): Promise<void> {
    const server = this.#processes[at]
    if (server !== undefined) await ended(server, 'SIGTERM')
  }

  /** Starts a killed server again; resolves when it knows a leader. */
  async restart(at: number): Promise<void> {
    this.#processes[at] = this.#spawn(at)
    const end = performance.now() + WRITE_MS_MAX
    while (performance.now() < end) {
      if (/^(\+OK|-MOVED )/.test((await this.#ask(at, 'SET k v')) ?? '')) return
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    throw new Error(`server ${at + 1} knew no leader within ${WRITE_MS_MAX} ms of its restart`)
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map(killed))
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #spawn(at: number): ChildProcess {
    const list = this.ports.map((port, n) => `s${n + 1}=127.0.0.1:${this.#peerPorts[n]}/127.0.0.1:${port}`).join(',')
    const id = `s${at + 1}`
    const words = ['--servers', list, '--id', id, '--dir', join(this.#folder, id), '--log-level', 'error']
    if (this.#forward) words.push('--forward')
    const timing = ['--election-timeout-ms', String(this.#electionTimeoutMs), '--stop-with-stdin']
    return spawn(process.execPath, [join(root, 'apps/kv/dist/main.js'), ...words, ...timing], {
      stdio: ['pipe', 'ignore', 'inherit'],
    })
  }

  /** One inline command on a connection of its own; that line of the answer, or null when there was none. */
  #ask(at: number, line: string, answerLine = 1): Promise<string | null> {
    return new Promise((resolve) => {
      const socket = connect({ port: this.ports[at] ?? 0, host: '127.0.0.1', timeout: ANSWER_MS_MAX })
      const end = (answer: string | null): void => {
        socket.destroy()
        resolve(answer)
      }
      socket.setEncoding('latin1')
      socket.once('connect', () => socket.write(`${line}\r\n`))
      socket.once('data', (text: string) => end(text.split('\r\n')[answerLine - 1] ?? null))
      socket.once('timeout', () => end(null))
      socket.once('error', () => end(null))
      socket.once('close', () => end(null))
    })
  }
}

/** Resolves when the process has ended; kill -9. */
export const killed = (server: ChildProcess): Promise<void> => ended(server, 'SIGKILL')

function ended(server: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    server.once('exit', () => resolve())
    server.kill(signal)
  })
}
