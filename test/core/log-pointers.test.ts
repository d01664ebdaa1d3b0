/**
 * docs/log-pointers.md and its executable twin `assertInvariants` say the same, row by row; and each row is shown to be
 * asserted, by a server that breaks it and nothing before it.
 */

import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AssertionFailure } from '#balsa/errors.js'
import { assertInvariants } from '#balsa/core/index.js'
import type { CoreView } from '#balsa/core/invariants.js'
import { Progress } from '#balsa/core/leader/progress.js'
import { RaftLog } from '#balsa/core/raft-log.js'
import type { ServerId } from '#balsa/types.js'
import { logIndex, termOf } from '#balsa/types.js'
import { makeBlock, stageBlockMaker } from '#balsa/testing/stage/blocks.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')

/** A leader of term 2 with 8 entries, in the middle of its work. */
const healthy = {
  role: 'leader',
  term: termOf(2),
  firstIndex: 1,
  snapshot: null as { readonly index: number } | null,
  restoreDue: null as { readonly index: number } | null,
  appliedIndex: 4,
  commitIndex: 5,
  knownCommitIndex: 5,
  settledIndex: 5,
  durableIndex: 6,
  submittedIndex: 7,
  lastIndex: 8,
  openedIndex: 2,
  tailFirst: 4,
  lastTerm: 2,
  termRuns: [
    [1, 1],
    [3, 2],
  ] as readonly (readonly [number, number])[],
  isDurable: true,
  peer: (): Progress => peerAt(6, 7),
}

type State = typeof healthy

function peerAt(matchIndex: number, nextIndex: number): Progress {
  const progress = new Progress('s2', logIndex(nextIndex), 1, { now: 0, electionTimeoutMs: 1000 })
  progress.matchIndex = logIndex(matchIndex)
  return progress
}

function coreOf(state: State): CoreView {
  const { role, term, termRuns, isDurable, submittedIndex, peer, ...pointers } = state
  const runs = termRuns.map(([first, runTerm]) => ({ first: logIndex(first), term: termOf(runTerm) }))
  const core = {
    role,
    term,
    log: { ...pointers, termRuns: runs },
    tickets: { submittedIndex, hardStateIsDurable: isDurable },
    peers: new Map<ServerId, Progress>([['s2', peer()]]),
  }
  return core as unknown as CoreView
}

/** By row: what breaks it, and none of the rows before it. */
const broken: Readonly<Record<string, readonly Partial<State>[]>> = {
  'firstIndex - 1 <= snapshotIndex <= commitIndex': [
    { firstIndex: 2 },
    { firstIndex: 3, snapshot: { index: 1 } },
    { snapshot: { index: 6 } },
  ],
  'firstIndex - 1 <= appliedIndex, unless a snapshot is to be restored': [
    { firstIndex: 4, snapshot: { index: 3 }, appliedIndex: 2 },
  ],
  'appliedIndex <= commitIndex <= lastIndex': [{ appliedIndex: 6 }, { commitIndex: 9 }],
  'commitIndex <= settledIndex <= lastIndex': [{ settledIndex: 4 }, { settledIndex: 9 }],
  'commitIndex <= knownCommitIndex': [{ knownCommitIndex: 4 }],
  'appliedIndex <= durableIndex': [{ durableIndex: 3 }],
  'durableIndex <= submittedIndex <= lastIndex': [{ submittedIndex: 5 }, { submittedIndex: 9 }],
  'openedIndex <= lastIndex': [{ openedIndex: 9 }],
  'firstIndex <= tailFirst <= lastIndex + 1': [{ tailFirst: 0 }, { tailFirst: 10 }],
  'tailFirst <= max(openedIndex, min(appliedIndex, durableIndex)) + 1': [{ tailFirst: 6 }],
  'term of lastIndex <= current term': [{ lastTerm: 3 }],
  'term runs: first and term both grow': [
    {
      termRuns: [
        [1, 1],
        [1, 2],
      ],
    },
    {
      termRuns: [
        [1, 2],
        [3, 2],
      ],
    },
  ],
  'term runs: none begins after lastIndex': [{ termRuns: [[9, 2]] }],
  'leader: its term and vote are durable': [{ isDurable: false }],
  'leader: lastIndex is of its term': [{ lastTerm: 1 }],
  'matchIndex <= lastIndex': [{ peer: () => peerAt(9, 10) }],
  'matchIndex < nextIndex <= lastIndex + 1': [{ peer: () => peerAt(7, 7) }, { peer: () => peerAt(8, 10) }],
  'probe, snapshot: the window is empty': [
    {
      peer: () => {
        const progress = peerAt(6, 7)
        progress.inflights.add(logIndex(7), 1)
        return progress
      },
    },
  ],
  'replicate, snapshot: nothing is being read from the store': [
    { peer: () => Object.assign(peerAt(6, 7), { mode: 'replicate', fetching: true }) },
  ],
}

