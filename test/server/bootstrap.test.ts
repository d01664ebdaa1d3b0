/** What a server writes before it has met any other. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { systemClock } from '#balsa/clock.js'
import { settingsOf } from '#balsa/options.js'
import { openServer } from '#balsa/server/open/open-server.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'

test('the first entry has the same bytes on every server, whatever their clocks show (log matching, 5.3)', async () => {
  const bootstrap = ['a', 'b'].map((id) => ({ id, address: `${id}:1` }))
  const network = new MemoryNetwork({ clock: systemClock() })
  const storage = memoryStore()
  const firstEntryOf = async (id: string, wallMs: number): Promise<Uint8Array | undefined> => {
    const server = await openServer(
      settingsOf({
        ...{ id, dir: id, bootstrap, storage, transport: network.transport(`${id}:1`) },
        stateMachine: { apply: (batch) => batch.map(() => null) },
        logger: false,
        codec: { encode: () => new Uint8Array(0), decode: () => null },
        clock: { ...systemClock(), wallNow: () => wallMs },
      }),
    )
    await server.close()
    return storage.disk(id).durable.blocks[0]?.data
  }
  const first = await firstEntryOf('a', 1_700_000_000_000)
  assert.ok(first !== undefined)
  assert.equal(await firstEntryOf('b', 1_800_000_000_000), first)
})

test.run()
