/**
 * A disk that fails, shown to a real process by strace: the store is poisoned, and says so; a full one is waited for.
 */

import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { testUnless } from '../support/skip.js'
import { inDirectory, JOURNAL, LMDB, STRACE, straceFault } from './lmdb-harness.js'

const test = suite('native store: a failing disk')

const unable = straceFault()

/** The k-th call of the writer thread; open makes fewer on the thread where it runs. And the file that it is for. */
const failures = [
  [LMDB, 'fdatasync', '3', 'data.mdb'],
  [LMDB, 'fdatasync', '20', 'data.mdb'],
  [LMDB, 'pwrite64', '41', 'data.mdb'],
  [LMDB, 'pwrite64', '62', 'data.mdb'],
  // One for each batch; LMDB makes fewer.
  [JOURNAL, 'pwrite64', '41', 'journal-0001'],
  [JOURNAL, 'pwrite64', '62', 'journal-0001'],
] as const

for (const [mode, call, nth, file] of failures) {
  const { child: start, withStore: withThis } = mode
  testUnless(
    test,
    unable,
    `EIO from ${call} number ${nth} poisons the store, and what was durable is there after a reopen (${mode.name})`,
    async () => {
      await inDirectory(async (dir) => {
        await withThis(dir, async () => {})
        const child = start(
          ['append', dir, '100', '1'],
          [...STRACE, '-e', `trace=${call}`, '-e', `inject=${call}:error=EIO:when=${nth}`],
        )
        const said = await child.line('poisoned', (line) => line.poisoned !== undefined)
        assert.is(said.poisoned, 'ERR_RAFT_STORE_POISONED')
        assert.is(said.outcome, 'unknown')
        assert.match(said.message ?? '', file)
        assert.is(said.refused, 'ERR_RAFT_STORE_POISONED')
        assert.is(await child.end(), '0')
        const { durable } = child
        assert.ok(durable >= 1 && durable < 100, `${durable} entries were durable`)
        await withThis(dir, async (_, state) => {
          assert.ok(state.lastIndex >= durable && state.lastIndex <= durable + 1, `${state.lastIndex}, not ${durable}`)
          assert.is(state.hardState.commitIndex, state.lastIndex)
        })
      })
    },
  )
}

testUnless(
  test,
  unable,
  'a full disk is reported as stalled, and the same tickets go through when there is room',
  async () => {
    await inDirectory(async (dir) => {
      const child = LMDB.child(
        ['append', dir, '10'],
        // Of the data alone: where there is no room for the table of readers, an open fails.
        [
          ...STRACE,
          '-P',
          join(dir, 'data.mdb'),
          '-e',
          'trace=fallocate',
          '-e',
          'inject=fallocate:error=ENOSPC:when=1..2',
        ],
      )
      await child.line('stalled', (line) => line.stalled === true)
      await child.line('closed', (line) => line.closed === true)
      assert.is(child.durable, 10)
      await LMDB.withStore(dir, async (_, state) => assert.is(state.lastIndex, 10))
    })
  },
)

testUnless(
  test,
  unable,
  'a file that a commit of append and truncation leaves is opened again where the filesystem cannot reserve room',
  async () => {
    for (const refusal of ['EOPNOTSUPP', 'ENOSYS']) {
      await inDirectory(async (dir) => {
        const inject = ['-e', 'trace=fallocate', '-e', `inject=fallocate:error=${refusal}`]
        const child = LMDB.child(['replace', dir], [...STRACE, ...inject])
        assert.is(await child.end(), 'SIGKILL')
        await LMDB.withStore(dir, async (_, state) => assert.is(state.lastIndex, 0))
      })
    }
  },
)

test.run()