test('the page and its executable twin have the same rows', () => {
  const page = readFileSync(join(root, 'docs/log-pointers.md'), 'utf8')
  const tables = [...page.matchAll(/^\| inequality \|.*\n\|---.*\n((?:\|.*\n)+)/gm)].map(([, rows]) => rows ?? '')
  const rows = tables.flatMap((table) =>
    table
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' | ')[0]?.replace(/^\| /, '').replaceAll('`', '')),
  )
  assert.is(tables.length, 2)
  const twin = readFileSync(join(root, 'ts/core/invariants.ts'), 'utf8')
  assert.equal(
    [...twin.matchAll(/\bhold\('([^']+)'/g)].map(([, row]) => row),
    rows,
  )
  assert.equal(Object.keys(broken), rows)
})

test('a healthy server breaks none of them', () => {
  assertInvariants(coreOf(healthy))
})

for (const [row, states] of Object.entries(broken)) {
  test(`is asserted: ${row}`, () => {
    for (const different of states) {
      try {
        assertInvariants(coreOf({ ...healthy, ...different }))
      } catch (error) {
        assert.instance(error, AssertionFailure)
        assert.ok(String(error).includes(`invariant: ${row} (`), String(error))
        continue
      }
      assert.unreachable(`${JSON.stringify(different)} passes`)
    }
  })
}

test('a pointer that would move where it cannot be is asserted at once', () => {
  const bounds = { firstIndex: logIndex(1), lastIndex: logIndex(3), commitIndex: logIndex(2) }
  const start = { ...bounds, prevTerm: termOf(0), snapshot: null, appliedIndex: logIndex(0) }
  const termRuns = [{ first: logIndex(1), term: termOf(1) }]
  const configurations = [{ index: logIndex(1), configuration: votersOnly(['s1']) }]
  const log = new RaftLog({ ...start, termRuns, configurations }, stageBlockMaker)
  log.append(makeBlock(4, 1, [7, 8]))
  assert.throws(() => log.append(makeBlock(7, 1, [9])), /block 7 appended after 5/)
  assert.throws(() => log.commitTo(logIndex(6)), /commit 6 beyond the last entry 5/)
  assert.throws(() => log.durableTo(logIndex(2)), /durable 2 after 3/)
  assert.throws(() => log.durableTo(logIndex(6)), /durable 6 beyond the last entry 5/)
  assert.throws(() => log.appliedTo(logIndex(3)), /applied 3 after 0, committed and durable up to 2/)
  log.commitTo(logIndex(4))
  log.commitTo(logIndex(3))
  assert.is(log.commitIndex, 4, 'an older word than the last is no news')
  assert.throws(() => log.appliedTo(logIndex(4)), /applied 4 after 0, committed and durable up to 3/)
  log.appliedTo(logIndex(3))
  assert.throws(() => log.appliedTo(logIndex(3)), /applied 3 after 3/)
  assert.throws(() => log.truncateSuffix(logIndex(4)), /truncation from 4 would remove settled entry 4/)
  assert.throws(() => log.truncateSuffix(logIndex(6)), /truncation from 6 beyond the last entry 5/)
})

test.run()
