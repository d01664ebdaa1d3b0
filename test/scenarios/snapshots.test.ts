/** Snapshots and compaction that went wrong in other engines (scenarios N*, C14, C15, M13, M14, H*), on cores alone. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AppendEntries, AppendEntriesResult } from '#balsa/core/index.js'
import type { ServerId } from '#balsa/types.js'
import { logIndex } from '#balsa/types.js'
import type { Observer } from '#balsa/testing/observer.js'
import { SETTINGS, Stage, votersOnly } from '#balsa/testing/stage/stage.js'
import type { Envelope } from '#balsa/testing/stage/stage-network.js'
import { earlierEntry, makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, conflict, endingAt, matched, preVoteResult, snapshotAt, vote } from '../support/messages.js'

const { electionTimeoutMs, heartbeatMs } = SETTINGS

/** A cluster led by s1 in which everybody has applied so many commands. */
function led(commands: number, options: { readonly servers?: number; readonly tailBytesMax?: number } = {}): Stage {
  const cluster = new Stage(options)
  cluster.elect('s1')
  for (let count = 0; count < commands; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  cluster.run(2 * heartbeatMs)
  return cluster
}

const bounds = (cluster: Stage, id: ServerId): readonly number[] => {
  const { firstIndex, appliedIndex, lastIndex } = cluster.core(id).log
  return [firstIndex, appliedIndex, lastIndex]
}

/** Lets one server lose everything that it is sent until it is needed. */
function lagging(cluster: Stage, id: ServerId, commands: number): void {
  cluster.isolate(id)
  for (let count = 0; count < commands; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
}

test('a log is compacted behind a snapshot, keeps its trailing entries, and a restart begins with the snapshot', () => {
  const cluster = led(6)
  const { index } = cluster.snapshot('s1', 3)
  cluster.settle()
  assert.equal(bounds(cluster, 's1'), [index - 2, index, index])
  assert.equal(cluster.server('s1').disk.durable.firstIndex, index - 2)
  cluster.restart('s1')
  assert.equal(bounds(cluster, 's1'), [index - 2, 0, index])
  cluster.settle()
  assert.is(cluster.server('s1').restoring, null)
  assert.equal(bounds(cluster, 's1'), [index - 2, index, index])
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.settle()
  assert.is(cluster.core('s1').log.appliedIndex, index + 2)
})

test('H1-23 a log that is shorter than what trails loses nothing, and one that keeps nothing starts again', () => {
  for (const trailing of [1000, 5, 4, 0]) {
    const cluster = led(3)
    const { index } = cluster.snapshot('s1', trailing)
    cluster.settle()
    assert.is(index, 5)
    // One entry is always kept (scenario C15).
    const first = Math.max(1, index + 1 - Math.max(trailing, 1))
    assert.equal(bounds(cluster, 's1'), [first, index, index], `${trailing} trail`)
    assert.is(cluster.server('s1').disk.durable.firstIndex, first)
    cluster.restart('s1')
    cluster.settle()
    assert.equal(bounds(cluster, 's1'), [first, index, index], `${trailing} trailed before the start`)
    cluster.elect('s1')
    cluster.propose('s1')
    cluster.settle()
    cluster.snapshot('s1', 1000)
    cluster.settle()
    assert.equal(bounds(cluster, 's1'), [first, index + 2, index + 2], 'what is gone does not come again')
  }
})

test('C14 a peer that lacks entries which are no longer kept is given the snapshot, and then what follows it', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  const { index } = cluster.snapshot('s1', 1)
  cluster.propose('s1')
  cluster.settle()
  assert.is(cluster.core('s1').log.firstIndex, index)
  cluster.heal()
  cluster.run(4 * heartbeatMs)
  assert.equal(bounds(cluster, 's3'), [index + 1, index + 1, index + 1])
  assert.is(cluster.core('s1').peers.get('s3')?.mode, 'replicate')
  assert.is(cluster.core('s1').counters.snapshotsSent, 0)
})

test('C14 while a peer is given a snapshot it gets heartbeats and no entries, and its term is never guessed', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  cluster.snapshot('s1', 1)
  cluster.settle()
  cluster.heal()
  const sent: AppendEntries[] = []
  cluster.watch({
    sent: (_server, to, message) => {
      if (to === 's3' && message.type === 'AppendEntries') sent.push(message)
    },
  })
  for (let count = 0; count < 6; count += 1) {
    cluster.pass(heartbeatMs)
    cluster.deliver()
    cluster.persist('s3')
  }
  assert.is(cluster.core('s1').peers.get('s3')?.mode, 'snapshot')
  const later = sent.slice(-2)
  assert.equal(
    later.map(({ prevIndex, prevTerm, blocks }) => [prevIndex, prevTerm, blocks.length]),
    later.map(() => [0, 0, 0]),
  )
  assert.is(cluster.core('s3').role, 'follower')
})

