/** Three servers as processes of their own, for whatever is measured on them. */

import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NativeStoreMode } from 'balsa-raft/storage'
import { Authority } from '../../support/certificates.js'
import { freePorts } from '../../support/free-addresses.js'
import type { Settings, ThreadName, TransportName } from '../settings.js'
import type { FromServer, Latencies, Load, Loaded, ServerWords, SnapshotTaken, ToServer, Usage } from './messages.js'

export const SERVERS = 3
/** The unit of `blocks` in what the system says of a file. */
const DISK_BLOCK_BYTES = 512

/** What a load did: to the server that carried it, and to all of them. */
export interface Measured {
  readonly loaded: Loaded
  readonly latencies: Latencies
  /** By server: before and after. */
  readonly usages: readonly { readonly before: Usage; readonly after: Usage }[]
}

export interface ServerOptions {
  /** Of the snapshots of their state machines; 0, the default: there are none. */
  readonly snapshotBytes?: number
  /** Whether they are taken when they are asked for, the default, or by themselves as the library's defaults say. */
  readonly taken?: 'asked' | 'automatic'
  /** Of their stores; default: as the environment or the library says. */
  readonly mode?: NativeStoreMode
  /** What carries their messages; default: tcp. */
  readonly transport?: TransportName
  /** Where they run; default: in the thread of their process. */
  readonly thread?: ThreadName
}

export class RaftServers {
  /** Where their peers and clients dial them. */
  readonly addresses: readonly string[]
  readonly #folder: string
  readonly #processes: ChildProcess[]
  readonly #start: (at: number) => ChildProcess

  private constructor(folder: string, addresses: readonly string[], start: (at: number) => ChildProcess) {
    this.#folder = folder
    this.addresses = addresses
    this.#start = start
    this.#processes = Array.from({ length: SERVERS }, (_, at) => start(at))
  }

  /** Over empty folders; resolves when all three are ready. */
  static async start(
    { dir, profile }: Settings,
    { snapshotBytes = 0, taken = 'asked', mode, transport = 'tcp', thread = 'main' }: ServerOptions = {},
  ): Promise<RaftServers> {
    const folder = mkdtempSync(join(dir, 'bench-'))
    const ports = await freePorts(SERVERS)
    const addresses = ports.map((port) => `127.0.0.1:${port}`)
    const bootstrap = addresses.map((address, at) => ({ id: `s${at + 1}`, address }))
    const script = fileURLToPath(new URL('raft-server.js', import.meta.url))
    const execArgv = profile === null ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
    const certificates = transport === 'tls' ? certificatesIn(folder) : ''
    const env = mode === undefined ? process.env : { ...process.env, BALSA_STORE_MODE: mode }
    const servers = new RaftServers(folder, addresses, (at) => {
      const id = `s${at + 1}`
      const dir = join(folder, id)
      const words: ServerWords = { id, dir, bootstrap, transport, certificates, thread, snapshotBytes, taken }
      return fork(script, [JSON.stringify(words)], { execArgv, env })
    })
    try {
      await Promise.all(servers.#processes.map((server) => next(server, 'ready')))
    } catch (error) {
      for (const server of servers.#processes) server.kill('SIGKILL')
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
    if (warmUpMs > 0) await this.load(server, { ...load, milliseconds: warmUpMs })
    const before = await Promise.all(this.#processes.map((each) => usageOf(each, true)))
    const loaded = await this.load(server, load)
    const after = await this.usages()
    const latencies = await ask<Latencies>(server, 'latencies', { type: 'latencies' })
    const usages = before.flatMap((usage, at) => {
      const later = after[at]
      return later === undefined ? [] : [{ before: usage, after: later }]
    })
    return { loaded, latencies, usages }
  }

  /** The same load on each server at the same time: what they did together, and the latencies of each. */
  async measureAll(
    load: Load,
    warmUpMs: number,
  ): Promise<{ readonly loaded: readonly Loaded[]; readonly latencies: readonly Latencies[] }> {
    const onAll = (milliseconds: number): Promise<Loaded[]> =>
      Promise.all(this.#processes.map((server) => this.load(server, { ...load, milliseconds })))
    await onAll(warmUpMs)
    const loaded = await onAll(load.milliseconds)
    const question: ToServer = { type: 'latencies' }
    const latencies = this.#processes.map((server) => ask<Latencies>(server, 'latencies', question))
    return { loaded, latencies: await Promise.all(latencies) }
  }

  load(server: ChildProcess, load: Load): Promise<Loaded> {
    return ask(server, 'loaded', { type: 'load', load })
  }

  /** Carries the load until `during` has ended. */
  async loadWhile(
    server: ChildProcess,
    load: Load,
    during: () => Promise<void>,
  ): Promise<Pick<Measured, 'loaded' | 'latencies'>> {
    const carried = this.load(server, load)
    const ended = during().finally(() => {
      const question: ToServer = { type: 'endLoad' }
      server.send(question)
    })
    const [loaded] = await Promise.all([carried, ended])
    return { loaded, latencies: await ask<Latencies>(server, 'latencies', { type: 'latencies' }) }
  }

  snapshot(server: ChildProcess): Promise<SnapshotTaken> {
    return ask(server, 'snapshotTaken', { type: 'snapshot' })
  }

  stop(server: ChildProcess): Promise<void> {
    return stop(server)
  }

  /** One that was stopped; resolves when it is open. */
  async restart(stopped: ChildProcess): Promise<ChildProcess> {
    const at = this.#processes.indexOf(stopped)
    const server = this.#start(at)
    this.#processes[at] = server
    await next(server, 'ready')
    return server
  }

  usages(): Promise<readonly Usage[]> {
    return Promise.all(this.#processes.map((server) => usageOf(server)))
  }

  /** What the folder of the server that has most on its disk takes there. */
  diskBytes(): number {
    return Math.max(...readdirSync(this.#folder).map((name) => diskBytesOf(join(this.#folder, name))))
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map(stop))
    rmSync(this.#folder, { recursive: true })
  }
}

/** One certificate for all servers, its key and that of who has issued it; returns where. */
function certificatesIn(folder: string): string {
  const authority = new Authority()
  const { cert, key } = authority.issue({ names: ['s1', 's2', 's3'].map((id) => `DNS:${id}.bench`) })
  authority.close()
  const path = join(folder, 'certificates')
  mkdirSync(path)
  for (const [name, pem] of Object.entries({ cert, key, ca: authority.pem })) writeFileSync(join(path, name), pem)
  return path
}

function diskBytesOf(path: string): number {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined) return 0
  if (!found.isDirectory()) return found.blocks * DISK_BLOCK_BYTES
  return readdirSync(path).reduce((sum, name) => sum + diskBytesOf(join(path, name)), 0)
}

export function usageOf(server: ChildProcess, restart = false): Promise<Usage> {
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
