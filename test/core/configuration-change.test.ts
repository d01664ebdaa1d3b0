/** What may become of a configuration: what is refused, in which words, and that quorums always meet. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { ConfigurationChange } from '#balsa/core/index.js'
import { configurationAfter, isStep, MEMBERS_MAX, withoutOutgoing } from '#balsa/core/configuration-change.js'
import { doQuorumsMeet } from '#balsa/testing/invariants/configuration-invariants.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'
import { formatConfiguration } from '#balsa/testing/stage/text.js'
import type { Configuration, Server } from '#balsa/types.js'
import { maybePick, randomFrom } from '../support/seed.js'

const SEED = Number(process.env['BALSA_SEED'] ?? 1)
const s4 = { id: 's4', address: 's4:1' }
const three = votersOnly(['s1', 's2', 's3'])
const withNonvoter: Configuration = { ...three, nonvoters: [{ ...s4, promote: false }] }
const waiting: Configuration = { ...three, nonvoters: [{ ...s4, promote: true }] }
const meta = [{ name: 'meta', isRequired: false, value: new Uint8Array([1]) }]

function after(current: Configuration, change: ConfigurationChange): string {
  const changed = configurationAfter(current, change)
  return 'flaw' in changed ? changed.flaw : formatConfiguration(changed.configuration)
}

test('each change gives the configuration that its name says', () => {
  assert.is(after(three, { type: 'add', server: s4, promote: false }), 's1 s2 s3 +s4')
  assert.is(after(three, { type: 'add', server: s4, promote: true }), 's1 s2 s3 +s4*')
  assert.is(after(withNonvoter, { type: 'promote', id: 's4', atOnce: false }), 's1 s2 s3 +s4*')
  assert.is(after(withNonvoter, { type: 'promote', id: 's4', atOnce: true }), 's1 s2 s3 s4')
  assert.is(after(waiting, { type: 'demote', id: 's4' }), 's1 s2 s3 +s4')
  assert.is(after(three, { type: 'demote', id: 's2' }), 's1 s3 +s2')
  assert.is(after(three, { type: 'remove', id: 's2' }), 's1 s3')
  assert.is(after(withNonvoter, { type: 'remove', id: 's4' }), 's1 s2 s3')
})

test('M3 a voter is replaced through a joint configuration, a nonvoter at once', () => {
  const joint = configurationAfter(withNonvoter, { type: 'replace', id: 's2', by: 's4' })
  assert.ok('configuration' in joint)
  if (!('configuration' in joint)) return
  assert.is(formatConfiguration(withoutOutgoing(joint.configuration)), 's1 s3 s4')
  assert.equal(joint.configuration.outgoing, three.voters)
  const s5 = { id: 's5', address: 's5:1', extensions: meta }
  for (const promote of [false, true]) {
    const two: Configuration = {
      ...three,
      nonvoters: [
        { ...s4, promote },
        { ...s5, promote: false },
      ],
    }
    assert.is(after(two, { type: 'replace', id: 's4', by: 's5' }), `s1 s2 s3 +s5${promote ? '*' : ''}`)
  }
  assert.match(after(three, { type: 'replace', id: 's1', by: 's2' }), /^server s2 is a voter already/)
  assert.match(after(three, { type: 'replace', id: 's1', by: 's4' }), /^server s4 is not a member/)
  assert.match(after(withNonvoter, { type: 'replace', id: 's9', by: 's4' }), /^server s9 is not a member/)
})

test('a list of members is reached at once where one voter differs, and through a joint configuration otherwise', () => {
  const set = (voters: readonly string[], nonvoters: readonly string[] = []): ConfigurationChange => {
    return { type: 'set', voters, nonvoters }
  }
  assert.is(after(withNonvoter, set(['s1', 's2'], ['s4'])), 's1 s2 +s4')
  assert.is(after(withNonvoter, set(['s1', 's2', 's3', 's4'])), 's1 s2 s3 s4')
  assert.is(after(withNonvoter, set(['s1', 's2', 's4'])), 's1 s2 s4 (out: s1 s2 s3)')
  assert.is(after(withNonvoter, set(['s4'], ['s1'])), 's4 (out: s1 s2 s3) +s1')
  assert.is(after(withNonvoter, set(['s1', 's1'])), 'server s1 is named twice')
  assert.match(after(withNonvoter, set(['s1', 's9'])), 'server s9 is not a member: add it first as a nonvoter')
})

test('what is known of a server stays with it through every change, and extensions of the configuration stay', () => {
  const server: Server = { ...s4, extensions: meta }
  const added = configurationAfter({ ...three, extensions: meta }, { type: 'add', server, promote: true })
  assert.ok('configuration' in added)
  const promoted = configurationAfter(added.configuration, { type: 'promote', id: 's4', atOnce: true })
  assert.ok('configuration' in promoted)
  assert.equal(promoted.configuration.voters.at(-1), server)
  assert.is(promoted.configuration.extensions, meta)
  const set = configurationAfter(promoted.configuration, { type: 'set', voters: ['s1'], nonvoters: ['s4'] })
  assert.ok('configuration' in set)
  assert.equal(set.configuration.nonvoters, [{ ...server, promote: false }])
  assert.is(withoutOutgoing(set.configuration).extensions, meta)
})

test('an address changes for a voter and for a nonvoter, and is never that of another member', () => {
  const moved = configurationAfter(three, { type: 'update', server: { id: 's2', address: 'new:1' } })
  assert.ok('configuration' in moved)
  assert.equal(
    moved.configuration.voters.map(({ address }) => address),
    ['s1:1', 'new:1', 's3:1'],
  )
  const s5 = { id: 's5', address: 's5:1', promote: false }
  const both = { ...waiting, nonvoters: [...waiting.nonvoters, s5] }
  const nonvoter = configurationAfter(both, { type: 'update', server: { id: 's4', address: 'new:1' } })
  assert.ok('configuration' in nonvoter)
  assert.equal(nonvoter.configuration.nonvoters, [{ id: 's4', address: 'new:1', promote: true }, s5])
  const taken = 'the address s1:1 is that of server s1: give s2 its own'
  assert.is(after(three, { type: 'update', server: { id: 's2', address: 's1:1' } }), taken)
})

test('what makes no sense is refused in words that name the server and the way out', () => {
  const refusals: readonly (readonly [Configuration, ConfigurationChange, string])[] = [
    [withNonvoter, { type: 'add', server: s4, promote: true }, 'server s4 is a member already, at s4:1'],
    [three, { type: 'add', server: { id: 's5', address: 's1:1' }, promote: true }, 'is that of server s1'],
    [three, { type: 'promote', id: 's2', atOnce: true }, 'server s2 is a voter already'],
    [
      three,
      { type: 'promote', id: 's9', atOnce: true },
      'add it first as a nonvoter (addNonvoter). Members are s1, s2, s3',
    ],
    [withNonvoter, { type: 'demote', id: 's4' }, 'server s4 is a nonvoter already'],
    [three, { type: 'demote', id: 's9' }, 'server s9 is not a member. Members are'],
    [three, { type: 'remove', id: 's9' }, 'server s9 is not a member. Members are'],
    [three, { type: 'update', server: { id: 's9', address: 'x:1' } }, 'server s9 is not a member. Members are'],
    [votersOnly(['s1']), { type: 'remove', id: 's1' }, 'no voter would be left'],
    [{ ...three, outgoing: three.voters }, { type: 'remove', id: 's1' }, 'the configuration is joint'],
  ]
  for (const [current, change, says] of refusals)
    assert.ok(after(current, change).includes(says), after(current, change))
  const full = votersOnly(Array.from({ length: MEMBERS_MAX }, (_, at) => `v${at}`))
  assert.match(after(full, { type: 'add', server: s4, promote: false }), `at most ${MEMBERS_MAX} members`)
})

test('only a step of one voter, into a joint configuration or out of it is one', () => {
  const joint = (to: readonly string[], from: readonly string[]): Configuration => {
    return { ...votersOnly(to), outgoing: votersOnly(from).voters }
  }
  assert.ok(isStep(three, votersOnly(['s1', 's2', 's3', 's4'])))
  assert.ok(isStep(three, votersOnly(['s1', 's2'])))
  assert.not(isStep(three, votersOnly(['s1', 's2', 's4'])), 'one comes and one goes')
  assert.not(isStep(votersOnly(['s1']), votersOnly([])))
  assert.ok(isStep(three, joint(['s4'], ['s1', 's2', 's3'])))
  assert.not(isStep(three, joint(['s4'], ['s1', 's2'])), 'the half that goes is another')
  assert.ok(isStep(joint(['s4'], ['s1', 's2']), votersOnly(['s4'])))
  assert.not(isStep(joint(['s4'], ['s1', 's2']), votersOnly(['s4', 's5'])))
  assert.not(isStep(joint(['s4'], ['s1', 's2']), joint(['s4'], ['s1', 's2'])))
})

test(`whatever is asked for, two quorums of neighbours share a voter (4.1, 4.3; M3; seed ${SEED})`, () => {
  const random = randomFrom(SEED)
  const ids = ['a', 'b', 'c', 'd', 'e', 'f']
  let current = votersOnly(['a', 'b', 'c'])
  let joint = 0
  for (let round = 0; round < 8000; round += 1) {
    const id = maybePick(random, ids) ?? 'a'
    const voters = ids.filter(() => random() < 0.5)
    const change = maybePick<ConfigurationChange>(random, [
      { type: 'add', server: { id, address: `${id}:1` }, promote: random() < 0.5 },
      { type: 'promote', id, atOnce: random() < 0.7 },
      { type: 'demote', id },
      { type: 'remove', id },
      { type: 'replace', id, by: voters.find((other) => other !== id) ?? 'f' },
      { type: 'set', voters, nonvoters: ids.filter((other) => !voters.includes(other) && random() < 0.5) },
    ])
    const changed = change === undefined ? { flaw: '' } : configurationAfter(current, change)
    const next = current.outgoing === null ? changed : { configuration: withoutOutgoing(current) }
    if ('flaw' in next) continue
    const names = `${formatConfiguration(current)} -> ${formatConfiguration(next.configuration)}`
    assert.ok(doQuorumsMeet(current, next.configuration), names)
    assert.ok(isStep(current, next.configuration), names)
    if (next.configuration.outgoing !== null) joint += 1
    current = next.configuration
  }
  assert.ok(joint > 50, `${joint} joint configurations`)
})

test('quorums that do not meet are found', () => {
  assert.not(doQuorumsMeet(votersOnly(['a', 'b', 'c']), votersOnly(['a', 'd', 'e'])))
  assert.not(doQuorumsMeet(votersOnly(['a', 'b']), votersOnly(['c'])))
})

test.run()