test('C15 a leader whose log was compacted to its end finds out how far a peer agrees', () => {
  const cluster = led(4)
  const { index } = cluster.snapshot('s1', 0)
  cluster.settle()
  assert.equal(bounds(cluster, 's1'), [index, index, index], 'one entry is kept, to ask by')
  cluster.restart('s2')
  cluster.run(3 * heartbeatMs)
  assert.is(cluster.core('s1').peers.get('s2')?.matchIndex, index)
  assert.is(cluster.server('s2').boot, 2)
  assert.is(cluster.core('s2').log.snapshot, null, 'and no snapshot was sent for it')
})

test('N1 a follower with another entry where the snapshot ends throws its log away', () => {
  const cluster = new Stage({
    madeUp: true,
    logs: { s1: [1, 3, 3, 3], s2: [1, 2, 2, 2, 2, 2], s3: [1] },
  })
  cluster.server('s2').receiveSnapshot({ meta: snapshotAt(4, 3), applied: [] })
  assert.equal(bounds(cluster, 's2'), [5, 0, 4])
  assert.is(cluster.core('s2').log.durableIndex, 0, 'nothing counts before the switch is durable')
  cluster.persist('s2')
  assert.is(cluster.core('s2').log.durableIndex, 4)
  cluster.ask('s1', 's2', appendEntries(3, '4/3', [makeBlock(5, 3, [9])], 4))
  assert.is(cluster.core('s2').log.lastIndex, 5)
})

test('N1 H2-9 a tail that conflicts with a snapshot is thrown away by one install, and entries follow at once', () => {
  const cluster = led(3)
  cluster.isolate('s1')
  for (let count = 0; count < 4; count += 1) cluster.propose('s1')
  cluster.persist('s1')
  const conflicting = cluster.core('s1').log.lastIndex
  cluster.run(2 * electionTimeoutMs)
  const leader = cluster.leader?.id ?? ''
  assert.is.not(leader, 's1')
  while (cluster.core(leader).log.commitIndex < conflicting) {
    cluster.propose(leader)
    cluster.settle()
  }
  // It ends where the other log has another entry.
  const { index } = cluster.snapshot(leader, 1)
  assert.is(index, conflicting)
  const installed: number[] = []
  const refused: number[] = []
  cluster.watch({
    restored: (server, meta) => void (server.id === 's1' && installed.push(meta.index)),
    sent: (server, _to, message) => {
      const isRefusal = message.type === 'AppendEntriesResult' && message.status === 'conflict'
      if (server.id === 's1' && isRefusal) refused.push(message.hintIndex)
    },
  })
  cluster.heal()
  cluster.run(4 * heartbeatMs)
  assert.equal(installed, [index])
  const before = refused.length
  cluster.propose(leader)
  cluster.run(4 * heartbeatMs)
  assert.equal(bounds(cluster, 's1'), [index + 1, index + 1, index + 1])
  assert.equal([installed.length, refused.length], [1, before], 'nothing is refused behind it')
})

test('N2 a follower with the same entry where the snapshot ends keeps what follows it', () => {
  const cluster = new Stage({ madeUp: true, logs: { s1: [1, 2], s2: [1, 2, 2, 2, 2, 2], s3: [1] } })
  cluster.server('s2').receiveSnapshot({ meta: snapshotAt(4, 2), applied: [] })
  cluster.persist('s2')
  assert.equal(bounds(cluster, 's2'), [5, 0, 6])
  assert.equal(
    cluster.server('s2').disk.durable.entries.map(({ term }) => term),
    [2, 2],
  )
})

