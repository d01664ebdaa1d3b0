/** Three servers as processes of their own, for whatever is measured on them. */

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../../support/free-addresses.js'
import type { Settings } from '../settings.js'
import type { FromServer, Latencies, Load, Loaded, ToServer, Usage } from './messages.js'

export const SERVERS = 3

/** What a load did: to the server that carried it, and to all of them. */
export interface Measured {
  readonly loaded: Loaded
  readonly latencies: Latencies
  /** By server: before and after. */
  readonly usages: readonly { readonly before: Usage; readonly after: Usage }[]
}

export class RaftServers {
  readonly #folder: string
  readonly #processes: readonly ChildProcess[]

  private constructor(folder: string, processes: readonly ChildProcess[]) {
    this.#folder = folder
    this.#processes = processes
  }

  /** Over empty folders; resolves when all three are ready. */
  static async start({ dir, profile }: Settings): Promise<RaftServers> {
    const folder = mkdtempSync(join(dir, 'bench-'))
    const ports = await freePorts(SERVERS)
    const list = ports.map((port, at) => `s${at + 1}=127.0.0.1:${port}`).join(',')
    const script = fileURLToPath(new URL('raft-server.js', import.meta.url))
    const execArgv = profile === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
    const processes = ports.map((_, at) => fork(script, [`s${at + 1}`, join(folder, `s${at + 1}`), list], { execArgv }))
    const servers = new RaftServers(folder, processes)
    try {
      await Promise.all(processes.map((server) => next(server, 'ready')))
    } catch (error) {
      for (const server of processes) server.kill('SIGKILL')
      throw error
    }
    return servers
  }

  /** Which one leads is asked each time: on a busy machine it may change between two measurements. */
  async leader(): Promise<ChildProcess> {
    return this.#withRole((role) => role === 'leader', 'no leader: the servers lost it between two measurements')
  }

  async follower(): Promise<ChildProcess> {
    return this.#withRole((role) => role === 'follower', 'no follower')
  }

  async #withRole(matches: (role: string) => boolean, complaint: string): Promise<ChildProcess> {
    for (const server of this.#processes) {
      if (matches((await usageOf(server)).role)) return server
    }
    throw new Error(`${complaint}; run again on a quieter machine`)
  }

  /** A warm-up that is not counted, then the load. */
  async measure(server: ChildProcess, load: Load, warmUpMs: number): Promise<Measured> {
    if (warmUpMs > 0) await ask(server, 'loaded', { type: 'load', load: { ...load, milliseconds: warmUpMs } })
    const before = await Promise.all(this.#processes.map((each) => usageOf(each, true)))
    const loaded = await ask<Loaded>(server, 'loaded', { type: 'load', load })
    const after = await this.usages()
    const latencies = await ask<Latencies>(server, 'latencies', { type: 'latencies' })
    const usages = before.flatMap((usage, at) => {
      const later = after[at]
      return later === undefined ? [] : [{ before: usage, after: later }]
    })
    return { loaded, latencies, usages }
  }

  usages(): Promise<readonly Usage[]> {
    return Promise.all(this.#processes.map((server) => usageOf(server)))
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map(stop))
    rmSync(this.#folder, { recursive: true })
  }
}

function usageOf(server: ChildProcess, restart = false): Promise<Usage> {
  return ask(server, 'usage', { type: 'usage', restart })
}

function ask<Answer extends FromServer>(
  server: ChildProcess,
  type: Answer['type'],
  question: ToServer,
): Promise<Answer> {
  const answer = next<Answer>(server, type)
  server.send(question)
  return answer
}

function next<Answer extends FromServer>(server: ChildProcess, type: Answer['type']): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a server ended early, exit code ${code}`))
    server.once('exit', onExit)
    const onMessage = (message: FromServer): void => {
      if (message.type !== type && message.type !== 'failed') return
      server.off('exit', onExit)
      server.off('message', onMessage)
      if (message.type === 'failed') reject(new Error(`a load failed: ${message.message}`))
      else resolve(message as Answer)
    }
    server.on('message', onMessage)
  })
}

function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    server.once('exit', () => resolve())
    const question: ToServer = { type: 'close' }
    server.send(question)
  })
}
