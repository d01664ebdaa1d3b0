/** How a leader feeds a peer: probe, window, room, and reading back what the tail has forgotten. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CoreCluster } from '../support/core-cluster.js'
import type { Envelope } from '../support/core-cluster.js'

const appendsTo = (peer: string) => (envelope: Envelope) =>
  envelope.to === peer && envelope.message.type === 'AppendEntries' && envelope.message.blocks.length > 0

test('a peer that catches up while entries are read for it is fed on', () => {
  const cluster = new CoreCluster({ tailBytesMax: 0 })
  cluster.elect('s1')
  for (let count = 0; count < 3; count += 1) {
    cluster.propose('s1')
    cluster.drop(appendsTo('s3'))
    cluster.settle()
  }
  // The window of s3 has stalled; it is probed with entries that are no longer in memory.
  while (cluster.server('s1').fetches.length === 0) {
    cluster.timeout('s1')
    cluster.drop(appendsTo('s3'))
    cluster.deliver()
  }
  cluster.serveFetches('s1')
  const [probe] = cluster.drop(appendsTo('s3'))
  assert.ok(probe)
  // Entries are being read again when the answer to the first probe comes.
  while (cluster.server('s1').fetches.length === 0) {
    cluster.timeout('s1')
    cluster.deliver()
  }
  if (probe) cluster.receive(probe)
  cluster.persist('s3')
  cluster.deliver()
  cluster.serveFetches('s1')
  cluster.propose('s1')
  cluster.run(500)
  assert.is(cluster.core('s3').log.lastIndex, cluster.core('s1').log.lastIndex)
})

test('a peer without room is sent at most one message per heartbeat, whatever it answers meanwhile (C22)', () => {
  const cluster = new CoreCluster()
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

test.run()
