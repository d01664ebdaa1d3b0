/**
 * Makes the directories beside this file, which each later version must open (directories.test.ts).
 *
 * - node cli.js make OUT: one file for each format that this version writes, named after it
 * - node cli.js fill STORE DIR: what `make` does for each, in a process that kills itself: the last tickets are
 *   durable, and, where there is a journal, nowhere but in it
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { fileStore, memoryStore, nativeStore } from '#balsa/storage/index.js'
import type { StoreFactory } from '#balsa/storage/index.js'
import { logIndex } from '#balsa/types.js'
import type { Configuration, StoreOperation } from '#balsa/types.js'

import { append, blockOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { configurationBlock } from '#balsa/testing/conformance/store-bench.js'
import { until } from '../../support/until.js'
import { compact } from '../file-harness.js'
import { pack, tell } from './stored.js'
import type { DirectoryFile } from './stored.js'

type Tickets = readonly (readonly StoreOperation[])[]

const STORES: Readonly<Record<string, StoreFactory>> = {
  file: fileStore(),
  lmdb: nativeStore({ mode: 'lmdb' }),
  journal: nativeStore({ mode: 'journal' }),
}

const alone: Configuration = {
  voters: [{ id: 'a', address: 'a:1', extensions: [] }],
  outgoing: null,
  nonvoters: [],
}
const joint: Configuration = {
  voters: [...alone.voters, { id: 'b', address: 'b:1', extensions: [] }],
  outgoing: alone.voters,
  nonvoters: [{ id: 'c', address: 'c:1', promote: true, extensions: [] }],
}

/** Before an orderly close: a configuration, facts, terms, a truncation, and a compaction that cuts through a block. */
const closed: Tickets = [
  [append(configurationBlock(1, 1, alone)), vote(1, 'a', 0), put('clusterId', 'c0'), put('serverId', 'a')],
  [append(blockOf(2, 1, [0, 1, 8, 300])), append(blockOf(6, 2, [7])), vote(2, null, 5)],
  [append(blockOf(7, 2, [20, 5000])), put('peer/b', 'x')],
  [{ type: 'truncateSuffix', from: logIndex(8) }, append(blockOf(8, 3, [9])), vote(3, 'b', 6)],
  [compact(4, 1, { index: 5, term: 1 })],
]

/** Behind the next open. */
const lastOnes: Tickets = [
  [append(configurationBlock(9, 3, joint)), { type: 'delete', key: 'peer/b' }, put('joined', '1')],
  [append(blockOf(10, 3, [1, 2, 3]))],
  [{ type: 'truncateSuffix', from: logIndex(12) }, append(blockOf(12, 4, [4000, 0])), vote(4, 'a', 10)],
]

const [what, ...args] = process.argv.slice(2)
if (what === 'make') await make(args[0] ?? '')
if (what === 'fill') await fill(args[0] ?? '', args[1] ?? '')

async function make(out: string): Promise<void> {
  const state = await expected()
  for (const name of Object.keys(STORES)) {
    const dir = mkdtempSync(join(tmpdir(), 'balsa-directory-'))
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), 'fill', name, dir], { encoding: 'utf8' })
    if (child.signal !== 'SIGKILL') throw new Error(`${name}: ${child.stdout} ${child.stderr}`)
    const { incarnation } = JSON.parse(child.stdout) as { incarnation: string }
    const made: DirectoryFile = { bootCounter: 2, incarnation, state, files: pack(dir) }
    const [, version = '', engine = ''] = readFileSync(join(dir, 'FORMAT'), 'utf8').trim().split(' ')
    writeFileSync(join(out, `${engine}-${version}.json`), `${JSON.stringify(made, null, 2)}\n`)
    rmSync(dir, { recursive: true })
  }
}

/** What a store in memory makes of the same tickets. */
async function expected(): Promise<unknown> {
  const { create } = memoryStore()
  const store = create('memory')
  await run(store, [...closed, ...lastOnes])
  await store.close()
  const again = create('memory')
  return tell(again, await again.open(() => {}))
}

async function fill(name: string, dir: string): Promise<void> {
  const factory = STORES[name]
  if (factory === undefined) throw new Error(`there is no store ${name}`)
  const first = factory.create(dir)
  await run(first, closed)
  await first.close()
  const store = factory.create(dir)
  const { incarnation } = await run(store, lastOnes)
  const { bytesWritten, behindBytes } = store.stats()
  if (name === 'journal' && behindBytes !== bytesWritten) throw new Error('LMDB was sooner: try again')
  writeSync(1, JSON.stringify({ incarnation }))
  process.kill(process.pid, 'SIGKILL')
}

async function run(store: ReturnType<StoreFactory['create']>, tickets: Tickets): Promise<{ incarnation: string }> {
  const state = await store.open(() => {})
  for (const ticket of tickets) {
    const number = store.submit(ticket)
    await until('a ticket is durable', () => store.poll().durable >= number)
  }
  return state
}

function vote(term: number, votedFor: string | null, commitIndex: number): StoreOperation {
  return { type: 'hardState', hardState: hardState(term, votedFor, commitIndex) }
}

function put(key: string, value: string): StoreOperation {
  return { type: 'put', key, value: Buffer.from(value) }
}
