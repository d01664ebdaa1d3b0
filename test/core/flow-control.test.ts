/** How a leader feeds a peer: probe, window, room, and reading back what the tail has forgotten. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { INFLIGHT_BYTES_MAX, INFLIGHT_MESSAGES_MAX } from '#balsa/core/leader/inflights.js'
import { UNAPPLIED_BYTES_MAX } from '#balsa/core/intake.js'
import type { AppendEntriesResult, Input } from '#balsa/core/index.js'
import { SendingInvariants } from '#balsa/testing/simulator/invariants/sending-invariants.js'
import { SETTINGS, Stage } from '#balsa/testing/stage/stage.js'
import type { StageOptions } from '#balsa/testing/stage/stage.js'
import type { Envelope } from '#balsa/testing/stage/stage-network.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { accepting, appendEntries, conflict, endingAt, matched } from '../support/messages.js'

const MIB = 2 ** 20

const appendsTo = (peer: string) => (envelope: Envelope) =>
  envelope.to === peer && envelope.message.type === 'AppendEntries' && envelope.message.blocks.length > 0

/** s1 goes on until it wants to read entries from the store. */
function untilFetching(cluster: Stage, meanwhile: () => void): void {
  for (let beat = 0; beat < 30 && cluster.server('s1').fetches.length === 0; beat += 1) {
    cluster.timeout('s1')
    meanwhile()
    cluster.deliver()
  }
  assert.is(cluster.server('s1').fetches.length, 1)
}

/** s1 leads; the window of s3 has stalled, and it is about to be probed with entries that are no longer in memory. */
function readingForStalled(): Stage {
  const cluster = new Stage({ tailBytesMax: 0 })
  cluster.elect('s1')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.drop(appendsTo('s3'))
    cluster.settle()
  }
  untilFetching(cluster, () => cluster.drop(appendsTo('s3')))
  return cluster
}

