/**
 * A server process and a folder that is not its own, was copied, goes away, or holds what nobody can read: the exit
 * code, and what the log says.
 */

import { cpSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { Raft } from 'balsa-raft'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { systemClock } from '#balsa/clock.js'
import { encodeCommand } from 'balsa-kv/replication/entry-codec.js'
import { freePort, freePorts } from '../../support/free-addresses.js'
import { lastEvent, mainPath, runNode, temporaryDir } from './processes.js'
import type { Ended, Running } from './processes.js'
import { until } from '../support/until.js'

const test = suite('balsa-kv: whose folder it is')

test('a server with the folder of another ends with 78 and both names', async () => {
  await inFolder(async ({ start, at }) => {
    await stopped(await start('s1', at('one')))
    const { code, stderr } = await (await start('s2', at('one'))).ended
    assert.is(code, 78)
    assert.match(messageOf(stderr), 'belongs to server s1, and this is server s2')
  })
})

test('D10 a copied folder ends with 78 and names the option that takes it; the option does, once for all', async () => {
  await inFolder(async ({ start, at }) => {
    await stopped(await start('s1', at('one')))
    cpSync(at('one'), at('copy'), { recursive: true })
    const { code, stderr } = await (await start('s1', at('copy'))).ended
    assert.is(code, 78)
    assert.match(messageOf(stderr), '--accept-copied-folder')
    await stopped(await start('s1', at('copy'), '--accept-copied-folder'))
    await stopped(await start('s1', at('copy')))
  })
})

test('a server whose folder is deleted ends within seconds with 70, and names the folder', async () => {
  await inFolder(async ({ start, at }) => {
    const running = await start('s1', at('one'))
    await until('the server runs', () => running.output().includes('server.open'))
    rmSync(at('one'), { recursive: true })
    const { code, stderr } = await running.ended
    assert.is(code, 70)
    assert.match(stderr, `The directory ${at('one')} was deleted, moved or replaced`)
  })
})

test('an entry that no version can read ends a server with 70 and the way back, which is one', async () => {
  const dir = join(temporaryDir(), 's1')
  const [port, peer] = await freePorts(2)
  const servers = `s1=127.0.0.1:${peer}/127.0.0.1:${port}`
  const start = (...more: readonly string[]): Running => {
    return runNode([mainPath, '--servers', servers, '--id', 's1', '--dir', dir, ...more])
  }
  await stopped(start())
  const index = await forge(dir, `127.0.0.1:${peer}`)
  const { code, stderr } = await start().ended
  assert.is(code, 70)
  assert.match(messageOf(stderr), `--skip-entry ${index}`)
  await stopped(start('--skip-entry', String(index)))
  assert.is((await start('--skip-entry', 'first').ended).code, 64)
  rmSync(dirname(dir), { recursive: true })
})

/** Writes into the log of a lone server what a forged member could; answers with the index of it. */
async function forge(dir: string, address: string): Promise<number> {
  let index = 0
  const raft = await Raft.open<Uint8Array, null>({
    id: 's1',
    dir,
    cluster: 'balsa-kv',
    bootstrap: [{ id: 's1', address }],
    transport: new MemoryNetwork({ clock: systemClock() }).transport(address),
    logger: false,
    codec: { encode: (bytes) => bytes, decode: (bytes) => bytes },
    stateMachine: { apply: (batch) => batch.map((entry) => ((index = entry.index), null)) },
  })
  await raft.ready()
  await raft.apply(encodeCommand(['hset', 'k', 'f', 'v']))
  await raft.close()
  return index
}

interface Folder {
  readonly at: (name: string) => string
  /** One of two servers, of which the other never runs. */
  readonly start: (id: string, dir: string, ...more: readonly string[]) => Promise<Running>
}

async function inFolder(run: (folder: Folder) => Promise<void>): Promise<void> {
  const folder = temporaryDir()
  const started: Running[] = []
  const ports = await Promise.all([1, 2, 3, 4].map(() => freePort()))
  const server = (id: string, at: number): string => `${id}=127.0.0.1:${ports[at]}/127.0.0.1:${ports[at + 1]}`
  const servers = `${server('s1', 0)},${server('s2', 2)}`
  const start = async (id: string, dir: string, ...more: readonly string[]): Promise<Running> => {
    const running = runNode([mainPath, '--servers', servers, '--id', id, '--dir', dir, ...more])
    started.push(running)
    return running
  }
  try {
    await run({ start, at: (name) => join(folder, name) })
  } finally {
    for (const { child } of started) child.kill('SIGKILL')
    await Promise.all(started.map(({ ended }) => ended))
    rmSync(folder, { recursive: true, force: true })
  }
}

async function stopped(running: Running): Promise<Ended> {
  await until('the server runs', () => running.output().includes('server.open') || running.child.exitCode !== null)
  running.child.kill('SIGTERM')
  const ended = await running.ended
  assert.is(ended.code, 0, ended.stderr)
  return ended
}

function messageOf(stderr: string): string {
  return JSON.stringify(lastEvent(stderr))
}

test.run()
