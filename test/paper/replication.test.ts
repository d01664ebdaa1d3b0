/** Section 5.3: log replication. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { accepting, appendEntries, conflict, endingAt, matched } from '../support/messages.js'
import type { EntryId } from '../support/messages.js'

const termsOf = (cluster: Stage, id: string): readonly number[] =>
  cluster.server(id).disk.accepted.entries.map(({ term }) => term)

test('a leader sends to all at once, commits at a majority, applies, and tells the others with what it sends next (5.3)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const payloads = cluster.propose('s1', 2) ?? []
  assert.equal(
    cluster.inFlight.map(({ to }) => to),
    ['s2', 's3'],
  )
  cluster.isolate('s3')
  cluster.persist('s1')
  assert.is(cluster.core('s1').log.commitIndex, 2, 'one of three is not a majority')
  cluster.settle()
  assert.is(cluster.core('s1').log.commitIndex, 4)
  assert.equal(
    payloads.map((payload) => cluster.outcomes.get(payload)),
    ['committed', 'committed'],
  )
  assert.is(cluster.core('s2').log.commitIndex, 2)
  cluster.run(2 * SETTINGS.heartbeatMs)
  assert.is(cluster.core('s2').log.commitIndex, 4)
  assert.equal(cluster.server('s2').machine.applied, cluster.server('s1').machine.applied)
})

test('a follower takes entries only after the entry before them, of the same term (5.3)', () => {
  const log = [1, 1, 2, 2]
  const refused: readonly EntryId[] = ['5/2', '4/3', '3/1', '2/2', '9/3', '0/1']
  for (const prev of refused) {
    const cluster = new Stage({ madeUp: true, logs: { s2: log } })
    const next = Number(prev.split('/')[0]) + 1
    const [answer] = cluster.ask('s1', 's2', appendEntries(3, prev, [makeBlock(next, 3, [7])]))
    assert.is(answer, undefined, 'term 3 is not durable yet')
    cluster.persist('s2')
    const [late] = cluster.answersTo('s1')
    assert.is(late?.type === 'AppendEntriesResult' && late.status, 'conflict', prev)
    assert.equal(termsOf(cluster, 's2'), log, prev)
  }
  for (const prev of ['0/0', '1/1', '2/1', '3/2', '4/2'] satisfies EntryId[]) {
    const cluster = new Stage({ madeUp: true, logs: { s2: log } })
    cluster.ask('s1', 's2', appendEntries(3, prev, []))
    cluster.persist('s2')
    assert.equal(cluster.answersTo('s1'), [endingAt(4, matched(3, Number(prev.split('/')[0])))], prev)
  }
})

/**
 * Figure 7: the leader of term 8, and followers that miss entries, have too many, or both. Entry 1 is the bootstrap.
 */
const FIGURE_7 = {
  s1: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
  a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
  b: [1, 1, 1, 4],
  c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
  d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
  e: [1, 1, 1, 4, 4, 4, 4],
  f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}

test('a leader brings every follower of figure 7 in line with its own log (5.3)', () => {
  for (const [name, log] of Object.entries(FIGURE_7)) {
    if (name === 's1') continue
    // The third voter has the leader's log, so that it can win in term 8.
    const logs = { s1: FIGURE_7.s1, s2: log, s3: FIGURE_7.s1 }
    const term = { term: 7 as never }
    const cluster = new Stage({ logs, hardStates: { s1: term, s2: term, s3: term } })
    cluster.elect('s1')
    assert.equal(termsOf(cluster, 's1'), [...FIGURE_7.s1, 8], name)
    assert.equal(termsOf(cluster, 's2'), [...FIGURE_7.s1, 8], name)
    cluster.run(2 * SETTINGS.heartbeatMs)
    assert.equal(cluster.server('s2').machine.applied, cluster.server('s1').machine.applied, name)
  }
})

test('a conflict costs one round trip per term that differs, not one per entry (5.3, C21, H1-8)', () => {
  const common = Array.from({ length: 50 }, () => 1)
  const entries = (term: number, count: number): readonly number[] => Array.from({ length: count }, () => term)
  const s2 = [...common, ...entries(2, 200), ...entries(4, 200)]
  const s1 = [...common, ...entries(3, 300), ...entries(5, 5)]
  const cluster = new Stage({ logs: { s1, s2, s3: s1 } })
  cluster.elect('s1')
  assert.equal(termsOf(cluster, 's2'), termsOf(cluster, 's1'))
  const refusals = cluster.trace?.filter((line) => line.startsWith('s2 sends') && line.includes('conflict')) ?? []
  assert.ok(refusals.length <= 3, refusals.join('\n'))
})

test('entries that agree stay, whatever order messages come in (5.3, C10)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 2, 2, 2, 2] } })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [-1002])]))
  cluster.ask('s1', 's2', appendEntries(2, '2/2', []))
  cluster.ask('s1', 's2', appendEntries(2, '0/0', [makeBlock(1, 1, [0])]))
  assert.equal(termsOf(cluster, 's2'), [1, 2, 2, 2, 2])
  assert.equal(cluster.server('s2').disk.pending, [], 'nothing is written for it either')
})

