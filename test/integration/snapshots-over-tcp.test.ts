/**
 * A follower that lacks what was compacted is given it over TCP: two servers here, the follower in a process of its
 * own, which is cut off and killed on the way.
 */

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft } from 'balsa-raft'
import type { MetricName, Server } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { freePorts } from '../../support/free-addresses.js'
import { SlowLink } from '../support/slow-link.js'
import { until } from '../support/until.js'
import { wideMachine } from '../support/wide-machine.js'

type List = Raft<number, number, void, readonly number[]>

const MIB = 1024 * 1024
const BYTES_EACH = 64 * 1024
/** Numbers in the snapshot, which has 8 MiB. */
const COUNT = 128
const SNAPSHOT_BYTES = COUNT * BYTES_EACH
/** The way to the follower takes two seconds for it. */
const SLOW = 4 * MIB

interface Line {
  readonly what: string
  readonly list?: readonly number[]
}

/** The follower. */
class FollowerProcess {
  readonly #child: ChildProcess
  readonly #ended: Promise<void>
  #output = ''

  constructor(words: readonly string[]) {
    const path = fileURLToPath(new URL('snapshot-follower/cli.js', import.meta.url))
    this.#child = spawn(process.execPath, [path, ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child.stdin?.on('error', () => {})
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#output += text))
    this.#ended = new Promise((resolve) => this.#child.once('close', () => resolve()))
  }

  get lines(): readonly Line[] {
    const whole = this.#output.slice(0, this.#output.lastIndexOf('\n') + 1)
    return whole.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Line]))
  }

  count(what: string): number {
    return this.lines.filter((line) => line.what === what).length
  }

  get list(): readonly number[] {
    return this.lines.findLast(({ list }) => list !== undefined)?.list ?? []
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }
}

interface Context {
  cluster: Cluster
}

/** `s1` and `s2` here, `s3` in processes; each is dialled over a link of its own. */
class Cluster {
  readonly servers: List[] = []
  readonly links: readonly SlowLink[]
  readonly #folder = mkdtempSync(join(tmpdir(), 'balsa-snapshots-'))
  readonly #ports: readonly number[]
  readonly #followers: FollowerProcess[] = []

  static async start(): Promise<Cluster> {
    const ports = await freePorts(3)
    const links = await Promise.all(ports.map((port) => SlowLink.before(port, 1e9)))
    const cluster = new Cluster(ports, links)
    await Promise.all(['s1', 's2'].map((id) => cluster.open(id)))
    return cluster
  }

  private constructor(ports: readonly number[], links: readonly SlowLink[]) {
    this.#ports = ports
    this.links = links
  }