test('N2 H2-4 a snapshot that covers no more than is committed is ignored, whatever its place in the log', () => {
  const cluster = led(5)
  const before = bounds(cluster, 's2')
  const { writes } = cluster.server('s2').disk
  for (const index of [2, cluster.core('s2').log.commitIndex]) {
    cluster.turn('s2', { type: 'snapshotReceived', snapshot: snapshotAt(index, 2) })
  }
  cluster.settle()
  assert.equal(bounds(cluster, 's2'), before)
  assert.is(cluster.server('s2').disk.writes, writes)
  assert.is(cluster.server('s2').restoring, null)
})

test('N3 the state machine is restored only when the switch is durable, and a crash before it leaves the old log', () => {
  for (const isWritten of [false, true]) {
    const cluster = led(3)
    lagging(cluster, 's3', 5)
    const { index } = cluster.snapshot('s1', 1)
    cluster.settle()
    cluster.heal()
    const before = bounds(cluster, 's3')
    cluster.stalledDisks.add('s3')
    cluster.run(4 * heartbeatMs)
    assert.is(cluster.core('s3').log.snapshot?.index, index)
    assert.is(cluster.server('s3').restoring, null, 'not before it is durable')
    if (isWritten) cluster.write('s3')
    cluster.stalledDisks.clear()
    cluster.restart('s3')
    assert.is(cluster.core('s3').log.lastIndex, isWritten ? index : (before[2] ?? 0))
    cluster.run(6 * heartbeatMs)
    assert.is(cluster.core('s3').log.appliedIndex, cluster.core('s1').log.commitIndex)
  }
})

test('N3 nor before that where the log has what the snapshot covers already', () => {
  const cluster = new Stage({ madeUp: true, logs: { s1: [1, 2], s2: [1, 2, 2, 2, 2, 2], s3: [1] } })
  const server = cluster.server('s2')
  cluster.stalledDisks.add('s2')
  server.receiveSnapshot({ meta: snapshotAt(4, 2), applied: [] })
  assert.equal([server.core?.log.snapshot?.index, server.core?.log.durableIndex], [4, 6])
  assert.is(server.restoring, null, 'not before it is durable')
  cluster.stalledDisks.clear()
  cluster.settle()
  assert.is(server.core?.log.appliedIndex, 4)
})

test('N7 a peer that has all by a snapshot is known to, though nothing follows that could be sent', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  const { index } = cluster.snapshot('s1', 1)
  cluster.settle()
  assert.is(cluster.core('s1').log.lastIndex, index)
  cluster.heal()
  cluster.run(8 * heartbeatMs)
  assert.is(cluster.core('s3').log.appliedIndex, index)
  assert.is(cluster.core('s1').matchIndexOf('s3'), index)
})

test('N7 a refusal of what was sent before a snapshot, which comes after it, has nothing sent again', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  const { index } = cluster.snapshot('s1', 1)
  cluster.settle()
  cluster.heal()
  const progress = () => cluster.core('s1').peers.get('s3')
  for (let count = 0; count < 20 && progress()?.mode !== 'snapshot'; count += 1) {
    cluster.pass(heartbeatMs)
    cluster.deliver()
    cluster.persist('s3')
  }
  const { term } = cluster.core('s1')
  const round = progress()?.ackedRound
  cluster.turn('s1', { type: 'snapshotSent', peer: 's3', index })
  cluster.pass(heartbeatMs)
  cluster.propose('s1')
  const asked = progress()
  assert.equal([asked?.mode, asked?.nextIndex, asked?.isAsking], ['probe', index + 1, true])
  const late = endingAt(5, conflict(term, '5/2', round))
  cluster.step('s1', { type: 'response', from: 's3', session: progress()?.session ?? 0, message: late })
  assert.equal([progress()?.mode, progress()?.nextIndex], ['probe', index + 1])
})

