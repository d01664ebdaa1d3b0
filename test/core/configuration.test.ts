/** Quorums against a naive oracle: count the voters of each half. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Configuration, ServerId } from '#balsa/types.js'
import { hasQuorum, isVoter, membersOf, peersOf, quorumValue } from '#balsa/core/configuration.js'
import { isQuorum } from '#balsa/testing/invariants/quorum.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'
import { randomInt, randomFrom } from '../support/seed.js'

const SEED = Number(process.env['BALSA_SEED'] ?? 1)
const IDS = ['a', 'b', 'c', 'd', 'e', 'f', 'g']

test('four voters with matches 5 5 4 4 have 4 on a quorum, not 5 (H1-1)', () => {
  const values = new Map(Object.entries({ a: 5, b: 5, c: 4, d: 4 }))
  assert.is(
    quorumValue(votersOnly(['a', 'b', 'c', 'd']), (id) => values.get(id) ?? 0),
    4,
  )
})

test('without voters nothing is on a quorum', () => {
  assert.is(
    quorumValue(votersOnly([]), () => 9),
    0,
  )
  assert.is(hasQuorum(votersOnly([]), new Set(['a'])), false)
})

test(`the highest value on a quorum is what counting finds, in plain and joint configurations (C2, M3; seed ${SEED})`, () => {
  const random = randomFrom(SEED)
  const half = (): readonly ServerId[] => IDS.filter(() => random() < 0.6)
  for (let round = 0; round < 2000; round += 1) {
    const voters = votersOnly(half()).voters
    const outgoing = random() < 0.5 ? votersOnly(half()).voters : null
    const nonvoters = [{ id: 'z', address: 'z:1', promote: false }]
    const configuration: Configuration = { voters, outgoing, nonvoters }
    const values = new Map(IDS.map((id) => [id, randomInt(random, 0, 6)]))
    let expected = 0
    for (let value = 1; value <= 5; value += 1) {
      const reached = new Set(['z', ...IDS.filter((id) => (values.get(id) ?? 0) >= value)])
      if (isQuorum(configuration, (id) => reached.has(id))) expected = value
      assert.is(
        hasQuorum(configuration, reached),
        isQuorum(configuration, (id) => reached.has(id)),
        JSON.stringify(configuration),
      )
    }
    assert.is(
      quorumValue(configuration, (id) => values.get(id) ?? 9),
      expected,
      JSON.stringify(configuration),
    )
  }
})

test('every member but oneself is a peer, once; members of either half are voters', () => {
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((id) => ({ id, address: `${id}:1` }))
  if (!a || !b || !c || !d) return
  const configuration: Configuration = { voters: [a, b], outgoing: [b, c], nonvoters: [{ ...d, promote: false }] }
  assert.equal(
    peersOf(configuration, 'a')
      .map(({ id }) => id)
      .sort(),
    ['b', 'c', 'd'],
  )
  assert.equal(
    ['a', 'b', 'c', 'd'].map((id) => isVoter(configuration, id)),
    [true, true, true, false],
  )
})

test('a server that both halves know at two addresses is one member, at the address that comes in', () => {
  const [before, after] = ['old:1', 'new:1'].map((address) => ({ id: 'a', address }))
  if (!before || !after) return
  const joint: Configuration = { voters: [after], outgoing: [before], nonvoters: [] }
  assert.equal(membersOf(joint), [after])
})

test.run()