test('of a block that is here in part the rest is appended, and a block that is not here stays as it came (5.3)', () => {
  for (const held of [1, 2, 3]) {
    const log = [1, 2, 2, 2].slice(0, held + 1)
    const cluster = new Stage({ madeUp: true, logs: { s2: log } })
    const [first, second] = [makeBlock(2, 2, [-1002, -2002, -3002, 24]), makeBlock(6, 2, [25])]
    cluster.ask('s1', 's2', appendEntries(2, '1/1', [first, second]))
    assert.equal(termsOf(cluster, 's2'), [1, 2, 2, 2, 2, 2])
    const blocks = (cluster.server('s2').disk.pending[0]?.operations ?? []).flatMap((operation) =>
      operation.type === 'append' ? [operation.block] : [],
    )
    assert.equal([blocks[0]?.first, blocks[0]?.last], [held + 2, 5])
    assert.is(blocks[1], second)
  }
})

test('a conflict inside a block removes from the first entry that differs, and no other (5.3)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 2, 2, 3, 3] } })
  cluster.ask('s1', 's2', appendEntries(4, '1/1', [makeBlock(2, 2, [21, 22, 23]), makeBlock(5, 4, [24])]))
  const [ticket] = cluster.server('s2').disk.pending
  assert.equal(
    ticket?.operations.map((operation) => (operation.type === 'truncateSuffix' ? operation.from : operation.type)),
    [4, 'append', 'append', 'hardState'],
  )
  assert.equal(termsOf(cluster, 's2'), [1, 2, 2, 2, 4])
  assert.is(cluster.server('s2').disk.accepted.entries[3]?.payload, 23)
})

test('a conflict inside a block that is still in memory leaves the part of it that agrees, to be written and applied (5.3)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [21, 22, 23])]))
  cluster.ask('s3', 's2', appendEntries(3, '2/2', [makeBlock(3, 2, [22]), makeBlock(4, 3, [31])]))
  assert.equal(termsOf(cluster, 's2'), [1, 2, 2, 3])
  cluster.persist('s2')
  cluster.ask('s3', 's2', appendEntries(3, '4/3', [], 4))
  cluster.apply('s2')
  cluster.apply('s2')
  assert.equal(
    cluster.server('s2').machine.applied.map(({ payload }) => payload),
    [0, 21, 22, 31],
  )
})

test('a leader never overwrites or removes its own entries, whatever peers answer (5.3)', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.propose('s1', 3)
  const before = termsOf(cluster, 's1')
  for (const hint of [0, 1, 2, 5, 99]) {
    cluster.answer('s2', 's1', conflict(2, `${hint}/0`))
    cluster.answer('s3', 's1', { ...matched(2, 0), status: 'busy' })
  }
  cluster.persist('s1')
  cluster.run(SETTINGS.electionTimeoutMs)
  assert.equal(termsOf(cluster, 's1').slice(0, before.length), before)
  assert.is(
    cluster.trace?.some((line) => line.startsWith('s1 ticket') && line.includes('truncate')),
    false,
  )
})

test('a follower commits no further than the entries that this message proves, however long its log is (5.3, C3)', () => {
  const logs = { s2: [1, 1, 1, 2, 2, 2, 2, 2, 2, 2] }
  const empty = new Stage({ madeUp: true, logs })
  empty.ask('s1', 's2', appendEntries(3, '5/2', [], 8))
  assert.is(empty.core('s2').log.commitIndex, 5, 'H2-3: a heartbeat proves its previous entry')
  const blocks = new Stage({ madeUp: true, logs })
  blocks.ask('s1', 's2', appendEntries(3, '5/2', [makeBlock(6, 2, [-5002])], 8))
  assert.is(blocks.core('s2').log.commitIndex, 6)
})

test('a hint about where logs may agree is never taken for a match (5.3, C4)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s1: [1, 1, 1, 1] } })
  cluster.timeout('s1')
  cluster.deliver()
  cluster.deliver()
  cluster.persist('s1')
  cluster.deliver(({ message, to }) => message.type === 'RequestVote' && to === 's2')
  cluster.persist('s2')
  cluster.deliver(({ message }) => message.type === 'RequestVoteResult')
  cluster.persist('s1')
  assert.is(cluster.core('s1').role, 'leader')
  cluster.answer('s2', 's1', conflict(2, '5/2'))
  assert.is(cluster.core('s1').matchIndexOf('s2'), 0)
  assert.is(cluster.core('s1').log.commitIndex, 0)
})

test('a follower acknowledges no entry before it is durable, also when the message is repeated or empty (5.3, C6)', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 2] } })
  const append = appendEntries(2, '2/2', [makeBlock(3, 2, [5, 6])])
  assert.equal(cluster.ask('s1', 's2', append), [accepting(4, endingAt(4, matched(2, 2)))])
  assert.equal(cluster.ask('s1', 's2', append), [])
  assert.equal(cluster.ask('s1', 's2', appendEntries(2, '4/2', [])), [accepting(4, endingAt(4, matched(2, 2)))])
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s1'), [endingAt(4, matched(2, 4))])
})

test.run()
