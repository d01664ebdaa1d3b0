/** Clients of three server processes go on when these are killed, know what became of each command, and double none. */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import { msgpackCodec, RaftClient } from 'balsa-raft/client'
import type { Session } from 'balsa-raft/client'
import { freeAddresses } from '../../support/free-addresses.js'
import { until } from '../support/until.js'

type NumbersClient = RaftClient<number, number, null, readonly number[]>

const CLI = fileURLToPath(new URL('client-server/cli.js', import.meta.url))
const LATE = { timeoutMs: 30_000 }

class Processes {
  readonly folder = mkdtempSync(join(tmpdir(), 'balsa-client-kills-'))
  readonly #addresses: readonly string[]
  readonly #children = new Map<string, ChildProcess>()

  constructor(addresses: readonly string[]) {
    this.#addresses = addresses
  }

  get endpoints(): readonly string[] {
    return this.#addresses
  }

  addressOf(id: string): string {
    return this.#addresses[Number(id.slice(1)) - 1] ?? ''
  }

  async start(id: string): Promise<void> {
    const bootstrap = JSON.stringify(this.#addresses.map((address, at) => ({ id: `s${at + 1}`, address })))
    const child = spawn(process.execPath, [CLI, id, join(this.folder, id), this.addressOf(id), bootstrap], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#children.set(id, child)
    await new Promise((resolve, reject) => {
      child.stdout?.once('data', resolve)
      child.once('exit', (code) => reject(new Error(`server ${id} ended with ${code}`)))
    })
  }

  async kill(id: string): Promise<void> {
    const child = this.#children.get(id)
    this.#children.delete(id)
    await new Promise((resolve) => {
      child?.once('exit', resolve)
      child?.kill('SIGKILL')
    })
  }

  async end(): Promise<void> {
    await Promise.all([...this.#children.keys()].map((id) => this.kill(id)))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What became of every number that was submitted, and those that work on. */
class Work {
  readonly confirmed = new Set<number>()
  readonly unknown = new Set<number>()
  readonly refused: RaftError[] = []
  /** In a session, and what failed there. */
  readonly inSession = new Set<number>()
  readonly failed: unknown[] = []
  #last = 0
  #isOver = false
  #workers: Promise<unknown>[] = []

  begin(client: NumbersClient, count: number): void {
    this.#workers.push(...Array.from({ length: count }, () => this.#work((number) => client.submit(number, LATE))))
  }

  /** In it nothing may fail. */
  beginSession(session: Session<number, number>, count: number): void {
    const apply = async (number: number): Promise<void> => {
      await session.apply(number, LATE).catch((error: unknown) => this.failed.push(error))
      this.inSession.add(number)
    }
    this.#workers.push(...Array.from({ length: count }, () => this.#work(apply)))
  }

  async end(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#workers)
  }

  async more(count: number): Promise<void> {
    const before = this.confirmed.size
    await until(`${count} more are confirmed`, () => this.confirmed.size >= before + count)
  }

  async #work(submit: (number: number) => Promise<unknown>): Promise<void> {
    while (!this.#isOver) {
      const number = (this.#last += 1)
      try {
        await submit(number)
        this.confirmed.add(number)
      } catch (error) {
        if (!(error instanceof RaftError)) throw error
        if (error.outcome === 'unknown') this.unknown.add(number)
        else this.refused.push(error)
      }
    }
  }
}

const test = suite('clients of processes that are killed')

test('kill -9 of the leader, and of the server that forwards, costs no confirmed command and doubles none; in a session nothing fails', async () => {
  const processes = new Processes(await freeAddresses(3))
  const clients: NumbersClient[] = []
  const connect = async (prefer: 'leader' | 'any', endpoints: readonly string[]): Promise<NumbersClient> => {
    const client = await RaftClient.connect<number, number, null, readonly number[]>({
      ...{ endpoints, prefer, codec: msgpackCodec<number>(), logger: false },
    })
    clients.push(client)
    return client
  }
  const work = new Work()
  try {
    await Promise.all(['s1', 's2', 's3'].map((id) => processes.start(id)))
    const direct = await connect('leader', processes.endpoints)
    const leader = (await direct.waitForLeader(LATE)).id
    const follower = ['s1', 's2', 's3'].find((id) => id !== leader) ?? ''
    // It learns of the others from the one that it is given.
    const forwarded = await connect('any', [processes.addressOf(follower)])
    work.begin(direct, 8)
    work.begin(forwarded, 8)
    const held = await connect('leader', processes.endpoints)
    work.beginSession(await held.openSession(LATE), 4)
    await work.more(500)

    await processes.kill(leader)
    await work.more(500)
    await processes.start(leader)
    const { server } = forwarded.status
    await processes.kill(server?.id ?? '')
    await work.more(500)
    assert.is.not(forwarded.status.server?.address, server?.address)
    await work.end()

    assert.equal(work.refused, [], 'within the deadline nothing is given up')
    assert.equal(work.failed, [], 'in a session nothing fails')
    assert.ok(work.inSession.size > 50)
    const applied = await forwarded.query(null, LATE)
    const times = new Map<number, number>()
    for (const number of applied) times.set(number, (times.get(number) ?? 0) + 1)
    assert.equal(
      [...times].filter(([, count]) => count > 1),
      [],
      'nothing is applied twice',
    )
    assert.equal(
      [...work.confirmed].filter((number) => !times.has(number)),
      [],
      'nothing confirmed is lost',
    )
    const stray = [...times.keys()].filter((number) => !work.confirmed.has(number) && !work.unknown.has(number))
    assert.equal(stray, [], 'what is applied was confirmed, or is in doubt')
  } finally {
    await work.end()
    await Promise.all(clients.map((client) => client.close()))
    await processes.end()
  }
})

test.run()