test('a peer that catches up while entries are read for it is fed on', () => {
  const cluster = readingForStalled()
  cluster.serveFetches('s1')
  const [probe] = cluster.drop(appendsTo('s3'))
  assert.ok(probe)
  // Entries are being read again when the answer to the first probe comes.
  untilFetching(cluster, () => {})
  if (probe) cluster.receive(probe)
  cluster.persist('s3')
  cluster.deliver()
  cluster.serveFetches('s1')
  cluster.propose('s1')
  cluster.run(500)
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('entries that were read for a connection or a leadership that is over are sent to nobody', () => {
  for (const failed of [false, true]) {
    for (const deposed of [false, true]) {
      const cluster = readingForStalled()
      const [fetch] = cluster.server('s1').fetches.splice(0)
      if (fetch === undefined) throw new Error('nothing is read')
      if (deposed) cluster.elect('s2')
      else cluster.connect('s1', 's3')
      cluster.settle()
      cluster.trace = []
      const blocks = cluster.server('s1').disk.durable.read(fetch.from, fetch.to, fetch.bytesMax)
      cluster.turn('s1', failed ? { type: 'fetchFailed', fetch } : { type: 'fetched', fetch, blocks })
      assert.equal(cluster.trace, [])
      cluster.run(500)
      assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
    }
  }
})

test('an idle leader sends a heartbeat each heartbeatMs, however long the answers are on their way', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.run(3 * SETTINGS.heartbeatMs)
  for (let beat = 0; beat < 5; beat += 1) {
    cluster.timeout('s1')
    assert.is(cluster.requestsTo('s2').length, 1, `heartbeat ${beat}`)
    cluster.now += SETTINGS.heartbeatMs / 2
    cluster.settle()
  }
})

test('entries that take longer on their way than an election are not sent again, whether one or a window', () => {
  for (const isProbe of [true, false]) {
    const cluster = new Stage()
    cluster.elect('s1')
    if (isProbe) cluster.connect('s1', 's3')
    for (let count = 0; count < 3; count += 1) {
      cluster.propose('s1')
      cluster.persist('s1')
    }
    assert.is(cluster.core('s1').peers.get('s3')?.mode, isProbe ? 'probe' : 'replicate')
    // What follows on the way to s3 stands behind them.
    const late = [...cluster.drop(({ to }) => to === 's3')]
    for (let beat = 0; beat < 4 * (SETTINGS.electionTimeoutMs / SETTINGS.heartbeatMs); beat += 1) {
      cluster.timeout('s1')
      late.push(...cluster.drop(({ to }) => to === 's3'))
      cluster.settle()
    }
    assert.is(late.filter(appendsTo('s3')).length, isProbe ? 1 : 3)
    for (const envelope of late) cluster.receive(envelope)
    cluster.settle()
    assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
  }
})

test('what the answer to a later message disproves is sent again at once, and only that', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
  }
  const [first] = cluster.drop(appendsTo('s3'))
  assert.ok(first)
  cluster.receive(first)
  cluster.trace = []
  cluster.run(2 * SETTINGS.heartbeatMs)
  const again = cluster.trace.flatMap((line) => /s1 sends to s3: AppendEntries [^[]*(\[.*)/.exec(line)?.[1] ?? [])
  assert.equal(again, ['[4-4/2] [5-5/2]'], 'what it has taken counts')
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('a peer whose disk is slower than an election is sent nothing twice', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.stalledDisks.add('s3')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  cluster.trace = []
  cluster.run(4 * SETTINGS.electionTimeoutMs)
  assert.is((cluster.trace ?? []).filter((line) => /s1 sends to s3: AppendEntries .*\[/.test(line)).length, 0)
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

/** s1 leads, and nothing that is sent overtakes anything. */
function inOrder(options: StageOptions = {}): Stage {
  const cluster = new Stage({ observers: [new SendingInvariants()], ...options })
  cluster.elect('s1')
  return cluster
}

/** s3 has accepted entry 3 and not written it; on a new connection it is probed with the entries 3 to 5. */
function probedBehindWhatIsAccepted(): { readonly cluster: Stage; readonly probe: Envelope } {
  const cluster = inOrder()
  cluster.stalledDisks.add('s3')
  cluster.propose('s1')
  cluster.settle()
  cluster.disconnect('s1', 's3')
  for (let count = 0; count < 2; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  cluster.connect('s1', 's3')
  const [probe] = cluster.drop(appendsTo('s3'))
  if (probe === undefined) throw new Error('nothing is sent')
  return { cluster, probe }
}

test('a probe is not sent again because its peer has written only a part of it, or what it had before', () => {
  for (const hasArrived of [true, false]) {
    const { cluster, probe } = probedBehindWhatIsAccepted()
    if (hasArrived) cluster.receive(probe)
    cluster.persist('s3', 1)
    cluster.drop()
    const session = cluster.server('s1').sessions.get('s3') ?? 0
    const round = cluster.core('s1').peers.get('s3')?.sentRound
    const answer = endingAt(hasArrived ? 5 : 3, matched(2, 3, round))
    const message = hasArrived ? accepting(5, answer) : answer
    cluster.turn('s1', { type: 'response', from: 's3', session, message })
    assert.equal(cluster.drop(appendsTo('s3')), [], hasArrived ? 'accepted' : 'on its way')
    if (!hasArrived) cluster.receive(probe)
    cluster.propose('s1')
    cluster.stalledDisks.clear()
    cluster.run(3 * SETTINGS.heartbeatMs)
    assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
  }
})

test('a refusal of what was sent before a probe does not send the probe again', () => {
  const cluster = inOrder()
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
  }
  cluster.drop()
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  const busy = (round: number): Input => {
    const message = { ...endingAt(2, matched(2, 2, round)), status: 'busy' as const }
    return { type: 'response', from: 's3', session, message }
  }
  const round = cluster.core('s1').peers.get('s3')?.sentRound ?? 0
  cluster.turn('s1', busy(round))
  cluster.timeout('s1')
  assert.is(cluster.drop(appendsTo('s3')).length, 1, 'the probe')
  cluster.turn('s1', busy(round))
  cluster.timeout('s1')
  assert.equal(cluster.drop(appendsTo('s3')), [])
})

test('a refusal of what was sent before a probe sends nothing again when the probe was taken, either', () => {
  const cluster = inOrder({ madeUp: true })
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
  }
  cluster.drop()
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  const answer = (message: AppendEntriesResult): Input => ({ type: 'response', from: 's3', session, message })
  const peer = cluster.core('s1').peers.get('s3')
  const round = peer?.sentRound ?? 0
  cluster.turn('s1', answer({ ...endingAt(2, matched(2, 2, round)), status: 'busy' }))
  cluster.timeout('s1')
  assert.is(cluster.drop(appendsTo('s3')).length, 1, 'the probe')
  cluster.turn('s1', answer(endingAt(5, matched(2, 5, peer?.sentRound))))
  cluster.propose('s1')
  assert.is(cluster.drop(appendsTo('s3')).length, 1, 'what follows it')
  cluster.turn('s1', answer(endingAt(2, conflict(2, '2/2', round))))
  assert.equal([cluster.drop(appendsTo('s3')), peer?.mode, peer?.nextIndex], [[], 'replicate', 7])
})

test('what a peer without room has accepted and not written is not sent again', () => {
  const cluster = inOrder()
  cluster.stalledDisks.add('s3')
  cluster.propose('s1')
  cluster.settle()
  cluster.turn('s3', { type: 'credit', bytes: 0 })
  cluster.propose('s1')
  cluster.settle()
  cluster.timeout('s1')
  const [probe] = cluster.drop(appendsTo('s3'))
  assert.equal(
    probe?.message.type === 'AppendEntries' && [probe.message.prevIndex, probe.message.blocks[0]?.first],
    [3, 4],
  )
})

test('acknowledgements that come together after a window was disproved leave nothing to be sent twice', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
  }
  cluster.deliver(appendsTo('s3'))
  cluster.persist('s3')
  assert.ok(cluster.drop(({ from }) => from === 's3').length > 0)
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  const answer = (matchIndex: number, round = 1): Input => ({
    type: 'response',
    from: 's3',
    session,
    message: matched(2, matchIndex, round),
  })
  const peer = cluster.core('s1').peers.get('s3')
  cluster.turn('s1', answer(2, 1000))
  assert.is(peer?.mode, 'probe')
  cluster.turn('s1', answer(3), answer(5))
  assert.equal([peer?.mode, peer?.matchIndex, peer?.nextIndex], ['replicate', 5, 6])
})

test('what was refused because its term was over says nothing of what is sent now', () => {
  const cluster = new Stage({ observers: [new SendingInvariants()] })
  cluster.elect('s1')
  cluster.propose('s1')
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  const refusal = endingAt(1, conflict(2, '0/0', 0))
  cluster.turn('s1', { type: 'response', from: 's3', session, message: refusal })
  const peer = cluster.core('s1').peers.get('s3')
  assert.equal([peer?.mode, peer?.nextIndex], ['replicate', 4])
  cluster.settle()
  assert.is(peer?.matchIndex, 3)
})

test('a peer without room is sent at most one message per heartbeat, whatever it answers meanwhile (C22)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.turn('s3', { type: 'credit', bytes: 0 })
  for (let count = 0; count < 6; count += 1) {
    cluster.propose('s1')
    cluster.settle()
  }
  for (let beat = 0; beat < 5; beat += 1) {
    cluster.trace = []
    cluster.timeout('s1')
    cluster.settle()
    cluster.read('s1')
    cluster.settle()
    const sent = cluster.trace.filter((line) => /s1 sends to s3: AppendEntries .*\[/.test(line))
    assert.is(sent.length, 1, sent.join('\n'))
  }
  cluster.turn('s3', { type: 'credit', bytes: 1000 })
  cluster.run(300)
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('a peer with little room is sent less with each refusal, until it takes some, and so comes to have all (C22)', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.turn('s3', { type: 'credit', bytes: 0 })
  for (let count = 0; count < 6; count += 1) {
    cluster.propose('s1', 1, 20_000)
    cluster.settle()
  }
  // As near the bound of a store: room for one of them, and never for all that it lacks.
  const probed: number[] = []
  for (let beat = 0; beat < 40; beat += 1) {
    cluster.turn('s3', { type: 'credit', bytes: 25_000 })
    cluster.run(SETTINGS.heartbeatMs)
    probed.push(cluster.core('s1').peers.get('s3')?.probeBytesMax ?? 0)
  }
  assert.ok(Math.min(...probed) < (probed.at(-1) ?? 0), 'once it takes some it is sent more again')
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('a peer that does not answer is sent a window of messages and no more, and the rest when it answers', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  for (let count = 0; count < 2 * INFLIGHT_MESSAGES_MAX; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
  }
  assert.is(cluster.inFlight.filter(appendsTo('s3')).length, INFLIGHT_MESSAGES_MAX)
  const peer = cluster.core('s1').peers.get('s3')
  assert.equal([peer?.mode, peer?.inflights.count], ['replicate', INFLIGHT_MESSAGES_MAX])
  cluster.settle()
  assert.is(cluster.core('s3').log.lastIndex, 2 + 2 * INFLIGHT_MESSAGES_MAX)
  assert.equal([peer?.inflights.count, peer?.inflights.bytes], [0, 0])
})

test('the window is bounded in bytes too', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const window = cluster.core('s1').peers.get('s3')?.window.bytes ?? 0
  assert.ok(window > 0 && window <= INFLIGHT_BYTES_MAX)
  for (let count = 0; count < 5; count += 1) {
    cluster.propose('s1', 1, window / 2)
    cluster.persist('s1')
  }
  assert.is(cluster.inFlight.filter(appendsTo('s3')).length, 2)
})

test('a peer is probed with one message until it answers, and then fed at full speed', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.connect('s1', 's3')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.persist('s1')
  }
  assert.is(cluster.inFlight.filter(appendsTo('s3')).length, 1)
  assert.is(cluster.core('s1').peers.get('s3')?.mode, 'probe')
  cluster.settle()
  assert.is(cluster.core('s1').peers.get('s3')?.mode, 'replicate')
  assert.is(cluster.core('s3').log.lastIndex, 5)
})

test('a follower whose state machine lags by too many bytes answers busy and accepts nothing', () => {
  const cluster = new Stage({ madeUp: true })
  const huge = makeBlock(2, 2, [5], UNAPPLIED_BYTES_MAX)
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [huge]))
  cluster.persist('s2')
  cluster.answersTo('s1')
  const [answer] = cluster.ask('s1', 's2', appendEntries(2, '2/2', [makeBlock(3, 2, [6])]))
  assert.equal(answer?.type === 'AppendEntriesResult' && [answer.status, answer.matchIndex], ['busy', 2])
  assert.is(cluster.core('s2').log.lastIndex, 2)
  cluster.ask('s1', 's2', appendEntries(2, '2/2', [], 2))
  cluster.apply('s2')
  cluster.apply('s2')
  cluster.ask('s1', 's2', appendEntries(2, '2/2', [makeBlock(3, 2, [6])]))
  assert.is(cluster.core('s2').log.lastIndex, 3)
})

