/** One server process: started, watched, started again when it crashed, and closed. */

import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { formatAddress, type Member } from '../cluster/members.js'
import { exitCodes, neverRestarted } from '../cli/exit-codes.js'
import { formatServers } from '../cli/server-options.js'
import { serverDir, serverLog } from './data-dir.js'
import type { LaunchOptions } from './launch-options.js'

export interface ServerProcessEvents {
  /** It ended without being asked to. `again`: it will be started again in so many milliseconds; null: it will not. */
  readonly onEnd: (server: ServerProcess, how: string, again: number | null) => void
  readonly onStart: (server: ServerProcess) => void
  /** It ended because it is no member of the cluster any more. */
  readonly onRemoved: (server: ServerProcess) => void
}

const BACKOFF_MIN_MS = 500
const BACKOFF_MAX_MS = 10_000
/** A server that ran so long is healthy again: the next wait is short. */
const HEALTHY_MS = 30_000
/** A server that has not closed by then is killed. */
const CLOSE_MAX_MS = 10_000

export class ServerProcess {
  readonly member: Member
  readonly dir: string
  readonly log: string
  readonly #options: LaunchOptions
  readonly #events: ServerProcessEvents
  #child: ChildProcess | null = null
  #exited: Promise<void> = Promise.resolve()
  #startedAt = 0
  #starts = 0
  #backoffMs = BACKOFF_MIN_MS
  #timer: NodeJS.Timeout | null = null
  #isClosing = false

  constructor(member: Member, options: LaunchOptions, events: ServerProcessEvents) {
    this.member = member
    this.#options = options
    this.#events = events
    this.dir = serverDir(options.dataDir, member.id)
    this.log = serverLog(options.dataDir, member.id)
  }

  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** It has ended and will not be started again. */
  get isGone(): boolean {
    return this.#child === null && this.#timer === null
  }

  get isFirstStart(): boolean {
    return this.#starts === 1
  }

  start(): void {
    this.#timer = null
    this.#starts += 1
    this.#startedAt = Date.now()
    let log: number
    try {
      log = openSync(this.log, 'a')
    } catch (error) {
      // The folder is gone, or the disk has no room: it may be there again.
      this.#ended(`could not be started: ${(error as Error).message}`, null)
      return
    }
    const { members, forwards, password } = this.#options
    const { id, peer, redis } = this.member
    const isFirst = members.some((member) => member.id === id)
    const self = isFirst ? [] : ['--self', `${formatAddress(peer)}/${formatAddress(redis)}`]
    const forward = forwards ? ['--forward'] : []
    // The variable is passed on as all others are.
    const asked = password !== null && 'file' in password ? ['--password-file', password.file] : []
    const place = ['--servers', formatServers(members), '--id', id, ...self, '--dir', this.dir]
    const words = [...place, ...forward, ...asked]
    // A group of its own, so that Ctrl-C reaches only the launcher, which closes it; the pipe ends it when the launcher
    // is killed.
    const child = spawn(process.execPath, [MAIN_PATH, ...words, '--stop-with-stdin'], {
      stdio: ['pipe', log, log],
      detached: true,
    })
    closeSync(log)
    this.#child = child
    child.stdin?.on('error', () => undefined)
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#childEnded(`could not be started: ${error.message}`, null)
        resolve()
      })
      child.once('exit', (code, signal) => {
        this.#childEnded(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`, code)
        resolve()
      })
    })
    this.#events.onStart(this)
  }

  /** Resolves when the process is gone. */
  async close(): Promise<void> {
    this.#isClosing = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#child?.kill('SIGTERM')
    const timer = setTimeout(() => this.kill(), CLOSE_MAX_MS)
    await this.#exited
    clearTimeout(timer)
  }

  kill(): void {
    this.#isClosing = true
    this.#child?.kill('SIGKILL')
  }

  #childEnded(how: string, code: number | null): void {
    if (this.#child === null) return
    this.#child = null
    this.#ended(how, code)
  }

  #ended(how: string, code: number | null): void {
    if (this.#isClosing) return
    if (code === exitCodes.removed) return this.#events.onRemoved(this)
    const isFinal = !this.#options.restarts || (code !== null && neverRestarted.has(code))
    if (Date.now() - this.#startedAt > HEALTHY_MS) this.#backoffMs = BACKOFF_MIN_MS
    const wait = isFinal ? null : this.#backoffMs
    if (wait !== null) {
      this.#backoffMs = Math.min(BACKOFF_MAX_MS, this.#backoffMs * 2)
      this.#timer = setTimeout(() => this.start(), wait)
    }
    this.#events.onEnd(this, how, wait)
  }
}

const MAIN_PATH = fileURLToPath(new URL('../main.js', import.meta.url))
