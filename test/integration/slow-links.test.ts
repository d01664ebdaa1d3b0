/**
 * Three servers over TCP, the links between them slow: no election, no connection that ends, and what the links carry
 * is entries that were not there before. Counted in bytes and events; how long it takes is the link's affair.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Raft } from 'balsa-raft'
import { memoryStore } from 'balsa-raft/storage'
import { tcp } from 'balsa-raft/transport/tcp'
import { freePorts } from '../../support/free-addresses.js'
import { SlowLink } from '../support/slow-link.js'
import { until } from '../support/until.js'

const test = suite('slow links')

const MIB = 1024 * 1024

interface Load {
  readonly mibPerS: number
  readonly entryBytes: number
  readonly totalMib: number
}

const loads: readonly Load[] = [
  { mibPerS: 0.4, entryBytes: 1024, totalMib: 3 },
  { mibPerS: 0.4, entryBytes: MIB - 1024, totalMib: 3 },
  { mibPerS: 1, entryBytes: 64 * 1024, totalMib: 9 },
  { mibPerS: 2, entryBytes: 8 * 1024, totalMib: 9 },
]

async function open(
  links: readonly SlowLink[],
  ports: readonly number[],
  told: string[],
): Promise<readonly Raft<Uint8Array, number>[]> {
  const bootstrap = links.map(({ port }, at) => ({ id: `s${at + 1}`, address: `127.0.0.1:${port}` }))
  return Promise.all(
    bootstrap.map(async ({ id }, at) => {
      const raft = await Raft.open<Uint8Array, number>({
        id,
        dir: id,
        bootstrap,
        transport: tcp({ listen: `127.0.0.1:${ports[at]}` }),
        storage: memoryStore(),
        logger: false,
        codec: { encode: (bytes) => bytes, decode: (bytes) => bytes },
        stateMachine: { apply: (batch) => batch.map(({ index }) => index) },
      })
      raft.on('peer', ({ id: peer, connected }) => told.push(`${id}: ${peer} ${connected ? 'up' : 'down'}`))
      raft.on('leader', ({ leader }) => told.push(`${id}: ${leader?.id ?? 'nobody'} leads`))
      return raft
    }),
  )
}

async function carry({ mibPerS, entryBytes, totalMib }: Load): Promise<void> {
  const name = `${totalMib} MiB of entries of ${entryBytes} bytes over links of ${mibPerS} MiB/s`
  const ports = await freePorts(3)
  const links = await Promise.all(ports.map((port) => SlowLink.before(port, mibPerS * MIB)))
  const told: string[] = []
  const servers = await open(links, ports, told)
  try {
    await Promise.all(servers.map((server) => server.ready()))
    const leader = servers.find(({ status }) => status.role === 'leader')
    assert.ok(leader)
    await until('all are connected', () => leader.status.peers.every(({ connected }) => connected))
    const { term } = leader.status
    const followers = servers.filter((server) => server !== leader)
    const linksToThem = links.filter((_link, at) => servers[at] !== leader)
    const before = linksToThem.map(({ carried }) => carried)
    told.length = 0

    const count = Math.round((totalMib * MIB) / entryBytes)
    const command = new Uint8Array(entryBytes).fill(7)
    const begun = performance.now()
    await leader.applyAll(Array.from({ length: count }, () => command))
    const last = leader.status.commitIndex
    await until('every follower has it all', () => followers.every(({ status }) => status.commitIndex >= last))
    const seconds = (performance.now() - begun) / 1000

    assert.equal(told, [], name)
    assert.is(leader.status.term, term, name)
    const wanted = count * entryBytes
    for (const [at, link] of linksToThem.entries()) {
      const carried = link.carried - (before[at] ?? 0)
      assert.ok(
        wanted / carried >= 0.9,
        `${name}: ${Math.round((wanted / carried) * 100)} % of ${carried} bytes were new`,
      )
    }
    // Printed, not asserted: how long it takes is the machine's affair as well.
    console.log(`${name}: ${Math.round((wanted / (seconds * mibPerS * MIB)) * 100)} % of what the link can carry`)
  } finally {
    await Promise.all(servers.map((server) => server.close()))
    for (const link of links) link.close()
  }
}

// Together: the links are what they wait for.
test('C22 they carry new entries, and cost neither an election nor a connection', async () => {
  await Promise.all(loads.map(carry))
})

test.run()