test('a follower without credit answers busy with its match, and takes heartbeats', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.turn('s2', { type: 'credit', bytes: 23 })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [5])]))
  cluster.persist('s2')
  const [answer] = cluster.answersTo('s1')
  assert.equal(answer?.type === 'AppendEntriesResult' && [answer.status, answer.matchIndex], ['busy', 0])
  const [beat] = cluster.ask('s1', 's2', appendEntries(2, '1/1', []))
  assert.equal(beat?.type === 'AppendEntriesResult' && [beat.status, beat.matchIndex], ['matched', 1])
  cluster.turn('s2', { type: 'credit', bytes: 24 })
  cluster.ask('s1', 's2', appendEntries(2, '1/1', [makeBlock(2, 2, [5])]))
  assert.is(cluster.core('s2').log.lastIndex, 2, 'what just fits is taken')
})

test('what a peer lacks stays in memory, and little of what all of them have', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const write = (): void => {
    for (let count = 0; count < 16; count += 1) {
      cluster.propose('s1', 1, MIB / 4)
      cluster.settle()
    }
  }
  const tailOf = (id: string): number => cluster.core(id).log.tailBytes
  write()
  for (const id of cluster.ids) assert.ok(tailOf(id) > MIB / 2 && tailOf(id) <= MIB, `${id} keeps ${tailOf(id)} bytes`)
  cluster.isolate('s3')
  write()
  assert.ok(tailOf('s1') >= 4 * MIB, `the leader keeps ${tailOf('s1')} bytes for s3`)
  assert.ok(tailOf('s2') <= MIB, `a follower feeds nobody, and keeps ${tailOf('s2')} bytes`)
  cluster.heal()
  cluster.connect('s1', 's3')
  assert.equal(cluster.server('s1').fetches, [], 'what s3 lacks is sent from memory')
  cluster.settle()
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
  for (const id of cluster.ids) assert.ok(tailOf(id) <= MIB, `${id} keeps ${tailOf(id)} bytes`)
})

test.run()