  async open(id: string): Promise<void> {
    const server = await Raft.open<number, number, void, readonly number[]>({
      id,
      dir: join(this.#folder, id),
      bootstrap: this.#bootstrap,
      transport: tcp({ listen: this.#listen(id) }),
      logger: false,
      codec: msgpackCodec<number>(),
      stateMachine: wideMachine(BYTES_EACH),
      snapshots: { entries: 1e6, trailingEntries: 1, sendBytesPerSecond: SLOW },
    })
    this.servers.push(server)
  }

  follower(stalls = false): FollowerProcess {
    const words = ['s3', join(this.#folder, 's3'), this.#listen('s3'), JSON.stringify(this.#bootstrap)]
    const follower = new FollowerProcess([...words, String(BYTES_EACH), String(stalls)])
    this.#followers.push(follower)
    return follower
  }

  async leader(): Promise<List> {
    const leads = (server: List): boolean => server.status.role === 'leader'
    await until('a server leads', () => this.servers.some(leads))
    const leader = this.servers.find(leads)
    assert.ok(leader)
    await leader.ready({ timeoutMs: 20_000 })
    return leader
  }

  /** What the follower has had before it went away is compacted, and more. */
  async compacted(): Promise<List> {
    const before = this.follower()
    const leader = await this.leader()
    await leader.applyAll([1, 2, 3])
    await until('the follower has that', () => before.list.length === 3)
    await before.kill()
    await until('it is missed', () => leader.status.peers.some(({ id, connected }) => id === 's3' && !connected))
    await leader.applyAll(Array.from({ length: COUNT - 3 }, (_, at) => at + 4))
    for (const server of this.servers) {
      await until('it has all', () => server.status.appliedIndex >= leader.status.appliedIndex)
      const lacking = before.list.length + 10
      await server.snapshot()
      await until('what the follower lacks is gone', () => server.status.firstIndex > lacking)
    }
    return leader
  }

  /** Bytes that the follower has of a snapshot that is not whole. */
  partBytes(): number {
    const folder = join(this.#folder, 's3', 'snapshots')
    const part = readdirSync(folder).find((name) => name.endsWith('.part'))
    return part === undefined ? 0 : statSync(join(folder, part)).size
  }

  async close(): Promise<void> {
    for (const follower of this.#followers) await follower.kill()
    await Promise.all(this.servers.map((server) => server.close({ transferLeadership: false })))
    for (const link of this.links) link.close()
    rmSync(this.#folder, { recursive: true })
  }

  get #bootstrap(): readonly Server[] {
    return this.links.map(({ port }, at) => ({ id: `s${at + 1}`, address: `127.0.0.1:${port}` }))
  }

  #listen(id: string): string {
    return `127.0.0.1:${this.#ports[Number(id.slice(1)) - 1]}`
  }
}

const test = suite<Context>('snapshots over TCP')

test.before.each(async (context) => {
  context.cluster = await Cluster.start()
})

test.after.each(async ({ cluster }) => {
  await cluster.close()
})

const PROGRESS = 'balsa_snapshot_transfer'

/** What the metrics tell of the follower; NaN for nothing. */
function sampled(server: List, name: MetricName): number {
  const metric = server.metrics().find((each) => each.name === name)
  const sample = metric?.samples.find(({ labels }) => labels['peer'] === 's3')
  return sample !== undefined && 'value' in sample ? sample.value : Number.NaN
}

/** The follower has all, and what is added now. */
async function goesOn(cluster: Cluster, follower: FollowerProcess): Promise<void> {
  const leader = await cluster.leader()
  await leader.apply(COUNT + 1)
  await until('it has all', () => follower.list.length === COUNT + 1)
  assert.ok(follower.list.every((value, at) => value === at + 1))
}

test('a follower that was away catches up by a snapshot, while the leader takes writes and keeps its sessions', async ({
  cluster,
}) => {
  const leader = await cluster.compacted()
  const downs: string[] = []
  leader.on('peer', ({ id, connected }) => connected || downs.push(id))
  const { term } = leader.status
  const follower = cluster.follower()
  await until('it receives', () => cluster.partBytes() > MIB)
  assert.is(await leader.apply(COUNT + 1), COUNT + 1)
  const [written, all] = [sampled(leader, 'balsa_snapshot_transfer_bytes'), sampled(leader, `${PROGRESS}_size_bytes`)]
  assert.is(follower.count('received'), 0, 'not whole yet')
  assert.ok(written > MIB / 2 && written < all && all > SNAPSHOT_BYTES, `${written} of ${all}`)
  await until('it has all', () => follower.list.length === COUNT + 1)
  assert.equal([follower.count('received'), follower.count('restored')], [1, 1])
  assert.ok(follower.list.every((value, at) => value === at + 1))
  assert.equal([downs, leader.status.term], [[], term])
  assert.ok(sampled(leader, 'balsa_peer_sent_bytes_total') > SNAPSHOT_BYTES)
  assert.ok(sampled(leader, 'balsa_peer_received_bytes_total') > 0)
  await until('none is on its way', () => Number.isNaN(sampled(leader, 'balsa_snapshot_transfer_bytes')))
})

test('N4 a connection that is cut in the middle is taken up again at the byte at which it broke off', async ({
  cluster,
}) => {
  await cluster.compacted()
  const link = cluster.links[2]
  assert.ok(link)
  const before = link.carried
  const follower = cluster.follower()
  await until('half of it has come', () => cluster.partBytes() > SNAPSHOT_BYTES / 2)
  link.cut()
  await goesOn(cluster, follower)
  assert.equal([follower.count('received'), follower.count('restored')], [1, 1])
  const again = link.carried - before - SNAPSHOT_BYTES
  assert.ok(again < 2 * MIB, `${again} bytes came twice`)
})

test('a leader that is closed in the middle leaves the rest to the next one', async ({ cluster }) => {
  const leader = await cluster.compacted()
  const follower = cluster.follower()
  await until('half of it has come', () => cluster.partBytes() > SNAPSHOT_BYTES / 2)
  await leader.close()
  cluster.servers.splice(cluster.servers.indexOf(leader), 1)
  await goesOn(cluster, follower)
  assert.is(follower.count('restored'), 1)
})

test('a follower that is killed while it receives begins anew, and has all', async ({ cluster }) => {
  await cluster.compacted()
  const killed = cluster.follower()
  await until('half of it has come', () => cluster.partBytes() > SNAPSHOT_BYTES / 2)
  await killed.kill()
  assert.equal(killed.count('received'), 0)
  const follower = cluster.follower()
  await goesOn(cluster, follower)
  assert.equal([follower.count('received'), follower.count('restored')], [1, 1])
})

test('a follower that is killed while it installs goes on from what it has received', async ({ cluster }) => {
  await cluster.compacted()
  const killed = cluster.follower(true)
  await until('it restores', () => killed.count('stalls') === 1)
  await killed.kill()
  assert.equal([killed.count('received'), killed.count('restored')], [1, 0])
  const follower = cluster.follower()
  await goesOn(cluster, follower)
  assert.equal([follower.count('received'), follower.count('restored')], [0, 1])
})

test.run()
