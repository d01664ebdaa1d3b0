/** Commit and replication that went wrong in other engines (scenarios C*). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { INFLIGHT_MESSAGES_MAX } from '#balsa/core/leader/inflights.js'
import { UNCOMMITTED_BYTES_MAX } from '#balsa/core/intake.js'
import type { AppendEntries, AppendEntriesResult, Input } from '#balsa/core/index.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import type { Envelope } from '#balsa/testing/stage/stage-network.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, conflict, endingAt, matched } from '../support/messages.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS

const appendsTo = (peer: string) => (envelope: Envelope) =>
  envelope.to === peer && envelope.message.type === 'AppendEntries' && envelope.message.blocks.length > 0

test('C7 a late completion does not credit entries that were overwritten meanwhile', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [5, 6, 7])]))
  cluster.ask('s3', 's2', appendEntries(3, '1/1', [makeBlock(2, 3, [8, 9, 10])]))
  cluster.answersTo('s1')
  cluster.persist('s2', 1)
  assert.is(cluster.core('s2').log.durableIndex, 1)
  assert.equal(cluster.answersTo('s3'), [], 'nothing of term 3 is durable, not even the term')
  cluster.persist('s2')
  assert.is(cluster.core('s2').log.durableIndex, 4)
  assert.equal(cluster.answersTo('s3'), [endingAt(4, matched(3, 4))])
})

test('C7 of two truncations in one turn the lower one counts, and a completion told in that turn credits nothing above either', () => {
  const linkOf = (cluster: Stage, from: string): number => (cluster.server(from).sessions.get('s2') ?? 0) - 1
  const request = (cluster: Stage, from: string, message: AppendEntries): Input => {
    return { type: 'request', from, link: linkOf(cluster, from), message }
  }
  for (const sameTurn of [false, true]) {
    const cluster = new Stage({ madeUp: true })
    cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [21, 22, 23, 24, 25])]))
    cluster.write('s2')
    const told: Input = { type: 'persisted', ticket: 1 }
    cluster.turn(
      's2',
      request(cluster, 's3', appendEntries(3, '2/2', [makeBlock(3, 3, [31, 32, 33, 34])])),
      request(cluster, 's1', appendEntries(4, '5/3', [makeBlock(6, 4, [41])])),
      ...(sameTurn ? [told] : []),
    )
    if (!sameTurn) cluster.turn('s2', told)
    assert.is(cluster.core('s2').log.lastIndex, 6)
    assert.is(cluster.core('s2').log.durableIndex, 2, sameTurn ? 'told in the same turn' : 'told in the next turn')
  }
})

test('C8 completions reported out of order take nothing back, and the server goes on', () => {
  const cluster = new Stage({ servers: 1 })
  cluster.elect('s1')
  const first = cluster.propose('s1') ?? []
  const second = cluster.propose('s1') ?? []
  const { disk } = cluster.server('s1')
  disk.write()
  cluster.turn('s1', { type: 'persisted', ticket: disk.written })
  assert.is(cluster.core('s1').log.durableIndex, 4)
  cluster.turn('s1', { type: 'persisted', ticket: disk.written - 1 })
  assert.equal([cluster.core('s1').log.durableIndex, cluster.core('s1').tickets.durable], [4, disk.written])
  const third = cluster.propose('s1') ?? []
  cluster.settle()
  const outcomes = [...first, ...second, ...third].map((payload) => cluster.outcomes.get(payload))
  assert.equal(outcomes, ['committed', 'committed', 'committed'])
})

test('C9 a term and the first entry of it are one write', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [5])]))
  const [ticket, another] = cluster.server('s2').disk.pending
  assert.equal(
    ticket?.operations.map(({ type }) => type),
    ['append', 'hardState'],
  )
  assert.is(another, undefined)
  cluster.restart('s2')
  assert.equal([cluster.core('s2').term, cluster.core('s2').log.lastIndex], [1, 1])
})

test('C12 an acknowledgement of an earlier connection is not credited', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.propose('s1')
  const session = cluster.server('s1').sessions.get('s2') ?? 0
  cluster.connect('s1', 's2')
  cluster.turn('s1', { type: 'response', from: 's2', session, message: matched(2, 3) })
  assert.is(cluster.core('s1').matchIndexOf('s2'), 2)
  cluster.answer('s2', 's1', matched(2, 3))
  assert.is(cluster.core('s1').matchIndexOf('s2'), 3)
})

test('a peer that lost what it acknowledged counts for nothing: a leader with it alone yields', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.settle()
  assert.is(cluster.core('s1').matchIndexOf('s3'), 3)
  cluster.crash('s2')
  cluster.connect('s1', 's3')
  cluster.propose('s1')
  cluster.persist('s1')
  const before = cluster.core('s1').log.commitIndex
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  const answer = (message: AppendEntriesResult): void => {
    cluster.drop()
    cluster.turn('s1', { type: 'response', from: 's3', session, message })
  }
  for (const end = cluster.now + 3 * electionTimeoutMs; cluster.now < end;) {
    cluster.tick('s1', cluster.now + heartbeatMs)
    answer(endingAt(1, conflict(2, '1/1')))
  }
  assert.is.not(cluster.core('s1').role, 'leader')
  assert.is(cluster.core('s1').log.commitIndex, before)
  const told = cluster.trace?.filter((line) => line.includes('finds that s3 has lost some of its 3 entries'))
  assert.is(told?.length, 1, 'told once for the session')
})

test('a peer that lost entries is noticed by what it agrees to, by its end, and by an end that is another leader’s', () => {
  const losses = [conflict(2, '1/1'), endingAt(1, matched(2, 3)), endingAt(5, conflict(2, '3/1')), conflict(2, '2/2')]
  for (const loss of losses) {
    const cluster = new Stage({ madeUp: true })
    cluster.elect('s1')
    cluster.propose('s1')
    cluster.settle()
    cluster.connect('s1', 's3')
    cluster.answer('s3', 's1', loss)
    assert.is(lossesOf(cluster), 1, JSON.stringify(loss))
    cluster.connect('s1', 's3')
    cluster.answer('s3', 's1', loss)
    assert.is(lossesOf(cluster), 2, 'told again on the next session')
    cluster.answer('s3', 's1', endingAt(4, matched(2, 3)))
    cluster.connect('s1', 's3')
    cluster.answer('s3', 's1', endingAt(3, conflict(2, '3/2')))
    assert.is(lossesOf(cluster), 2, 'it has got back what it had')
  }
})

test('what a peer acknowledged and lost again is no ground to commit on', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  const { lastIndex, commitIndex } = cluster.core('s1').log
  cluster.propose('s1')
  cluster.answer('s3', 's1', endingAt(lastIndex + 1, matched(2, lastIndex + 1)))
  assert.is(cluster.core('s1').matchIndexOf('s3'), lastIndex + 1)
  cluster.connect('s1', 's3')
  cluster.answer('s3', 's1', endingAt(1, conflict(2, '1/1')))
  cluster.persist('s1')
  assert.is(cluster.core('s1').log.commitIndex, commitIndex)
})

test('late and repeated answers show no loss, neither of this session nor of an earlier one', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.settle()
  cluster.answer('s3', 's1', endingAt(1, conflict(2, '1/1')))
  cluster.answer('s3', 's1', endingAt(1, matched(2, 1)))
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  cluster.connect('s1', 's3')
  const late = endingAt(1, conflict(2, '1/1'))
  cluster.turn('s1', { type: 'response', from: 's3', session, message: late })
  assert.is(lossesOf(cluster), 0)
})

function lossesOf(cluster: Stage): number {
  return cluster.trace?.filter((line) => line.includes('has lost some of its')).length ?? 0
}

test('C12 what is read for an earlier connection, or an earlier term, is not sent', () => {
  const cluster = laggingPeer()
  const [fetch] = cluster.server('s1').fetches
  assert.ok(fetch)
  if (!fetch) return
  const blocks = cluster.server('s1').disk.durable.read(fetch.from, fetch.to, fetch.bytesMax)
  cluster.drop()
  cluster.turn('s1', { type: 'fetched', fetch: { ...fetch, session: fetch.session + 1 }, blocks })
  cluster.turn('s1', { type: 'fetched', fetch: { ...fetch, term: (fetch.term - 1) as never }, blocks })
  assert.is(cluster.drop(appendsTo('s3')).length, 0)
  cluster.turn('s1', { type: 'fetched', fetch, blocks })
  assert.is(cluster.drop(appendsTo('s3')).length, 1)
})

/** s1 wants to read entries for s3, which is connected anew and behind the tail. */
function laggingPeer(): Stage {
  const cluster = new Stage({ tailBytesMax: 0 })
  cluster.elect('s1')
  cluster.isolate('s3')
  for (let count = 0; count < 4; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  cluster.heal()
  cluster.connect('s1', 's3')
  assert.is(cluster.server('s1').fetches.length, 1)
  return cluster
}

test('C16 a failed read makes no hole: nothing is sent, and the same entries are read again later', () => {
  const cluster = laggingPeer()
  const [fetch] = cluster.server('s1').fetches.splice(0)
  assert.ok(fetch)
  if (!fetch) return
  cluster.turn('s1', { type: 'fetchFailed', fetch })
  assert.is(cluster.drop(appendsTo('s3')).length, 0)
  assert.is(cluster.server('s1').fetches.length, 0, 'not at once')
  cluster.timeout('s1')
  assert.is(cluster.server('s1').fetches[0]?.from, fetch.from)
  cluster.settle()
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('C16 blocks that do not begin where they should, or have a hole, are not sent', () => {
  const [fetch] = laggingPeer().server('s1').fetches
  assert.ok(fetch)
  if (!fetch) return
  const good = [makeBlock(3, 2, [1]), makeBlock(4, 2, [2]), makeBlock(5, 2, [3])]
  for (const blocks of [good.slice(1), [...good.slice(0, 1), ...good.slice(2)], []]) {
    const cluster = laggingPeer()
    cluster.drop()
    cluster.turn('s1', { type: 'fetched', fetch, blocks })
    assert.is(cluster.drop(appendsTo('s3')).length, 0, JSON.stringify(blocks.map(({ first }) => first)))
  }
})

test('C22 H2-7 the refusals of a whole window cost one message more, not one each, and replication goes on', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (let count = 0; count <= INFLIGHT_MESSAGES_MAX; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
    if (count === 0) cluster.drop(appendsTo('s3'))
  }
  assert.is(cluster.deliver(appendsTo('s3')), INFLIGHT_MESSAGES_MAX - 1)
  assert.is(
    cluster.deliver(({ from }) => from === 's3'),
    INFLIGHT_MESSAGES_MAX - 1,
  )
  assert.is(cluster.inFlight.filter(appendsTo('s3')).length, 1)
  cluster.settle()
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('C22 the refusals of a whole window make one read of the store, though the entries left memory', () => {
  const cluster = new Stage({ tailBytesMax: 0 })
  cluster.elect('s1')
  for (let count = 0; count <= INFLIGHT_MESSAGES_MAX; count += 1) {
    cluster.propose('s1')
    if (count === 0) cluster.drop(appendsTo('s3'))
    cluster.deliver(({ from, to }) => from !== 's3' && to !== 's3')
    for (const id of ['s1', 's2']) cluster.persist(id)
    cluster.deliver(({ to }) => to === 's1')
    cluster.apply('s1')
    cluster.apply('s1')
  }
  cluster.deliver(appendsTo('s3'))
  cluster.deliver(({ from }) => from === 's3')
  assert.is(cluster.server('s1').fetches.length, 1)
  cluster.settle()
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('C17 what a leader has in memory of entries that were replaced is never sent', () => {
  for (const tailBytesMax of [0, 1 << 20]) {
    const cluster = new Stage({ servers: 5, tailBytesMax })
    cluster.elect('s1')
    cluster.isolate('s1')
    cluster.isolate('s5')
    cluster.propose('s1', 2, 4096)
    cluster.propose('s1')
    cluster.persist('s1')
    cluster.elect('s2')
    cluster.propose('s2')
    cluster.settle()
    cluster.heal()
    cluster.isolate('s5')
    cluster.run(2 * SETTINGS.electionTimeoutMs)
    assert.is(cluster.core('s1').role, 'follower')
    cluster.elect('s1')
    cluster.heal()
    cluster.run(4 * SETTINGS.electionTimeoutMs)
    assert.equal(
      cluster.server('s5').disk.durable.entries,
      cluster.server('s1').disk.durable.entries,
      `${tailBytesMax} bytes`,
    )
    assert.is(cluster.core('s5').log.lastIndex, 5)
  }
})

test('C19 uncommitted bytes are counted from the log, so that a deposed leader takes proposals when it leads again', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s1')
  assert.ok(cluster.propose('s1', 1, UNCOMMITTED_BYTES_MAX + 1))
  cluster.persist('s1')
  assert.is(cluster.core('s1').admit(1).status, 'wait')
  cluster.elect('s2')
  cluster.heal()
  cluster.run(4 * SETTINGS.electionTimeoutMs)
  assert.is(cluster.core('s1').role, 'follower')
  cluster.elect('s1')
  cluster.persist('s1')
  assert.is(cluster.core('s1').admit(1).status, 'accept')
  const { log } = cluster.core('s1')
  assert.is(log.bytesAbove(log.commitIndex), 0)
})

test('C19 what is left uncommitted by an earlier start is not at hand to be counted: nothing is put behind it', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s1')
  assert.ok(cluster.propose('s1', 1, UNCOMMITTED_BYTES_MAX + 1))
  cluster.persist('s1')
  cluster.heal()
  cluster.restart('s1')
  cluster.timeout('s1')
  for (let round = 0; round < 10 && cluster.core('s1').role !== 'leader'; round += 1) {
    for (const id of cluster.ids) cluster.persist(id)
    cluster.deliver()
  }
  cluster.persist('s1')
  assert.is(cluster.core('s1').role, 'leader')
  assert.is(cluster.core('s1').admit(1).status, 'wait')
  cluster.settle()
  assert.is(cluster.core('s1').log.commitIndex, 4)
  assert.is(cluster.core('s1').admit(1).status, 'accept')
})

test('C20 a proposal whose entry was replaced is not taken for the entry that is committed in its place', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.isolate('s1')
  const [lost] = cluster.propose('s1') ?? []
  cluster.persist('s1')
  cluster.elect('s2')
  cluster.propose('s2')
  cluster.settle()
  cluster.heal()
  assert.is(cluster.core('s1').role, 'leader', 'it has not noticed yet')
  cluster.run(2 * SETTINGS.electionTimeoutMs)
  assert.ok(cluster.server('s1').machine.applied.length >= 3)
  assert.is(cluster.outcomes.get(lost ?? 0), 'unknown')
})

test.run()
