/** Three server processes with small heaps, and clients for them. */

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MAIN = new URL('../../apps/kv/dist/main.js', import.meta.url).pathname
const PROBE = new URL('./loop-delay.mjs', import.meta.url).href
const START_MAX_MS = 30_000
/** A server that does not take what is sent lets its client wait; then the attack goes on beside it. */
const HOLD_MAX_MS = 3000

export class AttackedCluster {
  #dir = mkdtempSync(join(tmpdir(), 'balsa-attack-'))
  #servers = []
  #held = []

  /** Resolves when one leads, and all others follow it. */
  static async start(heapMb) {
    const cluster = new AttackedCluster()
    // Only here: in a bare clone it is there once everything is built.
    const { freePorts } = await import('../../build/support/free-addresses.js')
    const ports = await freePorts(6)
    const servers = [0, 1, 2].map((at) => `s${at + 1}=127.0.0.1:${ports[at]}/127.0.0.1:${ports[at + 3]}`).join(',')
    for (const at of [0, 1, 2]) {
      const id = `s${at + 1}`
      const words = ['--servers', servers, '--id', id, '--dir', join(cluster.#dir, id), '--stop-with-stdin']
      const node = [`--max-old-space-size=${heapMb}`, '--import', PROBE, MAIN]
      const child = spawn(process.execPath, [...node, ...words], { stdio: ['pipe', 'ignore', 'pipe', 'ipc'] })
      const server = { id, port: ports[at + 3], child, said: '', exit: null }
      child.stderr.on('data', (chunk) => (server.said = (server.said + chunk).slice(-2000)))
      child.once('exit', (code, signal) => (server.exit = signal ?? code))
      cluster.#servers.push(server)
    }
    await cluster.#agreed()
    return cluster
  }

  leader() {
    return this.#until((texts) => this.#servers[texts.findIndex((text) => text.includes('raft_role:leader'))])
  }

  /** A follower that has not heard of the leader yet is in an earlier term, which would look like an election. */
  #agreed() {
    return this.#until((texts) => {
      const views = texts.map((text) => /raft_term:\d+\r\nraft_leader:s\d/.exec(text)?.[0])
      return views.every((view) => view !== undefined && view === views[0]) || undefined
    })
  }

  /** Resolves with what `find` makes of what INFO says of all, once that is not undefined. */
  async #until(find) {
    const deadline = performance.now() + START_MAX_MS
    for (;;) {
      const found = find(await Promise.all(this.#servers.map((server) => this.#info(server))))
      if (found !== undefined) return found
      if (performance.now() > deadline)
        throw new Error(this.#servers.map(({ id, said }) => `${id}: ${said}`).join('\n'))
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Of each server: its term, its data in bytes, its exit, and since the last look its longest time away from the loop; and its memory. */
  look() {
    return Promise.all(
      this.#servers.map(async (server) => {
        if (server.exit !== null) return { id: server.id, exit: server.exit }
        const told = new Promise((resolve) => {
          server.child.once('message', resolve)
          server.child.once('exit', () => resolve({}))
        })
        server.child.send('look')
        const [report, text] = [await told, await this.#info(server)]
        return { id: server.id, exit: server.exit, ...figuresOf(text), ...report }
      }),
    )
  }

  /** Sends commands in one pipeline to the leader; resolves with the end of what came back, once all has been answered. */
  async send(commands) {
    const { port } = await this.leader()
    return exchange(port, commands)
  }

  /** The same, for a client that reads nothing before it has sent everything. */
  async sendBeforeReading(commands) {
    const { port } = await this.leader()
    return exchange(port, commands, { readsLate: true })
  }

  /** Sends commands on a connection that stays, unless the server ends it; reads nothing, and waits for nothing more. */
  async hold(commands) {
    await this.#holdBytes(commands.map(encode))
  }

  /** The same with all of one command but its end. */
  async holdPart(words) {
    await this.#holdBytes([encode(words).slice(0, -100)])
  }

  async #holdBytes(texts) {
    const { port } = await this.leader()
    const socket = connect({ port, host: '127.0.0.1' })
    this.#held.push(socket)
    await new Promise((resolve) => {
      // Whoever holds too much is cut off: that is an answer as well.
      socket.on('error', resolve)
      socket.on('close', resolve)
      for (const text of texts) socket.write(text, 'latin1')
      socket.write('', resolve)
      setTimeout(resolve, HOLD_MAX_MS).unref()
    })
  }

  async close() {
    for (const socket of this.#held) socket.destroy()
    for (const { child } of this.#servers) child.kill('SIGKILL')
    await Promise.all(
      this.#servers.map(({ child, exit }) => exit ?? new Promise((resolve) => child.once('exit', resolve))),
    )
    rmSync(this.#dir, { recursive: true, force: true })
  }

  async #info({ port }) {
    return exchange(port, [
      ['INFO', 'raft'],
      ['INFO', 'memory'],
    ]).catch(() => '')
  }
}

function figuresOf(info) {
  const figure = (name) => Number(new RegExp(`${name}:(\\d+)`).exec(info)?.[1])
  return { term: figure('raft_term'), data: figure('used_memory_dataset') }
}

const MARK = 'all-was-answered'
const KEPT = 4096

function exchange(port, commands, { readsLate = false } = {}) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' })
    let tail = ''
    socket.on('error', reject)
    socket.on('close', () => reject(new Error(`the connection has ended: ${tail.slice(-200)}`)))
    socket.on('data', (chunk) => {
      tail = (tail + chunk.toString('latin1')).slice(-KEPT)
      if (!tail.endsWith(`${MARK}\r\n`)) return
      resolve(tail)
      socket.destroy()
    })
    if (readsLate) socket.pause()
    for (const words of [...commands, ['ECHO', MARK]]) socket.write(encode(words), 'latin1')
    if (readsLate) socket.write('', () => socket.resume())
  })
}

function encode(words) {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}