test('N6 a leader that takes newer snapshots goes on with the one that it was giving', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  const first = cluster.snapshot('s1', 1)
  cluster.settle()
  cluster.heal()
  const { sends } = cluster.server('s1')
  for (let count = 0; count < 20 && sends.length === 0; count += 1) {
    cluster.pass(heartbeatMs)
    cluster.deliver()
    cluster.persist('s3')
  }
  assert.is(sends[0]?.snapshot.id, first.id)
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    for (const id of ['s1', 's2']) cluster.persist(id)
    cluster.deliver()
    cluster.persist('s2')
    cluster.deliver()
    cluster.apply('s1')
    cluster.snapshot('s1', 1)
  }
  assert.is(cluster.core('s1').log.firstIndex, first.index + 1, 'N8 and the log is kept from there on')
  cluster.disconnect('s1', 's3')
  cluster.turn('s1', { type: 'snapshotFailed', peer: 's3', isGone: false })
  cluster.server('s1').sends = []
  cluster.connect('s1', 's3')
  for (let count = 0; count < 20 && cluster.server('s1').sends.length === 0; count += 1) {
    cluster.pass(heartbeatMs)
    cluster.deliver()
    cluster.persist('s3')
  }
  assert.is(cluster.server('s1').sends[0]?.snapshot.id, first.id, 'also on another connection')
  cluster.server('s1').sends = []
  cluster.turn('s1', { type: 'snapshotFailed', peer: 's3', isGone: true })
  cluster.pass(heartbeatMs)
  const newest = cluster.core('s1').log.snapshot
  assert.is.not(newest?.id, first.id)
  assert.is(cluster.server('s1').sends[0]?.snapshot.id, newest?.id, 'but for one that is not there any more')
  cluster.run(4 * heartbeatMs)
  assert.is(cluster.core('s3').log.appliedIndex, cluster.core('s1').log.commitIndex)
})

test('N15 a snapshot that covers no more takes the place of the one on which the log stands, and peers are given it', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  const { id, index } = cluster.snapshot('s1', 1)
  cluster.settle()
  cluster.restart('s1')
  cluster.settle()
  const { disk } = cluster.server('s1')
  // What is known to be damaged is given to nobody.
  disk.snapshots.delete(id)
  const again = cluster.snapshot('s1', 1000)
  assert.is(again.index, index)
  assert.is(disk.durable.snapshot?.id, id, 'not before it is durable')
  cluster.settle()
  assert.is.not(again.id, id)
  assert.equal([cluster.core('s1').log.snapshot, disk.durable.snapshot], [again, again])
  assert.equal(bounds(cluster, 's1'), [index, index, index])
  // Nothing more can be committed before the third server has it.
  cluster.heal()
  cluster.isolate('s2')
  cluster.elect('s1')
  cluster.run(4 * heartbeatMs)
  assert.equal([bounds(cluster, 's1')[1], bounds(cluster, 's3')[1]], [index + 1, index + 1])
  cluster.restart('s1')
  cluster.settle()
  assert.is(cluster.core('s1').log.appliedIndex, index, 'restored from it')
})

test('N8 what a peer that is heard still lacks is kept, down to a bound; one that is not heard holds nothing', () => {
  const cluster = led(3)
  const isForS3 = ({ to, message }: Envelope): boolean =>
    to === 's3' && message.type === 'AppendEntries' && message.blocks.length > 0
  for (let count = 0; count < 6; count += 1) {
    cluster.propose('s1')
    cluster.drop(isForS3)
    cluster.settle()
  }
  const { appliedIndex } = cluster.core('s1').log
  const match = cluster.core('s1').matchIndexOf('s3')
  assert.ok(match < appliedIndex - 3)
  const taken = (firstLeast: number): void => {
    const snapshot = {
      ...snapshotAt(appliedIndex, 2),
      id: `${firstLeast}`,
      index: logIndex(appliedIndex - 2 + taken.count),
    }
    taken.count += 1
    cluster.turn('s1', { type: 'snapshotTaken', snapshot, first: snapshot.index, firstLeast: logIndex(firstLeast) })
  }
  taken.count = 0
  taken(1)
  assert.is(cluster.core('s1').log.firstIndex, match + 1)
  taken(match + 3)
  assert.is(cluster.core('s1').log.firstIndex, match + 3, 'no more than the bound says')
  cluster.isolate('s3')
  cluster.now += 2 * electionTimeoutMs
  taken(1)
  assert.is(cluster.core('s1').log.firstIndex, appliedIndex, 'and nothing for one that is away')
})

test('N9 a snapshot that comes while a range is being applied waits for its end', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 2)
  cluster.snapshot('s1', 1)
  cluster.heal()
  cluster.settle()
  const other = led(3)
  other.propose('s1')
  for (let round = 0; round < 10 && other.server('s3').applying === null; round += 1) {
    other.deliver()
    for (const id of other.ids) other.persist(id)
    other.apply('s1')
    other.pass(heartbeatMs)
  }
  const { appliedIndex, firstIndex } = other.core('s3').log
  assert.ok(other.server('s3').applying !== null)
  const meta = snapshotAt(50, 2)
  other.turn('s3', { type: 'snapshotReceived', snapshot: meta })
  assert.equal([other.core('s3').log.firstIndex, other.core('s3').log.appliedIndex], [firstIndex, appliedIndex])
})

