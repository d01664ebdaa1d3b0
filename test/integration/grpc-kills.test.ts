/** Three servers over gRPC and mutual TLS, in processes of their own, lose nothing when one is killed under load. */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServiceError } from '@grpc/grpc-js'
import { freeAddresses } from '../../support/free-addresses.js'
import { testUnless } from '../support/skip.js'
import { noCertificates } from '../../support/certificates.js'
import { makeCertificate, tlsCredentials } from '../grpc/certificates.js'
import { ListClient, outcomeOf } from '../grpc/list-service.js'
import { ProtoClient } from '../grpc/proto-client.js'
import { pause, until } from '../support/until.js'

const CLI = fileURLToPath(new URL('grpc-server/cli.js', import.meta.url))
const WORKERS_PER_SERVER = 4

class Processes {
  readonly folder = mkdtempSync(join(tmpdir(), 'balsa-grpc-kills-'))
  readonly addresses: readonly string[]
  readonly #children = new Map<number, ChildProcess>()

  constructor(addresses: readonly string[]) {
    this.addresses = addresses
    makeCertificate(this.folder)
  }

  async start(at: number): Promise<void> {
    const bootstrap = JSON.stringify(this.addresses.map((address, of) => ({ id: `s${of + 1}`, address })))
    const words = [`s${at + 1}`, join(this.folder, `s${at + 1}`), this.addresses[at] ?? '', bootstrap, this.folder]
    const child = spawn(process.execPath, [CLI, ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#children.set(at, child)
    await new Promise((resolve, reject) => {
      child.stdout?.once('data', resolve)
      child.once('exit', (code) => reject(new Error(`server ${at + 1} ended with ${code}`)))
    })
  }

  async kill(at: number): Promise<void> {
    const child = this.#children.get(at)
    this.#children.delete(at)
    await new Promise((resolve) => {
      child?.once('exit', resolve)
      child?.kill('SIGKILL')
    })
  }

  async end(): Promise<void> {
    await Promise.all([...this.#children.keys()].map((at) => this.kill(at)))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What became of every number that was appended, and those that work on. */
class Work {
  readonly confirmed = new Set<number>()
  readonly unknown = new Set<number>()
  #last = 0
  #isOver = false
  readonly #workers: Promise<void>[] = []

  begin(client: ListClient, count: number): void {
    this.#workers.push(...Array.from({ length: count }, () => this.#work(client)))
  }

  async end(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#workers)
  }

  async more(count: number): Promise<void> {
    const before = this.confirmed.size
    await until(`${count} more are confirmed`, () => this.confirmed.size >= before + count)
  }

  async #work(client: ListClient): Promise<void> {
    while (!this.#isOver) {
      const number = (this.#last += 1)
      try {
        await client.append(number)
        this.confirmed.add(number)
      } catch (error) {
        if (outcomeOf(error as ServiceError) === 'unknown') this.unknown.add(number)
        // Its server may be dead: no use in asking it all the time.
        await pause(20)
      }
    }
  }
}

const test = suite('servers over gRPC that are killed')

testUnless(
  test,
  noCertificates,
  'kill -9 of the leader under mutual TLS loses no confirmed command and doubles none',
  async () => {
    const processes = new Processes(await freeAddresses(3))
    const { channel } = tlsCredentials(processes.folder)
    const lists = processes.addresses.map((address) => new ListClient(address, channel))
    const healths = processes.addresses.map((address) => new ProtoClient('grpc.health.v1.Health', address, channel))
    const admins = processes.addresses.map((address) => new ProtoClient('balsa.admin.v1.Admin', address, channel))
    const work = new Work()
    const leaders = async (): Promise<readonly number[]> => {
      const answers = healths.map((health) => health.call<{ readonly status: string }>('Check').catch(() => null))
      return (await Promise.all(answers)).flatMap((answer, at) => (answer?.status === 'SERVING' ? [at] : []))
    }
    const findLeader = async (): Promise<number> => {
      let found: readonly number[] = []
      await until('one server leads', async () => (found = await leaders()).length === 1)
      return found[0] ?? -1
    }
    try {
      await Promise.all(processes.addresses.map((_, at) => processes.start(at)))
      const leader = await findLeader()
      for (const list of lists) work.begin(list, WORKERS_PER_SERVER)
      await work.more(200)

      await processes.kill(leader)
      await work.more(200)
      const next = await findLeader()
      assert.is.not(next, leader)
      await processes.start(leader)
      await until('it has caught up', async () => {
        const status = await admins[leader]?.call<{ readonly isReady: boolean }>('Status').catch(() => null)
        return status?.isReady === true
      })
      await work.more(100)
      await work.end()

      const applied = (await lists[leader]?.read()) ?? []
      const times = new Map<number, number>()
      for (const number of applied) times.set(number, (times.get(number) ?? 0) + 1)
      const twice = [...times].filter(([, count]) => count > 1)
      assert.equal(twice, [], 'nothing is applied twice')
      const lost = [...work.confirmed].filter((number) => !times.has(number))
      assert.equal(lost, [], 'nothing confirmed is lost')
      const stray = [...times.keys()].filter((number) => !work.confirmed.has(number) && !work.unknown.has(number))
      assert.equal(stray, [], 'what is applied was confirmed, or is in doubt')
    } finally {
      await work.end()
      for (const client of [...lists, ...healths, ...admins]) client.close()
      await processes.end()
    }
  },
)

test.run()
