/** Folders for tests of tools: filled by a store, and what is in them as something that can be compared. */

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { fileStore, nativeStore } from '#balsa/storage/index.js'
import type { LogStore, StoreFactory } from '#balsa/storage/index.js'
import { append, blockOf, hardState } from '#balsa/testing/conformance/blocks.js'
import type { StoreEngine } from '#balsa/tools/index.js'
import type { StoreOperation } from '#balsa/types.js'
import { memberBlock } from './member.js'
import { metaOf } from '../storage/file-harness.js'
import type { DirectoryFile } from '../storage/directories/stored.js'

export const ENGINES: readonly StoreEngine[] = ['file', 'lmdb', 'journal']

export function storeOf(engine: StoreEngine): StoreFactory {
  return engine === 'file' ? fileStore() : nativeStore({ mode: engine })
}

// From build/test/tools back to the source tree.
const kept = fileURLToPath(new URL('../../../test/storage/directories', import.meta.url))

/** Every directory of a version that was ever written, by its name. */
export const FIXTURES: ReadonlyMap<string, DirectoryFile> = new Map(
  readdirSync(kept)
    .filter((name) => name.endsWith('.json'))
    .map((name) => [name.replace('.json', ''), JSON.parse(readFileSync(join(kept, name), 'utf8')) as DirectoryFile]),
)

/** Its engine. */
export function engineOf(fixture: string): StoreEngine {
  const engine = ENGINES.find((each) => fixture.startsWith(`${each}-`))
  if (engine === undefined) throw new Error(`a directory of an engine that the tools do not know: ${fixture}`)
  return engine
}

/** Every byte of every file, but for who holds the folder and LMDB's table of readers. */
export function fingerprintOfAll(dir: string): string {
  const hash = createHash('sha256')
  for (const name of (readdirSync(dir, { recursive: true }) as string[]).toSorted()) {
    if (['LOCK', 'lock.mdb'].includes(name) || statSync(join(dir, name)).isDirectory()) continue
    hash.update(`${name}\n`).update(readFileSync(join(dir, name)))
  }
  return hash.digest('hex')
}

/** Submits tickets, one after the other. */
export async function submitAll(store: LogStore, tickets: readonly (readonly StoreOperation[])[]): Promise<void> {
  for (const operations of tickets) {
    const ticket = store.submit(operations)
    while (store.poll().durable < ticket) {
      const { fault } = store.poll()
      if (fault !== null) throw fault
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

/** Of a member of a cluster of so many: entries 2 .. count, each of `length` bytes, a vote and facts. */
export function ticketsOf(count: number, length: number, voters = 3): readonly (readonly StoreOperation[])[] {
  const put = (key: string, text: string): StoreOperation => ({
    type: 'put',
    key,
    value: new TextEncoder().encode(text),
  })
  const first = [append(memberBlock(1, voters)), put('serverId', 's1'), put('peer/s2', 'someone 3 nonce 1')]
  const entries = Array.from({ length: count - 1 }, (_, n) => [
    append(blockOf(n + 2, 1 + Math.floor(n / 10), [length])),
    { type: 'hardState', hardState: hardState(1 + Math.floor(n / 10), 's2', n) } as const,
  ])
  return [first, ...entries]
}

/** The same log compacted so that it begins before the end of its snapshot. */
export function compacted(
  first: number,
  prevTerm: number,
  at: { index: number; term: number },
): readonly StoreOperation[] {
  const snapshot = metaOf(at.index, at.term)
  return [
    { type: 'compact', first: metaOf(first, 1).index, prevTerm: metaOf(1, prevTerm).term, snapshot, keepSuffix: true },
  ]
}

/** Fills a folder, and closes it. */
export async function fill(
  dir: string,
  engine: StoreEngine,
  tickets: readonly (readonly StoreOperation[])[],
): Promise<void> {
  const store = storeOf(engine).create(dir)
  await store.open(() => {})
  try {
    await submitAll(store, tickets)
  } finally {
    await store.close()
  }
}
