/** What a group commit costs the disk, counted by strace where it is really asked for. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { testUnless } from '../support/skip.js'
import { Child, inDirectory, strace, straceFault } from './lmdb-harness.js'

const test = suite('native store: writes and flushes of a group commit')

const TICKETS = 200

/**
 * Three pages that lie apart (root, leaf, free list) and the meta page; what is above that is for splits, now and then. Open,
 * creation and close are within it too.
 */
const WRITES_PER_COMMIT_MAX = 4.5

testUnless(
  test,
  straceFault(),
  'a commit of one entry writes three pages and the meta page, and flushes twice',
  async () => {
    await inDirectory(async (dir) => {
      const trace = join(dir, 'trace')
      const child = new Child(
        ['append', join(dir, 'store'), String(TICKETS), '1'],
        [...strace(trace), '-e', 'trace=pwrite64,pwritev,fdatasync'],
      )
      const { stats } = await child.line('closed', (line) => line.closed === true)
      assert.is(await child.end(), '0')
      assert.is(stats?.groupCommits, TICKETS)
      const calls = (await readFile(trace, 'utf8'))
        .split('\n')
        .filter((line) => line.includes('(') && !line.includes('resumed'))
      const flushes = calls.filter((line) => line.includes('fdatasync(')).length
      const writes = calls.length - flushes
      assert.ok(flushes >= TICKETS && flushes <= TICKETS + 5, `${flushes} calls of fdatasync`)
      assert.ok(writes / TICKETS <= WRITES_PER_COMMIT_MAX, `${writes} writes for ${TICKETS} commits`)
    })
  },
)

test.run()
