/** Three processes of a service on this machine, which are killed, stopped and started again. */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freeAddresses, freePorts } from '../../support/free-addresses.js'

const SERVERS = 3
/** Until a server is ready, or has closed. */
const PATIENCE_MS = 15_000
const POLL_MS = 10
/** Of what each process has said last. */
const LINES_MAX = 20

interface Place {
  readonly words: readonly string[]
  readonly url: string
  readonly lines: string[]
  process: ChildProcess | null
}

export class Cluster {
  readonly #places: readonly Place[]
  readonly #dir: string
  #isClosed = false
  /** Nothing is left behind, however this process ends. */
  readonly #clear = (): void => {
    for (const { process } of this.#places) process?.kill('SIGKILL')
    rmSync(this.#dir, { recursive: true, force: true })
  }

  private constructor(dir: string, places: readonly Place[]) {
    this.#dir = dir
    this.#places = places
    process.once('exit', this.#clear)
  }

  /**
   * `service`: the folder of the example. Resolves when all servers are ready. `strangers` know nothing of each other:
   * they keep no promise, and whoever looks at them must notice.
   */
  static async start(service: string, strangers = false): Promise<Cluster> {
    const dir = mkdtempSync(join(tmpdir(), 'balsa-examples-'))
    const script = fileURLToPath(new URL(`../${service}/service.js`, import.meta.url))
    const addresses = await freeAddresses(SERVERS)
    const ports = await freePorts(SERVERS)
    const places = ports.map((port, at): Place => {
      const [number, members] = strangers ? [1, addresses.slice(at, at + 1)] : [at + 1, addresses]
      const words = [script, String(number), String(port), join(dir, String(at + 1)), ...members]
      return { words, url: `http://127.0.0.1:${port}`, lines: [], process: null }
    })
    const cluster = new Cluster(dir, places)
    await Promise.all(places.map((_, at) => cluster.restart(at)))
    return cluster
  }

  get size(): number {
    return this.#places.length
  }

  get urls(): readonly string[] {
    return this.#places.map(({ url }) => url)
  }

  /** What the servers have said last: for whoever wants to know why a check failed. */
  get lines(): readonly string[] {
    return this.#places.flatMap(({ lines }, at) => lines.map((line) => `server ${at + 1}: ${line}`))
  }

  /** Starts a server on its folder; resolves when it is ready. */
  async restart(at: number): Promise<void> {
    if (this.#isClosed) throw new Error('the cluster is closed')
    const place = this.#place(at)
    const child = spawn(process.execPath, place.words, { stdio: ['ignore', 'pipe', 'pipe'] })
    place.process = child
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding('utf8').on('data', (said: string) => {
        place.lines.push(...said.trimEnd().split('\n'))
        place.lines.splice(0, place.lines.length - LINES_MAX)
      })
    }
    await this.#until(`server ${at + 1} is ready`, () => this.#isOk(at, '/readyz'))
  }

  /** Which server leads. */
  async leader(): Promise<number> {
    let leader = -1
    await this.#until('a server leads', async () => {
      const answers = await Promise.all(this.#places.map((_, at) => this.#isOk(at, '/leader')))
      leader = answers.indexOf(true)
      return leader >= 0
    })
    return leader
  }

  /** Ends a server, and resolves with its exit code when its process is gone; null after SIGKILL. */
  async end(at: number, signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    const child = this.#place(at).process
    if (child === null) throw new Error(`server ${at + 1} does not run`)
    const exited = once(child, 'exit', { signal: AbortSignal.timeout(PATIENCE_MS) })
    child.kill(signal)
    const [code] = await exited
    this.#place(at).process = null
    return code
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const running = this.#places.flatMap(({ process }, at) => (process === null ? [] : [at]))
    await Promise.all(running.map((at) => this.end(at, 'SIGKILL')))
    process.off('exit', this.#clear)
    this.#clear()
  }

  #place(at: number): Place {
    const place = this.#places[at]
    if (place === undefined) throw new RangeError(`there is no server ${at + 1}`)
    return place
  }

  async #isOk(at: number, path: string): Promise<boolean> {
    const answer = await fetch(this.#place(at).url + path, { signal: AbortSignal.timeout(1000) }).catch(() => null)
    await answer?.body?.cancel()
    return answer?.ok === true
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + PATIENCE_MS
    while (!(await isSo())) {
      if (performance.now() > end) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
      await pause(POLL_MS)
    }
  }
}