/** What the state machine of a server is given, in order: `first-last` of ranges, and snapshots. */
function given(id: ServerId, lines: string[]): Observer {
  let applied = 0
  return {
    applied: (server, _commands, last) => {
      if (server.id !== id) return
      lines.push(`applies ${applied + 1}-${last}`)
      applied = last
    },
    restored: (server, { index }) => {
      if (server.id !== id) return
      lines.push(`restores ${index}`)
      applied = index
    },
  }
}

test('N9 H1-20 a state machine is given a range, a snapshot and the range behind it, in the order of the log', () => {
  const cluster = led(3)
  const lines: string[] = []
  cluster.watch(given('s3', lines))
  // Handed to the state machine, and not answered.
  cluster.propose('s1')
  for (let round = 0; round < 10 && cluster.server('s3').applying === null; round += 1) {
    cluster.deliver()
    for (const id of cluster.ids) cluster.persist(id)
    cluster.pass(heartbeatMs)
  }
  assert.is(cluster.server('s3').applying?.last, 6)
  const busy = (): void => {
    for (let round = 0; round < 6; round += 1) {
      cluster.deliver()
      for (const id of cluster.ids) cluster.persist(id)
      for (const id of ['s1', 's2']) cluster.apply(id)
      cluster.pass(heartbeatMs / 2)
    }
  }
  cluster.cut('s1', 's3')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    busy()
  }
  const { index } = cluster.snapshot('s1', 1)
  cluster.propose('s1')
  cluster.heal()
  for (let round = 0; round < 4; round += 1) {
    busy()
    cluster.serveSnapshots('s1')
  }
  assert.equal(lines, [], 'it is still busy with the first')
  assert.is(cluster.server('s3').restoring, null)
  cluster.settle()
  cluster.run(4 * heartbeatMs)
  const { lastIndex } = cluster.core('s1').log
  assert.is(lastIndex, index + 1)
  assert.equal(lines, ['applies 1-6', `restores ${index}`, `applies ${lastIndex}-${lastIndex}`])
})

test('N10 nothing is applied before the state machine has what it is restored from', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  cluster.snapshot('s1', 1)
  cluster.settle()
  cluster.heal()
  for (let count = 0; count < 30 && cluster.server('s3').restoring === null; count += 1) {
    cluster.pass(heartbeatMs)
    cluster.deliver()
    for (const id of cluster.ids) cluster.persist(id)
    cluster.serveSnapshots('s1')
  }
  assert.ok(cluster.server('s3').restoring !== null)
  cluster.propose('s1')
  for (let count = 0; count < 6; count += 1) {
    cluster.deliver()
    for (const id of cluster.ids) cluster.persist(id)
    cluster.pass(heartbeatMs)
  }
  const { commitIndex, appliedIndex, snapshot } = cluster.core('s3').log
  assert.ok(commitIndex > (snapshot?.index ?? 0), 'it takes entries and acknowledges them meanwhile')
  assert.ok(appliedIndex < (snapshot?.index ?? 0))
  assert.is(cluster.server('s3').applying, null)
  cluster.settle()
  assert.is(cluster.core('s3').log.appliedIndex, cluster.core('s1').log.commitIndex)
})

test('M14 a snapshot that replaces the log brings its configuration, and the ones of the entries that go are forgotten', () => {
  const cluster = new Stage({ madeUp: true, logs: { s2: [1, 2] } })
  const four = votersOnly(['s1', 's2', 's3', 's4'])
  const three = votersOnly(['s1', 's2', 's3'])
  const block = { ...makeBlock(3, 2, [7]), configuration: four }
  cluster.ask('s1', 's2', appendEntries(2, '2/2', [block]))
  cluster.persist('s2')
  assert.is(cluster.core('s2').configuration.voters.length, 4)
  cluster.turn('s2', { type: 'snapshotReceived', snapshot: snapshotAt(5, 3, three) })
  assert.is(cluster.core('s2').configuration.voters.length, 3)
  cluster.persist('s2')
  cluster.restart('s2')
  assert.is(cluster.core('s2').configuration.voters.length, 3)
})

