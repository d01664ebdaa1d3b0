/**
 * The npm package better-sqlite3: one transaction per batch, WAL, synchronous FULL, so that each is flushed. It is
 * built when it is installed, which needs a C++ compiler and the headers of Node.js, so it is no dependency of this
 * project: `npm install --no-save better-sqlite3`, with its install script allowed, puts it in for a while.
 */

import { join } from 'node:path'
import type { BatchStore, BatchStoreMaker } from './batch-store.js'

export const betterSqlite3: BatchStoreMaker = { name: 'npm better-sqlite3', open }

/** What is used of it here. */
interface Database {
  pragma(text: string): unknown
  exec(text: string): unknown
  prepare(text: string): { run(...values: readonly unknown[]): unknown }
  transaction(work: (count: number, payload: Uint8Array) => void): (count: number, payload: Uint8Array) => void
  close(): unknown
}

const PACKAGE = 'better-sqlite3'

async function open(dir: string): Promise<BatchStore> {
  const { default: Opener } = (await import(PACKAGE)) as { default: new (path: string) => Database }
  const database = new Opener(join(dir, 'log.db'))
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  database.exec('CREATE TABLE log (position INTEGER PRIMARY KEY, entry BLOB)')
  const insert = database.prepare('INSERT INTO log VALUES (?, ?)')
  let last = 0
  const append = database.transaction((count, payload) => {
    for (let left = count; left > 0; left -= 1) insert.run((last += 1), payload)
  })
  return {
    append: (count, payload) => Promise.resolve(append(count, payload)),
    flushes: () => null,
    close: () => Promise.resolve(void database.close()),
  }
}
