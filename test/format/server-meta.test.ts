/** What operators say of a server, as bytes of the configuration: one encoding, bounds, and nothing that throws. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeConfiguration, encodeConfiguration } from '#balsa/format/configuration.js'
import { META_BYTES_MAX, META_KEYS_MAX, metaFlaw, metaOf, withMeta } from '#balsa/format/server-meta.js'
import type { Extension, Server } from '#balsa/types.js'

const s1: Server = { id: 's1', address: 's1:1' }
const later: Extension = { name: 'zone', isRequired: false, value: new Uint8Array([7]) }

test('what is said comes back, in one encoding whatever the order, and other extensions stay', () => {
  const said = withMeta({ ...s1, extensions: [later] }, { redis: 'a:1', http: 'b:2' })
  assert.equal(metaOf(said), { http: 'b:2', redis: 'a:1' })
  assert.equal(said.extensions?.[0], later)
  assert.equal(withMeta(s1, { b: '1', a: '2' }), withMeta(s1, { a: '2', b: '1' }))
  const again = withMeta(said, { redis: 'c:3' })
  assert.equal([metaOf(again), again.extensions?.length], [{ redis: 'c:3' }, 2])
  assert.equal(withMeta(withMeta(s1, { a: '1' }), {}), s1, 'nothing leaves nothing behind')
})

test('it survives the payload of a configuration', () => {
  const voters = [withMeta(s1, { redis: '127.0.0.1:6379' })]
  const payload = encodeConfiguration({ clusterName: 'c', configuration: { voters, outgoing: null, nonvoters: [] } })
  const [voter] = decodeConfiguration(payload).configuration.voters
  assert.equal(voter === undefined ? null : metaOf(voter), { redis: '127.0.0.1:6379' })
})

test('what a later version says in another form is nothing', () => {
  const values = ['{"a":"b"}', '[["a"]]', '[["a",1]]', '[1]', 'no', '[["a","b","c"]]', '\u{fffd}']
  for (const value of values) {
    const extensions = [{ name: 'meta', isRequired: false, value: new TextEncoder().encode(value) }]
    assert.is(metaOf({ ...s1, extensions }), null, value)
  }
  assert.is(metaOf(s1), null)
  assert.is(metaOf({ ...s1, extensions: [later] }), null)
})

test('its bounds are told in numbers', () => {
  const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 'v']))
  assert.is(metaFlaw(keys(META_KEYS_MAX)), null)
  assert.match(metaFlaw(keys(META_KEYS_MAX + 1)) ?? '', /17 keys; at most 16/)
  assert.is(metaFlaw({ k: 'x'.repeat(META_BYTES_MAX - 1) }), null)
  assert.match(metaFlaw({ k: 'é'.repeat(META_BYTES_MAX / 2) }) ?? '', /1025 bytes .* at most 1024/)
  assert.match(metaFlaw({ k: 1 }) ?? '', /under each key/)
  assert.match(metaFlaw({ '': 'v' }) ?? '', /none of them empty/)
  for (const value of [null, [], 'a']) assert.match(metaFlaw(value) ?? '', /must be an object/)
})

test.run()