test('M13 the configuration of a snapshot is what a truncated one behind it gives way to, also after a restart', () => {
  const four = votersOnly(['s1', 's2', 's3', 's4'])
  const five = votersOnly(['s1', 's2', 's3', 's4', 's5'])
  for (const origin of ['received', 'its own'] as const) {
    for (const restarts of [false, true]) {
      const logs = { s2: [1, 2, 2, 2, 2] }
      const cluster = new Stage({ madeUp: true, logs, hardStates: { s2: { commitIndex: logIndex(3) } } })
      const inForce = (): number => cluster.core('s2').configuration.voters.length
      cluster.settle()
      if (origin === 'received') {
        cluster.server('s2').receiveSnapshot({ meta: snapshotAt(6, 2, four), applied: [] })
      } else {
        cluster.ask('s1', 's2', appendEntries(2, '5/2', [{ ...makeBlock(6, 2, [6]), configuration: four }], 6))
        cluster.settle()
        cluster.snapshot('s2', 1)
      }
      cluster.persist('s2')
      cluster.drop()
      assert.is(cluster.core('s2').log.snapshot?.index, 6)
      cluster.ask('s1', 's2', appendEntries(2, '6/2', [{ ...makeBlock(7, 2, [7]), configuration: five }]))
      cluster.persist('s2')
      if (restarts) cluster.restart('s2')
      assert.is(inForce(), 5)
      cluster.ask('s3', 's2', appendEntries(3, '6/2', [makeBlock(7, 3, [8])]))
      assert.is(inForce(), 4, 'that of the snapshot, and no older one')
      cluster.persist('s2')
      cluster.restart('s2')
      assert.is(inForce(), 4)
    }
  }
})

/** s2, whose log ends with entry 3 of term 2, asks for votes of term 3. */
function candidate(): Stage {
  const logs = { s1: [1, 2, 2], s2: [1, 2, 2], s3: [1, 2, 2] }
  const cluster = new Stage({ madeUp: true, logs, hardStates: { s2: { commitIndex: logIndex(3) } } })
  cluster.settle()
  cluster.timeout('s2')
  cluster.answer('s3', 's2', preVoteResult(2, true))
  cluster.persist('s2')
  cluster.drop()
  assert.equal([cluster.core('s2').role, cluster.core('s2').term, cluster.core('s2').votedFor], ['candidate', 3, 's2'])
  return cluster
}

test('H2-14 a snapshot that ends in the term of a candidate, or in a later one, ends the candidacy', () => {
  for (const term of [3, 4]) {
    const cluster = candidate()
    cluster.server('s2').receiveSnapshot({ meta: snapshotAt(9, term), applied: [] })
    assert.equal([cluster.core('s2').role, cluster.core('s2').term], ['follower', term])
    assert.is(cluster.core('s2').votedFor, term === 3 ? 's2' : null, 'of one term there is one vote')
    cluster.answer('s3', 's2', vote(3, true))
    cluster.settle()
    assert.equal([cluster.core('s2').role, ...bounds(cluster, 's2')], ['follower', 10, 9, 9])
    cluster.restart('s2')
    assert.equal([cluster.core('s2').term, cluster.core('s2').votedFor], [term, term === 3 ? 's2' : null])
  }
})

test('H2-14 heartbeats of the leader of its term make a follower of a candidate, before, amid and after an install', () => {
  for (const when of ['before', 'amid', 'after'] as const) {
    const cluster = candidate()
    // Of an earlier term, so that it says nothing of who leads this one.
    const applied = Array.from({ length: 9 }, (_, at) => earlierEntry(at + 1, 2))
    const snapshot = { meta: snapshotAt(9, 2), applied }
    if (when !== 'before') cluster.server('s2').receiveSnapshot(snapshot)
    if (when === 'after') cluster.settle()
    if (when !== 'before') assert.is(cluster.core('s2').role, 'candidate')
    cluster.askOnly('s1', 's2', appendEntries(3, '0/0', [], 9))
    assert.equal([cluster.core('s2').role, cluster.core('s2').leader?.id], ['follower', 's1'])
    if (when === 'before') cluster.server('s2').receiveSnapshot(snapshot)
    cluster.settle()
    cluster.drop()
    assert.equal(bounds(cluster, 's2'), [10, 9, 9])
    cluster.ask('s1', 's2', appendEntries(3, '9/2', [makeBlock(10, 3, [9])], 10))
    cluster.settle()
    assert.equal(bounds(cluster, 's2'), [10, 10, 10])
  }
})

