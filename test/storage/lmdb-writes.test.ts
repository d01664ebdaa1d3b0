/** What a group commit costs the disk, counted by strace where it is really asked for. */

import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { testUnless } from '../support/skip.js'
import { inDirectory, LMDB, straceFault } from './lmdb-harness.js'

const test = suite('native store: writes and flushes of a group commit')

const TICKETS = 500
const PAGE_BYTES = 4096

/** Root, leaf and free list; what is above that is for splits, and for the transactions of open and close. */
const PAGES_PER_COMMIT_MAX = 3.25

testUnless(test, straceFault(), 'a commit of one entry writes three pages and flushes twice', async () => {
  await inDirectory(async (dir) => {
    const traces = join(dir, 'traces')
    await mkdir(traces)
    const child = LMDB.child(
      ['append', join(dir, 'store'), String(TICKETS), '1'],
      // One file for each thread: then no call is torn apart in the trace.
      ['strace', '-ff', '-qq', '-o', join(traces, 'trace'), '-e', 'trace=pwrite64,writev,pwritev,fdatasync'],
    )
    const { stats } = await child.line('closed', (line) => line.closed === true)
    assert.is(await child.end(), '0')
    assert.is(stats?.groupCommits, TICKETS)
    const { flushes, pages, metaPages } = await countCalls(traces)
    assert.ok(flushes >= TICKETS && flushes <= TICKETS + 5, `${flushes} calls of fdatasync`)
    assert.is(metaPages, flushes)
    assert.ok(pages / TICKETS <= PAGES_PER_COMMIT_MAX, `${pages} pages for ${TICKETS} commits`)
    assert.ok(pages >= 3 * TICKETS, `${pages} pages are too few to be all`)
  })
})

async function countCalls(dir: string): Promise<{ flushes: number; pages: number; metaPages: number }> {
  let flushes = 0
  let pages = 0
  let metaPages = 0
  for (const name of await readdir(dir)) {
    const lines = (await readFile(join(dir, name), 'utf8')).split('\n')
    if (!lines.some((line) => line.startsWith('fdatasync('))) continue
    for (const line of lines) {
      const bytes = Number(/ = (\d+)$/.exec(line)?.[1] ?? 0)
      if (line.startsWith('fdatasync(')) flushes += 1
      // The only write that is not of whole pages is that of the meta page.
      else if (line.startsWith('pwrite64(') && bytes % PAGE_BYTES !== 0) metaPages += 1
      else pages += bytes / PAGE_BYTES
    }
  }
  return { flushes, pages, metaPages }
}

test.run()
