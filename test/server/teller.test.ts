/** What a member tells whoever asks which cluster this is, and how often. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { encodeBootstrap } from '#balsa/format/configuration.js'
import { VALUE_BYTES_MAX } from '#balsa/format/operations.js'
import { RECOVERIES_MAX } from '#balsa/format/recovery.js'
import { Teller } from '#balsa/server/teller.js'
import type { TellerParts } from '#balsa/server/teller.js'
import { decodeTold, encodeTold } from '#balsa/server/told.js'
import { identityOf, Site } from '#balsa/testing/conformance/site.js'
import { ANSWER_BYTES_MAX } from 'balsa-raft/transport'
import { ManualClock } from '../transport/manual-clock.js'

const test = suite('what strangers are told')
const first = encodeBootstrap('balsa', [{ id: 's1', address: 's1:1' }])

class Desk {
  readonly clock = new ManualClock()
  /** For its log alone: no transport is used. */
  readonly log = new Site('s1', {} as never)
  readonly teller: Teller

  constructor(parts: Partial<TellerParts> = {}) {
    this.teller = new Teller({
      ...{ self: identityOf('s1'), clusterName: 'balsa', first, recoveries: [], clock: this.clock, logger: this.log },
      ...{ leader: () => ({ id: 's1', address: 's1:1', meta: { redis: 'x' } }), isMember: () => false },
      ...{ isTaken: (id) => id === 's3', allowJoin: false, unreached: () => null, addressFlaw: () => null },
      add: () => Promise.resolve(),
      ...parts,
    })
  }

  ask(id: unknown, incarnation: unknown = '0'): Readonly<Record<string, unknown>> | null {
    const answer = this.teller.answer(new TextEncoder().encode(JSON.stringify({ id, incarnation })))
    return answer === null ? null : decodeTold(answer)
  }
}

test('who asks is told the cluster and who leads; what is no question has no answer', () => {
  const desk = new Desk()
  const told = desk.ask('s4')
  assert.equal([told?.['cluster'], told?.['recoveries']], ['balsa', []])
  assert.equal(told?.['leader'], { id: 's1', address: 's1:1' })
  for (const bytes of ['', '7', 'null', '[]', '{"id":"s4"', '{}']) {
    assert.is(desk.teller.answer(new TextEncoder().encode(bytes)), null, bytes)
  }
  assert.equal([desk.ask(''), desk.ask(4), desk.ask('s4', 7)], [null, null, null])
  assert.match(String(desk.ask('s3')?.['refusal']), /the id s3 is that of a member .*raft\.replace\('s3'/)
})

test('the leader says once of whoever waits what to type, and nobody else does', () => {
  const desk = new Desk({ isMember: (id) => id === 's2' })
  for (const id of ['s4', 's4', 's2', 's5']) desk.ask(id)
  const lines = desk.log.warnings('raft.addVoter')
  assert.equal(
    lines.map(({ fields }) => fields['id']),
    ['s4', 's5'],
  )
  for (const leader of [null, { id: 's2', address: 's2:1' }]) {
    const other = new Desk({ leader: () => leader })
    assert.equal(other.ask('s4')?.['leader'], leader)
    assert.equal(other.log.lines, [])
  }
})

test('with allowJoin the leader makes a nonvoter of who says where it is found, one at a time', async () => {
  const added: object[] = []
  let done: (error?: Error) => void = () => {}
  let held: string | null = null
  const add = (server: object): Promise<void> => {
    added.push(server)
    return new Promise((resolve, reject) => (done = (error) => (error === undefined ? resolve() : reject(error))))
  }
  const addressFlaw = (address: string) => (address.includes(':') ? null : 'it is no address')
  const desk = new Desk({ allowJoin: true, add, addressFlaw, unreached: () => held, isMember: (id) => id === 's2' })
  const says = (id: string, more: object = {}): unknown => {
    const bytes = new TextEncoder().encode(JSON.stringify({ id, incarnation: '0', ...more }))
    return decodeTold(desk.teller.answer(bytes) ?? new Uint8Array())['admission']
  }
  const address = 's4:1'
  assert.is(says('s2', { address }), 'done')
  for (const flaw of [{}, { address: '' }, { address: 'x' }, { address: 7 }, { address: `${'x'.repeat(256)}:1` }]) {
    assert.is(says('s4', flaw), 'waits')
  }
  assert.equal([says('s4', { address, meta: 7 }), says('s4', { address: '\ud800:1' })], ['waits', 'waits'])
  assert.is(added.length, 0)
  assert.equal(
    [says('s4', { address }), says('s5', { address: 's5:1' }), says('s4', { address })],
    ['again', 'again', 'again'],
  )
  assert.equal(added, [{ id: 's4', address }])
  done(new Error('no room'))
  await new Promise(setImmediate)
  assert.is(desk.log.warnings('no room').length, 1)
  held = 's4'
  assert.is(says('s5', { address: 's5:1' }), 'again')
  assert.is(desk.log.warnings('the nonvoter s4 is not reached').length, 1)
  held = null
  assert.is(says('s5', { address: 's5:1' }), 'again')
  assert.is(added.length, 2)
  done()
  const follower = new Desk({ allowJoin: true, add, leader: () => null })
  assert.is(follower.ask('s4')?.['admission'], 'elsewhere')
})

test('64 answers are given in a second, whoever asks, and again in the next', () => {
  const desk = new Desk()
  const answered = (): number => [...Array(200).keys()].filter((at) => desk.ask(`s${at + 10}`) !== null).length
  assert.is(answered(), 64)
  desk.clock.advance(999)
  assert.is(answered(), 0)
  desk.clock.advance(1)
  assert.is(answered(), 64)
})

test('the longest answer fits, and a list that fits into no fact is not told', () => {
  const name = '\u0001'.repeat(255)
  const recoveries = Array.from({ length: RECOVERIES_MAX }, () => `${Number.MAX_SAFE_INTEGER}-${'f'.repeat(32)}`)
  const leader = () => ({ id: name, address: name })
  const parts = { clusterName: name, recoveries, leader }
  const { teller } = new Desk({ ...parts, first: new Uint8Array(VALUE_BYTES_MAX) })
  const answer = teller.answer(encodeTold({ id: 's4', incarnation: '0' }))
  assert.ok((answer?.byteLength ?? Infinity) <= ANSWER_BYTES_MAX, `${answer?.byteLength}`)
  for (const unknown of [null, new Uint8Array(VALUE_BYTES_MAX + 1)]) {
    assert.match(String(new Desk({ first: unknown }).ask('s4')?.['refusal']), /set join to true, and bootstrap/)
  }
})

test.run()
