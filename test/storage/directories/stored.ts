/** A directory of a store as one file of text, and what a store holds as values that such a file can say. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, brotliDecompressSync } from 'node:zlib'

import type { LogStore, StoredState } from '#balsa/storage/index.js'
import { logIndex } from '#balsa/types.js'

import { entriesOf, hexOf } from '#balsa/testing/conformance/blocks.js'

/** Made anew by every opener: who holds the directory, and LMDB's table of readers. */
const NOT_KEPT: readonly string[] = ['LOCK', 'lock.mdb']

/** What every store must say of a directory, whatever opens it. */
export interface Stored {
  /** Of the last open before. */
  readonly bootCounter: number
  readonly incarnation: string
  /** The state without these two, facts and entries included; bytes are hex digits. */
  readonly state: unknown
}

export interface DirectoryFile extends Stored {
  /** Brotli, in base64. */
  readonly files: Readonly<Record<string, string>>
}

/** Everything that a store which has just been opened tells of its state, and every entry. */
export async function tell(store: LogStore, state: StoredState): Promise<unknown> {
  const { firstIndex, prevTerm, snapshot, lastIndex, hardState, termRuns, configurations, facts } = state
  const entries: object[] = []
  while (firstIndex + entries.length <= lastIndex) {
    const lo = logIndex(firstIndex + entries.length)
    const blocks = await store.read(lo, logIndex(lastIndex + 1), 1 << 20)
    if (blocks.length === 0) throw new Error(`entry ${lo} cannot be read`)
    entries.push(...entriesOf(blocks))
  }
  const told = { firstIndex, prevTerm, snapshot, lastIndex, hardState, termRuns, configurations, entries }
  return JSON.parse(JSON.stringify({ ...told, facts: Object.fromEntries(facts) }, withHex))
}

function withHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? hexOf(value) : value
}

export function pack(dir: string): DirectoryFile['files'] {
  const names = readdirSync(dir).filter((name) => !NOT_KEPT.includes(name))
  return Object.fromEntries(
    names.toSorted().map((name) => [name, brotliCompressSync(readFileSync(join(dir, name))).toString('base64')]),
  )
}

export function unpack(files: DirectoryFile['files'], dir: string): void {
  for (const [name, bytes] of Object.entries(files)) {
    writeFileSync(join(dir, name), brotliDecompressSync(Buffer.from(bytes, 'base64')))
  }
}
