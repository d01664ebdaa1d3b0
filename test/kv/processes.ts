/** Real server processes for tests: free ports, folders of their own, and nothing left behind. */

import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeMember, type Member } from 'balsa-kv/cluster/members.js'
import { formatServers } from 'balsa-kv/cli/server-options.js'
import { agree, askServer } from 'balsa-kv/launcher/ask-server.js'
import { freePort } from '../../support/free-addresses.js'
import type { RespReply } from '../support/resp-client.js'
import { RespClient, RespError } from '../support/resp-client.js'

export const mainPath = createRequire(import.meta.url).resolve('balsa-kv/main.js')

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly pid: number
  readonly ended: Promise<Ended>
  readonly output: () => string
}

/** Runs Node.js with these words; `ended` never rejects. */
export function runNode(words: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  return { child, pid: child.pid ?? -1, ended, output: () => stdout + stderr }
}

export function temporaryDir(): string {
  return mkdtempSync(join(tmpdir(), 'balsa-kv-'))
}

/** A cluster of processes. Call `close` whatever happened. */
export class ProcessCluster {
  readonly members: readonly Member[]
  readonly dir: string
  readonly #running = new Map<string, Running>()

  private constructor(members: readonly Member[]) {
    this.members = members
    this.dir = temporaryDir()
  }

  /** `more`: what else stands on each command line. */
  static async start(count: number, more: readonly string[] = []): Promise<ProcessCluster> {
    const members: Member[] = []
    for (let at = 1; at <= count; at += 1) {
      const [peer, redis] = await Promise.all([freePort(), freePort()])
      members.push(makeMember(`s${at}`, { host: '127.0.0.1', port: peer }, { host: '127.0.0.1', port: redis }))
    }
    const cluster = new ProcessCluster(members)
    for (const member of members) cluster.startServer(member, more)
    await cluster.untilAgreed()
    return cluster
  }

  startServer(member: Member, more: readonly string[] = []): void {
    this.#running.set(member.id, runNode([mainPath, ...this.wordsOf(member), '--stop-with-stdin', ...more]))
  }

  /** What names a server on its command line. */
  wordsOf({ id }: Member): readonly string[] {
    return ['--servers', formatServers(this.members), '--id', id, '--dir', this.dirOf(id)]
  }

  dirOf(id: string): string {
    return join(this.dir, id)
  }

  /** Resolves with the leader once all running servers follow it. */
  async untilAgreed(timeoutMs = 30_000): Promise<Member> {
    const deadline = Date.now() + timeoutMs
    const members = this.members.filter(({ id }) => this.#running.has(id))
    while (Date.now() < deadline) {
      const leader = agree(await Promise.all(members.map((member) => askServer(member))), members)
      if (leader !== null) return leader
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const output = [...this.#running].map(([id, { output: text }]) => `${id}:\n${text()}`).join('\n')
    throw new Error(`no agreement within ${timeoutMs} ms\n${output}`)
  }

  /**
   * What the leader answers. On a real clock there may be an election at any time: the next leader is asked when the
   * one that was says that it does not lead, for then nothing was done.
   */
  async askLeader(...words: readonly string[]): Promise<RespReply> {
    for (;;) {
      const { redis } = await this.untilAgreed()
      const client = await RespClient.connect(redis.port)
      const reply = await client.ask(...words).finally(() => client.close())
      if (!(reply instanceof RespError) || !/^(MOVED|CLUSTERDOWN) /.test(reply.message)) return reply
    }
  }

  /** Hands a process over to the caller, who ends it. */
  take(member: Member): Running {
    const running = this.#running.get(member.id)
    if (running === undefined) throw new Error(`${member.id} is not running`)
    this.#running.delete(member.id)
    return running
  }

  /** Ends one process; resolves when it is gone. */
  async end(member: Member, signal: NodeJS.Signals): Promise<Ended> {
    const running = this.take(member)
    running.child.kill(signal)
    return running.ended
  }

  async close(): Promise<void> {
    const running = [...this.#running.values()]
    for (const { child } of running) child.kill('SIGKILL')
    await Promise.all(running.map(({ ended }) => ended))
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** The last event of a log, and its fields. */
export function lastEvent(log: string): Readonly<Record<string, unknown>> {
  return JSON.parse(log.trim().split('\n').at(-1) ?? '{}') as Readonly<Record<string, unknown>>
}
