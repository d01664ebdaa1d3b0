/** What is not the one encoding of a configuration is refused, however close it comes. */

import { Packr } from 'msgpackr'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure } from '#balsa/errors.js'
import { decodeConfiguration, encodeBootstrap, encodeConfiguration } from '#balsa/format/configuration.js'
import { MalformedBytes } from '#balsa/format/malformed.js'
import type { Extension } from '#balsa/types.js'

const test = suite('configuration payload')
const packr = new Packr({ useRecords: false })
const a = ['a', 'a:1', []]
const b = ['b', 'b:1', []]
const d = ['d', 'd:1', true, []]
const good = packr.encode([1, 'c', [a, b], null, [d], []])

test('the plain form decodes, so that the cases below fail for their own reason', () => {
  assert.equal(decodeConfiguration(new Uint8Array(good)).configuration.nonvoters, [
    { id: 'd', address: 'd:1', promote: true },
  ])
})

const malformed: readonly (readonly [string, Uint8Array])[] = [
  ['voters out of order', packr.encode([1, 'c', [b, a], null, [], []])],
  ['a voter that is there twice', packr.encode([1, 'c', [a, a], null, [], []])],
  ['an outgoing voter that is there twice', packr.encode([1, 'c', [a], [b, b], [], []])],
  ['two nonvoters with one id', packr.encode([1, 'c', [a], null, [d, ['d', 'd:1', false, []]], []])],
  ['three parts', packr.encode([1, 'c', [a]])],
  ['seven parts', packr.encode([1, 'c', [a], null, [], [], null])],
  ['a map', packr.encode({ voters: [a] })],
  ['a version that is a number of 64 bits', Buffer.from('96cf0000000000000001a1639193a161a3613a3190c09090', 'hex')],
  ['a version that is text', packr.encode(['1', 'c', [a], null, [], []])],
  ['a version over 2^53', Buffer.from('91cfffffffffffffffff', 'hex')],
  ['a version below zero', packr.encode([-1, 'c', [a], null, [], []])],
  ['a name that is a number', packr.encode([1, 7, [a], null, [], []])],
  ['nil for voters', packr.encode([1, 'c', null, null, [], []])],
  ['nil for nonvoters', packr.encode([1, 'c', [a], null, null, []])],
  ['nil for extensions', packr.encode([1, 'c', [a], null, [], null])],
  ['a map for extensions', packr.encode([1, 'c', [a], null, [], { m: 1 }])],
  ['the name of an extension that is an object', packr.encode([1, 'c', [a], null, [], [[{ toString: 1 }, false, d]]])],
  ['an id that is a number', packr.encode([1, 'c', [[1, 'a:1', []]], null, [], []])],
  ['a voter with promote', packr.encode([1, 'c', [['a', 'a:1', true, []]], null, [], []])],
  ['a nonvoter without promote', packr.encode([1, 'c', [a], null, [b], []])],
  ['promote that is a number', packr.encode([1, 'c', [a], null, [['d', 'd:1', 1, []]], []])],
  ['a byte behind the end', Buffer.concat([good, Buffer.of(0)])],
  ['a second value behind the end', Buffer.concat([good, good])],
  ['a byte missing', good.subarray(0, -1)],
  ['no bytes', new Uint8Array(0)],
  ['a header longer than it need be', Buffer.concat([Buffer.of(0xdc, 0, 6), good.subarray(1)])],
  ['an id that is not UTF-8', Buffer.from('9601a1639193a1ffa3613a3190c09090', 'hex')],
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

const meta: Extension = { name: 'meta', isRequired: false, value: Uint8Array.of(1, 2, 3) }
const lease: Extension = { name: 'lease', isRequired: false, value: new Uint8Array(0) }

test('what a later version says of servers and of a configuration stands in the next one, unchanged', () => {
  const written = encodeConfiguration({
    clusterName: 'c',
    configuration: {
      voters: [{ id: 'a', address: 'a:1', extensions: [meta] }],
      outgoing: null,
      nonvoters: [{ id: 'd', address: 'd:1', promote: true, extensions: [meta, lease] }],
      extensions: [lease],
    },
  })
  const { clusterName, configuration } = decodeConfiguration(written)
  const [promoted] = configuration.nonvoters
  if (promoted === undefined) throw new Error('the nonvoter is gone')
  const { promote: _, ...voter } = promoted
  const next = { ...configuration, voters: [...configuration.voters, voter], nonvoters: [] }
  const read = decodeConfiguration(encodeConfiguration({ clusterName, configuration: next })).configuration
  assert.equal(read.extensions, [lease])
  assert.equal(
    read.voters.map(({ extensions }) => extensions),
    [[meta], [lease, meta]],
  )
})

test('the value of an extension does not keep the block alive that it came in', () => {
  const configuration = { voters: [], outgoing: null, nonvoters: [], extensions: [meta] }
  const read = decodeConfiguration(encodeConfiguration({ clusterName: 'c', configuration })).configuration
  assert.is(read.extensions?.[0]?.value.buffer.byteLength, 3)
})

test('nothing but ids and addresses is in the bootstrap payload, and so in the cluster id', () => {
  const plain = [
    { id: 'a', address: 'a:1' },
    { id: 'b', address: 'b:1' },
  ]
  const extended = plain.map((server) => ({ ...server, extensions: [meta] }))
  assert.equal(encodeBootstrap('c', extended), encodeBootstrap('c', plain))
  const configuration = { voters: plain, outgoing: null, nonvoters: [] }
  assert.equal(encodeBootstrap('c', plain), encodeConfiguration({ clusterName: 'c', configuration }))
})

test('an extension without a right name, or twice, is a defect of whoever encodes it', () => {
  const isDefect = (error: unknown): boolean => error instanceof AssertionFailure
  for (const extensions of [[{ ...meta, name: 'Meta' }], [{ ...meta, name: 'x'.repeat(65) }], [meta, meta]]) {
    const configuration = { voters: [], outgoing: null, nonvoters: [], extensions }
    assert.throws(() => encodeConfiguration({ clusterName: 'c', configuration }), isDefect)
  }
})

test.run()
