/**
 * A record with a flag that this version does not know, as those of sessions were to a version before them: it is
 * refused on its way and in the log, and never applied as something else.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec } from 'balsa-raft'
import type { LogStore, StoreFactory } from 'balsa-raft'
import { entryBlock, sealBlock } from '#balsa/format/block.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import { appendEntries } from '../support/messages.js'
import { openSingle } from '../support/single-raft.js'
import type { AnyMachine } from '../support/single-raft.js'
import { until } from '../support/until.js'

/** Bit 1: reserved (docs/storage-format.md). */
const UNKNOWN_FLAG = 2
/** Of the first record of a block. */
const FLAGS_AT = 24 + 25

function commandWith(flags: number): Block {
  const payload = new Uint8Array(40)
  payload.set(msgpackCodec().encode({ add: 1 }), 24)
  const block = entryBlock('command', logIndex(2), termOf(2), Date.UTC(2026, 0), payload)
  block.data[FLAGS_AT] = flags
  sealBlock(block.data, 0)
  return block
}

const test = suite('flags that a version does not know')

test('a follower takes no entry with such a flag, and ends the connection of the leader that sends it', async () => {
  const server = await LoneServer.open()
  const refused: string[] = []
  server.transport.reject = (...[, reason]: readonly unknown[]) => void refused.push(String(reason))
  await server.connect()
  server.transport.handlers.onRequest('s2', 1, appendEntries(2, '1/1', [commandWith(UNKNOWN_FLAG)]))
  await server.turns()
  assert.match(refused.join(), /entries 2 \.\. 2 is damaged, or holds what this version does not know/)
  assert.equal([server.raft.status.lastIndex, server.server.fault], [1, null])
  // Of a session, which it knows.
  server.transport.handlers.onRequest('s2', 2, appendEntries(2, '1/1', [commandWith(1)]))
  await server.turns()
  assert.equal([refused.length, server.raft.status.lastIndex], [1, 2])
  await server.close()
})

/** As a version writes that gives the flag a meaning: the commands with which it is asked to have it. */
class NewerVersion {
  readonly #storage = memoryStore()
  isFlagging = false

  /** Of a version that knows no such flag. */
  get older(): StoreFactory {
    return this.#storage
  }

  get newer(): StoreFactory {
    const create = (dir: string): LogStore => {
      const store = this.#storage.create(dir)
      const seal = store.seal.bind(store)
      store.seal = (arena, offset) => {
        if (this.isFlagging) arena[offset + FLAGS_AT] = UNKNOWN_FLAG
        return seal(arena, offset)
      }
      return store
    }
    return { name: this.#storage.name, create }
  }
}

test('a server that finds such a flag in its log does not start where that is the last entry', async () => {
  const version = new NewerVersion()
  const writes = await openSingle({ apply: (batch) => batch.map(() => null) }, version.newer)
  await writes.ready()
  version.isFlagging = true
  await writes.apply('of a newer version')
  version.isFlagging = false
  const applied: unknown[] = []
  const machine: AnyMachine = { apply: (batch) => batch.map((entry) => applied.push(entry)) }
  await writes.close()
  const last = await failure(openSingle(machine, version.older))
  assert.is(last.code, 'ERR_RAFT_STORE_CORRUPT')
  assert.equal(applied, [])
})

test('a server that finds such a flag further down in its log halts before it', async () => {
  const version = new NewerVersion()
  const writes = await openSingle({ apply: (batch) => batch.map(() => null) }, version.newer)
  await writes.ready()
  await writes.apply('before')
  version.isFlagging = true
  await writes.apply('of a newer version')
  version.isFlagging = false
  await writes.apply('behind')
  await writes.close()
  const applied: unknown[] = []
  const machine: AnyMachine = { apply: (batch) => batch.map(({ command }) => applied.push(command)) }
  const reads = await openSingle(machine, version.older, { logger: false })
  await until('it has halted', () => reads.status.fault !== null)
  assert.is(reads.status.fault?.code, 'ERR_RAFT_STORE_CORRUPT')
  assert.equal(
    applied.filter((command) => command !== 'before'),
    [],
  )
  await reads.close().catch(() => {})
})

test.run()
