/** Whose votes count: by the store that a configuration names, not by the id alone (M16). */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Electorate } from '#balsa/core/electorate.js'
import { incarnationsOf, withIncarnations } from '#balsa/format/incarnations.js'
import { stageBlockMaker } from '#balsa/testing/stage/blocks.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'
import type { Configuration, ServerId } from '#balsa/types.js'

const SELF = { incarnation: 'own', hasJoined: false }
const NOBODY_JOINED = { voters: [{ id: 's1', address: 's1:1' }], outgoing: null, nonvoters: [] }

function electorate(peers: Readonly<Record<ServerId, { incarnation: string; hasJoined: boolean }>> = {}, self = SELF) {
  const sessions = new Map(Object.entries(peers).map(([id, store]) => [id, { session: 7, store }]))
  return new Electorate('s1', self, sessions, stageBlockMaker)
}

const naming = (configuration: Configuration, names: Readonly<Record<ServerId, string>>): Configuration =>
  withIncarnations(configuration, new Map(Object.entries(names)))

const saysOf = (configuration: Configuration | { readonly unknown: ServerId }) => {
  return 'unknown' in configuration ? configuration : Object.fromEntries(incarnationsOf(configuration))
}

test('M16 a store that has joined votes where it is named, one of the first members where nobody is, and no other store', () => {
  const two = votersOnly(['s1', 's2'])
  for (const [hasJoined, names, votes] of [
    [false, {}, true],
    [true, {}, false],
    [true, { s2: 'a' }, true],
    [false, { s2: 'a' }, true],
    [true, { s2: 'b' }, false],
    [false, { s2: 'b' }, false],
    [true, { s2: '' }, false],
    [false, { s2: '' }, false],
    [true, { s1: 'a' }, false],
  ] as const) {
    const what = JSON.stringify([hasJoined, names])
    const asPeer = electorate({ s2: { incarnation: 'a', hasJoined } })
    assert.is(asPeer.counts(naming(two, names), 's2', 7), votes, what)
    assert.is(
      asPeer.counts(naming(two, names), 's2', 8),
      false,
      'what came on another connection may be of another store',
    )
    const own = Object.fromEntries(Object.entries(names).map(([id, store]) => [id === 's2' ? 's1' : 's2', store]))
    assert.is(electorate({}, { incarnation: 'a', hasJoined }).isVoterHere(naming(two, own)), votes, what)
  }
  const known = { s3: { incarnation: 'a', hasJoined: false } }
  assert.is(electorate(known).counts(naming(two, { s3: 'a' }), 's3', 7), false, 'one that is no voter')
  assert.is(electorate().counts(two, 's2', 7), false, 'nobody knows which store that is')
  const told = electorate()
  told.hasJoined()
  assert.is(told.isVoterHere(two), false)
})

test('M16 a leader hears of a member only the store that is named, and any where none is', () => {
  const two = votersOnly(['s1', 's2'])
  const sessionOf = (names: Readonly<Record<ServerId, string>>, hasJoined: boolean): number | null =>
    electorate({ s2: { incarnation: 'a', hasJoined } }).sessionOf(naming(two, names), 's2')
  for (const hasJoined of [false, true]) {
    assert.equal(
      [{}, { s2: '' }, { s2: 'a' }, { s2: 'b' }].map((names) => sessionOf(names, hasJoined)),
      [7, 7, 7, null],
    )
  }
  assert.is(electorate().sessionOf(two, 's2'), null)
})

test('M16 what becomes a voter is named, what comes is said to have come, of what goes nothing is said', () => {
  const peers = { s2: { incarnation: 'b', hasJoined: true }, s3: { incarnation: 'c', hasJoined: false } }
  const [s1, s2, s3, s4] = ['s1', 's2', 's3', 's4'].map((id) => ({ id, address: `${id}:1` }))
  if (s1 === undefined || s2 === undefined || s3 === undefined || s4 === undefined) throw new Error('four servers')
  const next = (before: Configuration, after: Configuration) => electorate(peers).named(before, after)
  const first = { voters: [s1, s3], outgoing: null, nonvoters: [] }
  const withS2 = next(first, { ...first, nonvoters: [{ ...s2, promote: true }] }) as Configuration
  assert.equal(saysOf(withS2), { s2: '' })
  const promoted = next(withS2, { ...withS2, voters: [s1, s2, s3], nonvoters: [] }) as Configuration
  assert.equal(saysOf(promoted), { s2: 'b' })
  const demoted = next(promoted, {
    ...promoted,
    voters: [s1, s2],
    nonvoters: [{ ...s3, promote: false }],
  }) as Configuration
  assert.equal(saysOf(demoted), { s2: 'b' }, 'of one of the first members nothing has to be said')
  assert.equal(saysOf(next(demoted, { ...demoted, voters: [s1, s2, s3], nonvoters: [] })), { s2: 'b', s3: 'c' })
  const joint = { ...demoted, voters: [s1, s3], outgoing: [s1, s2], nonvoters: [] }
  assert.equal(saysOf(next(demoted, joint)), { s2: 'b', s3: 'c' }, 'both halves')
  const gone = next(demoted, { ...demoted, voters: [s1] }) as Configuration
  assert.equal(saysOf(gone), {})
  assert.equal(saysOf(next(gone, { ...gone, nonvoters: [...gone.nonvoters, { ...s2, promote: true }] })), { s2: '' })
  assert.equal(saysOf(next(first, { ...first, voters: [s1, s3, s4] })), { unknown: 's4' })
  const other = { name: 'later', isRequired: false, value: new Uint8Array([1]) }
  const said = next({ ...first, extensions: [other] }, { ...withS2, extensions: [other] }) as Configuration
  assert.equal(
    said.extensions?.map(({ name }) => name),
    ['later', 'incarnations'],
  )
})

test('what says nothing that is known here names nobody', () => {
  for (const text of ['', '7', '{}', '[["s1"]]', '[["s1",7]]', '[[["s1","a"]]]']) {
    const value = new TextEncoder().encode(text)
    const extensions = [{ name: 'incarnations', isRequired: false, value }]
    assert.is(incarnationsOf({ ...NOBODY_JOINED, extensions }).size, 0, text)
  }
  assert.equal(withIncarnations(NOBODY_JOINED, new Map()), NOBODY_JOINED, 'nothing leaves nothing behind')
  const pairs = new Map([
    ['s2', 'b'],
    ['s1', 'a'],
  ])
  const forwards = withIncarnations(NOBODY_JOINED, pairs)
  assert.equal(forwards, withIncarnations(NOBODY_JOINED, new Map([...pairs].reverse())), 'in one encoding')
})

test.run()
