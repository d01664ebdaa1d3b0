/** What is not the one encoding of a configuration is refused, however close it comes. */

import { Packr } from 'msgpackr'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure } from '#balsa/errors.js'
import { decodeConfiguration, encodeConfiguration } from '#balsa/format/configuration.js'
import { MalformedBytes } from '#balsa/format/malformed.js'

const test = suite('configuration payload')
const packr = new Packr({ useRecords: false })
const a = ['a', 'a:1']
const b = ['b', 'b:1']
const good = packr.encode(['c', [a, b], null, [['d', 'd:1', true]]])

test('the plain form decodes, so that the cases below fail for their own reason', () => {
  assert.equal(decodeConfiguration(new Uint8Array(good)).configuration.nonvoters, [
    { id: 'd', address: 'd:1', promote: true },
  ])
})

const malformed: readonly (readonly [string, Uint8Array])[] = [
  ['voters out of order', packr.encode(['c', [b, a], null, []])],
  ['a voter that is there twice', packr.encode(['c', [a, a], null, []])],
  ['an outgoing voter that is there twice', packr.encode(['c', [a], [b, b], []])],
  [
    'two nonvoters with one id',
    packr.encode([
      'c',
      [a],
      null,
      [
        [...b, true],
        [...b, false],
      ],
    ]),
  ],
  ['three parts', packr.encode(['c', [a], null])],
  ['five parts', packr.encode(['c', [a], null, [], null])],
  ['a map', packr.encode({ voters: [a] })],
  ['a name that is a number', packr.encode([7, [a], null, []])],
  ['nil for voters', packr.encode(['c', null, null, []])],
  ['nil for nonvoters', packr.encode(['c', [a], null, null])],
  ['an id that is a number', packr.encode(['c', [[1, 'a:1']], null, []])],
  ['a voter with promote', packr.encode(['c', [[...a, true]], null, []])],
  ['a nonvoter without promote', packr.encode(['c', [a], null, [b]])],
  ['promote that is a number', packr.encode(['c', [a], null, [[...b, 1]]])],
  ['a byte behind the end', Buffer.concat([good, Buffer.of(0)])],
  ['a second value behind the end', Buffer.concat([good, good])],
  ['a byte missing', good.subarray(0, -1)],
  ['no bytes', new Uint8Array(0)],
  ['a header longer than it need be', Buffer.concat([Buffer.of(0xdc, 0, 4), good.subarray(1)])],
  ['an id that is not UTF-8', Buffer.from('94a1639192a1ff a3613a31c090'.replace(' ', ''), 'hex')],
  ['an array that claims four billion elements', Buffer.from('ddffffffff', 'hex')],
]

for (const [name, bytes] of malformed) {
  test(`malformed: ${name}`, () => {
    assert.throws(
      () => decodeConfiguration(new Uint8Array(bytes)),
      (error: unknown) => error instanceof MalformedBytes,
    )
  })
}

test('text that UTF-8 cannot carry is a defect of whoever encodes it', () => {
  const voters = [{ id: 'a\ud800', address: 'a:1' }]
  assert.throws(
    () => encodeConfiguration({ clusterName: 'c', configuration: { voters, outgoing: null, nonvoters: [] } }),
    (error: unknown) => error instanceof AssertionFailure,
  )
})

test.run()
