/** The chain of a server's own boots: what it keeps, what it shows, and when that is on the disk. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Raft } from 'balsa-raft'
import { BOOTS_KEPT, drawNonce, OwnBoots } from '#balsa/server/own-boots.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { StoredState } from '#balsa/storage/log-store.js'
import type { TransportHandlers } from '#balsa/transport/transport.js'
import type { Identity, StoreOperation } from '#balsa/types.js'
import { optionsOf, StageTransport } from '../support/lone-server.js'

const CHUNK_BYTES = 64 * 16
const nonceOf = (bootCounter: number): string => bootCounter.toString(16).padStart(32, 'a')

/** A store that is opened again and again. */
class Store {
  readonly facts = new Map<string, Uint8Array>()
  bootCounter = 0

  /** `skipped` opens end before they have written their nonce. */
  open(skipped = 0): { readonly boots: OwnBoots; readonly writes: readonly StoreOperation[] } {
    this.bootCounter += skipped + 1
    const stored = { facts: this.facts, bootCounter: this.bootCounter } as unknown as StoredState
    const boots = new OwnBoots(stored, nonceOf(this.bootCounter))
    const writes = boots.takeWrites()
    for (const write of writes) {
      if (write.type === 'put') this.facts.set(write.key, write.value)
      if (write.type === 'delete') this.facts.delete(write.key)
    }
    return { boots, writes }
  }
}

const shown = (boots: OwnBoots, peer = 's2'): readonly number[] =>
  boots.shownTo(peer).map(({ bootCounter, bootNonce }) => {
    assert.is(bootNonce, nonceOf(bootCounter))
    return bootCounter
  })

test('a peer is shown the last 16 boots, and the one that it wants to see', () => {
  const store = new Store()
  assert.equal(shown(store.open().boots), [])
  assert.equal(shown(store.open().boots), [1])
  for (let boot = 3; boot < 300; boot += 1) store.open()
  const { boots } = store.open()
  const last = Array.from({ length: 16 }, (_, at) => 284 + at)
  assert.equal(shown(boots), last)
  for (const wanted of [1, 63, 64, 65, 128, 283]) {
    boots.wants('s2', wanted)
    assert.equal(shown(boots), [wanted, ...last])
    assert.equal(shown(boots, 's3'), last)
  }
  for (const none of [0, 284, 299, 300, 301, 2 ** 53 - 1]) {
    boots.wants('s2', none)
    assert.equal(shown(boots), last)
  }
})

test('a start writes one chunk of 64 boots, and no more', () => {
  const store = new Store()
  for (let boot = 1; boot < 200; boot += 1) {
    const { writes } = store.open()
    assert.is(writes.length, 1)
    const [write] = writes
    assert.ok(write?.type === 'put' && write.value.length <= CHUNK_BYTES)
  }
})

test('a boot that ended before its nonce was written is not shown, and those around it are', () => {
  const store = new Store()
  store.open()
  store.open()
  store.open(3)
  const { boots } = store.open(70)
  assert.equal(shown(boots), [])
  boots.wants('s2', 6)
  assert.equal(shown(boots), [6])
  boots.wants('s2', 5)
  assert.equal(shown(boots), [])
})

test('the newest 2^16 boots are kept, older ones go', () => {
  const store = new Store()
  for (let chunk = 0; chunk < 1100; chunk += 1) {
    const nonces = Array.from({ length: 64 }, (_, at) => Buffer.from(nonceOf(64 * chunk + at), 'hex'))
    store.facts.set(`boots/${chunk}`, new Uint8Array(Buffer.concat(nonces)))
  }
  store.bootCounter = 64 * 1100 - 1
  const { boots } = store.open()
  const newest = store.bootCounter
  boots.wants('s2', newest - BOOTS_KEPT)
  assert.is(shown(boots)[0], newest - BOOTS_KEPT)
  assert.is(store.facts.size, BOOTS_KEPT / 64 + 1)
  boots.wants('s2', 64 * 75)
  assert.is(shown(boots).length, 16)
})

test('no two boots draw the same nonce', () => {
  const drawn = new Set(Array.from({ length: 1000 }, drawNonce))
  assert.is(drawn.size, 1000)
  for (const nonce of drawn) assert.match(nonce, /^[0-9a-f]{32}$/)
})

test('the nonce of a boot is durable before the transport starts, in the first boot and in later ones', async () => {
  // A disk that takes its time.
  const storage = memoryStore({ completion: (commit) => void setTimeout(commit, 5) })
  /** What is durable of the nonce of each boot, when its transport starts. */
  const durable: string[] = []
  const said: string[] = []
  class Asking extends StageTransport {
    override async start(self: Identity, handlers: TransportHandlers): Promise<string> {
      const chunk = storage.disk('/s1').durable.facts.get('boots/0') ?? new Uint8Array(0)
      durable.push(Buffer.from(chunk.subarray(16 * self.bootCounter)).toString('hex'))
      said.push(self.bootNonce)
      return super.start(self, handlers)
    }
  }
  for (let boot = 1; boot <= 3; boot += 1) {
    const transport = new Asking()
    const raft = await Raft.open(optionsOf(storage, transport))
    assert.equal(durable, said, 'a boot is shown before its nonce is durable')
    const { bootCounter, bootNonce, boots } = transport.handlers.introduce('s2')
    assert.equal([bootCounter, bootNonce], [boot, said.at(-1)])
    assert.equal(
      boots.map((earlier) => earlier.bootNonce),
      said.slice(0, -1),
    )
    await raft.close({ transferLeadership: false })
  }
})

test.run()
