/**
 * A folder whose older contents come back into the same files: the server cannot notice it, its peers must. Each case
 * ends the leadership in which the server had acknowledged what it forgets, so that nobody remembers it in memory.
 */

import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { systemClock } from '#balsa/clock.js'
import { msgpackCodec, Raft } from 'balsa-raft'
import { fileStore } from 'balsa-raft/storage'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { SumMachine, TestCluster } from '../support/raft-cluster.js'
import type { Command, TestRaft } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

interface Context {
  folder: string
  cluster: TestCluster
  network: MemoryNetwork
}

const test = suite<Context>('older contents in the same files')
const IDS = ['s1', 's2', 's3']

test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'balsa-older-'))
  const network = new MemoryNetwork({ clock: systemClock() })
  context.network = network
  context.cluster = new TestCluster({
    sites: IDS.map((id) => ({ id, dir: join(context.folder, id), address: `${id}:1` })),
    storage: fileStore(),
    transportOf: ({ address }) => network.transport(address),
    extra: { electionTimeoutMs: 300, heartbeatMs: 50 },
  })
  await context.cluster.openAll()
})

test.after.each(async ({ cluster, folder }) => {
  await cluster.closeAll()
  await rm(folder, { recursive: true, force: true })
})

/** Into the same file, as the command cp does it: inode and birth stay. */
/** What one folder's log holds becomes what the other's does, in the files that are there. */
async function copy(folder: string, from: string, to: string): Promise<void> {
  const isOfLog = (name: string): boolean => name === 'log' || name.startsWith('segment-')
  await mkdir(join(folder, to), { recursive: true })
  const names = (await readdir(join(folder, from))).filter(isOfLog)
  for (const name of names) await writeFile(join(folder, to, name), await readFile(join(folder, from, name)))
  const others = (await readdir(join(folder, to))).filter((name) => isOfLog(name) && !names.includes(name))
  for (const name of others) await rm(join(folder, to, name))
}

const peerOf = (server: TestRaft, peer: string) => {
  const found = server.status.peers.find(({ id }) => id === peer)
  assert.ok(found)
  return found
}

/** The others start again: what they remember is what they have written down. */
async function forgetLeadership(cluster: TestCluster): Promise<void> {
  for (const id of ['s1', 's2']) await cluster.close(id)
  for (const id of ['s1', 's2']) await cluster.open(id)
  await cluster.leader()
}

async function refusedBy(cluster: TestCluster, words: RegExp): Promise<void> {
  for (const id of ['s1', 's2']) {
    const server = cluster.server(id)
    await until(`${id} has judged s3`, () => {
      const { refusal, connected } = peerOf(server, 's3')
      return refusal !== null || connected
    })
    assert.is(peerOf(server, 's3').connected, false, `${id} believes the older copy`)
    assert.is(peerOf(server, 's3').refusal?.code, 'ERR_RAFT_PEER_REPLACED')
    assert.match(peerOf(server, 's3').refusal?.reason ?? '', words)
  }
}

test('D10 a copy of boot 1 that comes back after boot 2 is refused, however often it is started', async (context) => {
  const { cluster, folder } = context
  await cluster.close('s3')
  await copy(folder, 's3', 'copy')
  await cluster.open('s3')
  await (await cluster.leader()).apply({ add: 1 })
  await until('boot 2 is known to both', () => ['s1', 's2'].every((id) => peerOf(cluster.server(id), 's3').connected))
  await cluster.close('s3')
  await copy(folder, 'copy', 's3')
  await forgetLeadership(cluster)
  for (let start = 0; start < 4; start += 1) {
    const older = await cluster.open('s3')
    await refusedBy(cluster, /comes from another boot 2 than the one known here/)
    assert.is(older.status.leader, null)
    await cluster.close('s3')
    await forgetLeadership(cluster)
  }
})

test('a folder that two servers have run from is known by the first of them', async (context) => {
  const { cluster, folder } = context
  await cluster.close('s3')
  await copy(folder, 's3', 'copy')
  await cluster.open('s3')
  await until('boot 2 is known to both', () => ['s1', 's2'].every((id) => peerOf(cluster.server(id), 's3').connected))
  await cluster.close('s3')
  await copy(folder, 's3', 'own')
  await copy(folder, 'copy', 's3')
  await cluster.open('s3')
  await refusedBy(cluster, /comes from another boot 2/)
  await cluster.close('s3')
  await copy(folder, 'own', 's3')
  const own = await cluster.open('s3')
  assert.is(await own.ready({ timeoutMs: 20_000 }), undefined)
})

test('a second server from an older copy, under the same id, is refused, and the first one goes on beside it', async (context) => {
  const { cluster, folder, network } = context
  await cluster.close('s3')
  await cp(join(folder, 's3'), join(folder, 'clone'), { recursive: true })
  await cluster.open('s3')
  await until('boot 2 is known to both', () => ['s1', 's2'].every((id) => peerOf(cluster.server(id), 's3').connected))
  const clone = await Raft.open({
    ...{ id: 's3', dir: join(folder, 'clone'), acceptCopiedFolder: true, storage: fileStore() },
    ...{ bootstrap: IDS.map((id) => ({ id, address: `${id}:1` })), transport: network.transport('clone:1') },
    ...{ stateMachine: new SumMachine(), logger: false, codec: msgpackCodec<Command>() },
  })
  for (const id of ['s1', 's2']) {
    await until(`${id} refuses the clone`, () => peerOf(cluster.server(id), 's3').refusal !== null)
    assert.match(peerOf(cluster.server(id), 's3').refusal?.reason ?? '', /comes from another boot 2/)
    assert.is(peerOf(cluster.server(id), 's3').connected, true, 'the first one stays')
  }
  await cluster.close('s2')
  await (await cluster.leader()).apply({ add: 1 }, { timeoutMs: 20_000 })
  assert.is(clone.status.leader, null)
  await clone.close()
})

test('a server that was started often while a peer was down joins without an operator', async (context) => {
  const { cluster } = context
  await until('boot 1 is known to both', () => ['s1', 's2'].every((id) => peerOf(cluster.server(id), 's3').connected))
  await cluster.close('s1')
  for (let start = 0; start < 40; start += 1) {
    await cluster.close('s3')
    await cluster.open('s3')
  }
  await cluster.open('s1')
  await until('s1 and s3 are connected', () => {
    return peerOf(cluster.server('s1'), 's3').connected && peerOf(cluster.server('s3'), 's1').connected
  })
  assert.is(peerOf(cluster.server('s1'), 's3').refusal, null)
})

test.run()
