/**
 * What a core makes of connections: an old one that ends late, and one to a server that its configuration does not
 * have.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Stage } from '#balsa/testing/stage/stage.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { appendEntries, matched, preVote, preVoteResult } from '../support/messages.js'

test('the end of an old connection, told after the new one began, takes nothing away', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const old = cluster.server('s1').sessions.get('s2') ?? 0
  cluster.connect('s1', 's2')
  cluster.turn('s1', { type: 'peerDown', peer: 's2', session: old })
  cluster.settle()
  cluster.propose('s1')
  assert.is(cluster.requestsTo('s2').length, 1, 'a leader goes on sending')

  const campaign = new Stage()
  const first = campaign.server('s1').sessions.get('s2') ?? 0
  campaign.connect('s1', 's2')
  campaign.turn('s1', { type: 'peerDown', peer: 's2', session: first })
  campaign.timeout('s1')
  assert.is(campaign.requestsTo('s2').length, 1, 'and so does a server that asks for votes')
})

test('a leader sends nothing to a peer whose connection has ended, and goes on when there is another', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const trace: string[] = (cluster.trace = [])
  cluster.disconnect('s1', 's2')
  cluster.propose('s1')
  cluster.run(500)
  assert.equal(
    trace.filter((line) => line.startsWith('s1 sends to s2')),
    [],
  )
  cluster.connect('s1', 's2')
  cluster.settle()
  assert.is(cluster.core('s2').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('a peer that connects is probed behind what it is known to have, or with the last entry when nothing is known', () => {
  const cluster = new Stage()
  cluster.crash('s3')
  cluster.elect('s1')
  const propose = (count: number): void => {
    for (let done = 0; done < count; done += 1) {
      cluster.propose('s1')
      cluster.settle()
    }
  }
  const probed = (): readonly number[] =>
    cluster.requestsTo('s3').flatMap((request) => (request.type === 'AppendEntries' ? [request.prevIndex] : []))
  propose(5)
  cluster.restart('s3')
  assert.equal(probed(), [cluster.core('s1').log.lastIndex - 1])
  cluster.settle()
  const known = cluster.core('s1').matchIndexOf('s3')
  assert.is(known, cluster.core('s1').log.lastIndex)
  cluster.isolate('s3')
  propose(5)
  cluster.heal()
  cluster.connect('s1', 's3')
  assert.equal(probed(), [known])
})

test('a leader that is connected with a server outside its configuration sends it nothing, and counts nothing that it says', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  const session = cluster.server('s1').sessions.get('s2') ?? 0
  const trace: string[] = (cluster.trace = [])
  cluster.turn('s1', {
    type: 'peerUp',
    peer: 's9',
    session: session + 100,
    store: { incarnation: 's9', hasJoined: false },
  })
  cluster.propose('s1')
  cluster.settle()
  cluster.turn('s1', { type: 'response', from: 's9', session: session + 100, message: matched(2, 2) })
  cluster.turn('s1', { type: 'peerDown', peer: 's9', session: session + 100 })
  assert.equal(
    trace.filter((line) => line.includes('s9')),
    [],
  )
  assert.is(cluster.core('s1').matchIndexOf('s9'), 0)
  assert.is(cluster.core('s2').matchIndexOf('s1'), 0, 'a follower knows nothing of anyone')
  assert.is(cluster.core('s1').log.commitIndex, cluster.core('s1').log.lastIndex)
})

test('a follower takes entries from a leader that its configuration does not have, and tells nobody to ask it (4.1)', () => {
  const cluster = new Stage({ madeUp: true })
  const message = appendEntries(2, '1/1', [makeBlock(2, 2, [5])])
  cluster.turn('s2', { type: 'request', from: 's9', link: 0, message })
  assert.equal([cluster.core('s2').role, cluster.core('s2').term, cluster.core('s2').log.lastIndex], ['follower', 2, 2])
  assert.is(cluster.core('s2').leader, null)
  cluster.persist('s2')
  cluster.answersTo('s1')
  assert.equal(cluster.ask('s1', 's2', preVote(9, '9/9')), [preVoteResult(2, false)], 'it hears a leader all the same')
})

test('M16 a leader feeds no other store than the one that has the vote of that member, and counts nothing that it says', () => {
  const cluster = new Stage({ servers: 2, spares: ['s3'] })
  cluster.elect('s1')
  cluster.configure('s1', { type: 'add', server: { id: 's3', address: 's3:1' }, promote: true })
  cluster.run(1000)
  assert.is(cluster.core('s1').configuration.voters.length, 3)
  const known = cluster.core('s1').matchIndexOf('s3')
  for (const id of ['s2', 's3']) cluster.disconnect('s1', id)
  const session = 100
  cluster.turn('s1', { type: 'peerUp', peer: 's3', session, store: { incarnation: 'other', hasJoined: true } })
  cluster.propose('s1')
  cluster.persist('s1')
  const { log, term } = cluster.core('s1')
  cluster.turn('s1', { type: 'response', from: 's3', session, message: matched(term, log.lastIndex) })
  assert.equal([cluster.core('s1').matchIndexOf('s3'), log.commitIndex], [known, log.lastIndex - 1])
})

test.run()
