/** Stores that went wrong in other engines (scenarios H2-11 and H2-15). */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore } from 'balsa-raft'
import type { LogStore, StoreFactory } from 'balsa-raft'
import { entryBlock } from '#balsa/format/block.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { FailedTicketFate } from '#balsa/storage/memory/memory-log-store.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, HardState } from '#balsa/types.js'
import { until } from '../support/until.js'

const block = (first: number, term: number): Block =>
  entryBlock('command', logIndex(first), termOf(term), 0, new Uint8Array([first, term]))

const hardState = (term: number): HardState => ({ term: termOf(term), votedFor: null, commitIndex: logIndex(0) })

function durable(store: LogStore, ticket: number): Promise<void> {
  return until(`ticket ${ticket} is durable`, () => store.poll().durable >= ticket)
}

for (const fate of ['lost', 'kept'] satisfies readonly FailedTicketFate[]) {
  test(`H2-11 after an append that failed behind a truncation, and was ${fate}, the next one follows what the disk holds`, async () => {
    const factory = memoryStore()
    const store = factory.create('/s1')
    await store.open(() => {})
    await durable(
      store,
      store.submit([
        { type: 'append', block: block(1, 1) },
        { type: 'append', block: block(2, 1) },
        { type: 'append', block: block(3, 1) },
        { type: 'hardState', hardState: hardState(1) },
      ]),
    )
    factory.disk('/s1').failTicket(1, fate)
    store.submit([
      { type: 'truncateSuffix', from: logIndex(2) },
      { type: 'append', block: block(2, 2) },
      { type: 'hardState', hardState: hardState(2) },
    ])
    await until('the store has failed', () => store.poll().fault !== null)
    assert.is(store.poll().fault?.code, 'ERR_RAFT_STORE_POISONED')
    await store.close()
    const again = factory.create('/s1')
    const { lastIndex, termRuns } = await again.open(() => {})
    const runs = termRuns.map(({ first, term }) => `${first}/${term}`)
    assert.equal([lastIndex, ...runs], fate === 'lost' ? [3, '1/1'] : [2, '1/1', '2/2'])
    await durable(again, again.submit([{ type: 'append', block: block(lastIndex + 1, 2) }]))
    await again.close()
  })
}

test('D5 a memory store that closes while its disk is full ends, as the other stores do, and what was queued is not there', async () => {
  for (const when of ['before', 'after']) {
    const factory = memoryStore()
    const store = factory.create('/s1')
    await store.open(() => {})
    factory.disk('/s1').stall()
    store.submit([{ type: 'hardState', hardState: hardState(7) }])
    if (when === 'before') await until('it is stalled', () => store.poll().stalled)
    await store.close()
    assert.is(store.poll().fault?.code, 'ERR_RAFT_STORE_FULL', when)
    factory.disk('/s1').resume()
    const again = factory.create('/s1')
    assert.is((await again.open(() => {})).hardState.term, 0, when)
    await again.close()
  }
})

const stores: readonly (readonly [string, () => StoreFactory])[] = [
  ['memory', () => memoryStore()],
  ['file', () => fileStore()],
]

for (const [name, make] of stores) {
  test(`H2-15 a fact that is absent, one that was deleted and one that is empty are told apart by the ${name} store`, async () => {
    const dir = mkdtempSync(join(tmpdir(), 'balsa-facts-'))
    try {
      const factory = make()
      const store = factory.create(dir)
      assert.is((await store.open(() => {})).facts.size, 0)
      store.submit([
        { type: 'put', key: 'empty', value: new Uint8Array(0) },
        { type: 'put', key: 'gone', value: new Uint8Array([1]) },
      ])
      await durable(store, store.submit([{ type: 'delete', key: 'gone' }]))
      await store.close()
      const again = factory.create(dir)
      const { facts } = await again.open(() => {})
      assert.equal([...facts], [['empty', new Uint8Array(0)]])
      assert.is(facts.get('absent'), undefined)
      await again.close()
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
}

test.run()