test('H2-14 a candidate that is elected although a snapshot has come begins its term behind that', () => {
  const cluster = candidate()
  cluster.stalledDisks.add('s2')
  cluster.server('s2').receiveSnapshot({ meta: snapshotAt(9, 2), applied: [] })
  cluster.answer('s3', 's2', vote(3, true))
  const { log, role } = cluster.core('s2')
  assert.equal([role, log.lastIndex, log.lastTerm, log.durableIndex], ['leader', 10, 3, 3])
  assert.is(cluster.server('s2').restoring, null)
  cluster.stalledDisks.clear()
  cluster.persist('s2')
  assert.equal([log.durableIndex, log.commitIndex], [10, 9])
  assert.is(cluster.server('s2').restoring?.index, 9)
})

test('a message that speaks of what is no longer kept agrees, and brings only what follows', () => {
  const cluster = new Stage({
    madeUp: true,
    logs: { s2: [1, 2, 2, 2, 2] },
    hardStates: { s2: { commitIndex: logIndex(5) } },
  })
  cluster.turn('s2', { type: 'snapshotReceived', snapshot: snapshotAt(8, 2) })
  cluster.persist('s2')
  cluster.ask('s1', 's2', appendEntries(2, '3/2', [makeBlock(4, 2, [4, 5, 6, 7, 8, 9])]))
  assert.is(cluster.core('s2').log.lastIndex, 9)
  cluster.persist('s2')
  assert.equal(cluster.answersTo('s1').at(-1), endingAt(9, matched(2, 9)))
})

test('what comes late, or says nothing new, moves nothing: outcomes of a snapshot, an older one, answers meanwhile', () => {
  const cluster = led(3)
  lagging(cluster, 's3', 5)
  const taken = cluster.snapshot('s1', 1)
  cluster.settle()
  const { firstIndex } = cluster.core('s1').log
  const older = { ...snapshotAt(taken.index - 1, 2), id: 'older' }
  cluster.turn('s1', { type: 'snapshotTaken', snapshot: older, first: older.index, firstLeast: older.index })
  assert.is(cluster.core('s1').log.firstIndex, firstIndex)
  assert.is(cluster.core('s1').log.snapshot?.id, taken.id)
  // Of a peer that is being given none.
  cluster.turn(
    's1',
    { type: 'snapshotSent', peer: 's2', index: taken.index },
    { type: 'snapshotFailed', peer: 's2', isGone: false },
  )
  assert.is(cluster.core('s1').peers.get('s2')?.mode, 'replicate')
  cluster.heal()
  for (let count = 0; count < 6 && cluster.server('s1').sends.length === 0; count += 1) {
    cluster.pass(heartbeatMs)
    cluster.deliver()
    cluster.persist('s3')
  }
  const progress = () => cluster.core('s1').peers.get('s3')
  assert.is(progress()?.mode, 'snapshot')
  const answer = (message: AppendEntriesResult): void => {
    cluster.step('s1', { type: 'response', from: 's3', session: progress()?.session ?? 0, message })
  }
  const { term } = cluster.core('s1')
  answer(conflict(term, '2/1'))
  assert.is(progress()?.mode, 'snapshot', 'a refusal of something older is no news')
  answer(matched(term, firstIndex))
  assert.is(progress()?.mode, 'probe', 'it has come by what it lacked in another way')
})

test('of two snapshots that come while the state machine is busy the newer one counts', () => {
  for (const order of [
    [50, 60],
    [60, 50],
  ]) {
    const cluster = new Stage({
      madeUp: true,
      logs: { s2: [1, 2, 2] },
      hardStates: { s2: { commitIndex: logIndex(3) } },
    })
    cluster.turn('s2')
    assert.ok(cluster.server('s2').applying !== null)
    for (const index of order) {
      const meta = snapshotAt(index, 2)
      cluster.server('s2').disk.snapshots.set(meta.id, { meta, applied: [] })
      cluster.turn('s2', { type: 'snapshotReceived', snapshot: meta })
    }
    assert.is(cluster.core('s2').log.snapshot, null)
    cluster.apply('s2')
    assert.is(cluster.core('s2').log.snapshot?.index, 60)
  }
})

test.run()
