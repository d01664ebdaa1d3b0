/**
 * Somebody at the peer port who says that it is a member, and sends what no member would: nothing of it is taken, and
 * the servers go on, also after a restart. The real member is not shut out by it.
 */

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

import { tcp } from 'balsa-raft/transport/tcp'
import { encodeHello, encodeMessage, NO_FEATURES, PROTOCOL } from 'balsa-raft/transport'
import type { Hello } from 'balsa-raft/transport'
import { TERM_JUMP_MAX } from '#balsa/core/index.js'
import type { AppendEntries } from '#balsa/core/index.js'
import { decodeBlock, entryBlock, sealBlock } from '#balsa/format/block.js'
import { writeU64 } from '#balsa/format/little-endian.js'
import { BOOT_JUMP_MAX } from '#balsa/server/peer-pins.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { type Block, logIndex, POSITION_MAX, termOf } from '#balsa/types.js'
import { freeAddresses } from '../../support/free-addresses.js'
import { TestCluster } from '../support/raft-cluster.js'
import { until } from '../support/until.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import { frameOf } from './forged-frames.js'

const NUMBERS = [2 ** 53 - 1, 2 ** 53 - 2, POSITION_MAX + 1, POSITION_MAX, TERM_JUMP_MAX + 1000]
const INCARNATION = 'e'.repeat(32)
const EMPTY = new Uint8Array(0)

/** s1 and s2 are real; whoever calls itself s3 is not, until the test opens it. */
class Attacked {
  readonly refusals: string[] = []
  readonly #cluster: TestCluster
  readonly #addresses: readonly string[]

  static async start(): Promise<Attacked> {
    const attacked = new Attacked(await freeAddresses(3))
    await attacked.reopen(['s1', 's2'])
    return attacked
  }

  private constructor(addresses: readonly string[]) {
    this.#addresses = addresses
    const silent = { debug: () => {}, error: () => {}, info: () => {} }
    this.#cluster = new TestCluster({
      sites: addresses.map((address, at) => ({ id: `s${at + 1}`, dir: `s${at + 1}`, address })),
      storage: memoryStore(),
      transportOf: ({ address }) => tcp({ listen: address, backoffMinMs: 5, backoffMaxMs: 20 }),
      logger: { ...silent, warn: (_event, fields) => void this.refusals.push(String(fields?.['reason'])) },
      extra: { heartbeatMs: 30, electionTimeoutMs: 300 },
    })
  }

  async reopen(ids: readonly string[], acceptPeerBoot: readonly string[] = []): Promise<void> {
    for (const id of ids) if (this.#cluster.servers.has(id)) await this.#cluster.close(id)
    for (const id of ids) await this.#cluster.open(id, { acceptPeerBoot })
    await this.#cluster.leader()
  }

  server(id: string) {
    return this.#cluster.server(id)
  }

  /** One more command is applied, with whoever leads. */
  async goesOn(): Promise<void> {
    await until('a command is applied', async () => {
      const leader = await this.#cluster.leader()
      return leader.apply({ add: 1 }, { timeoutMs: 5000 }).then(
        () => true,
        () => false,
      )
    })
    for (const id of ['s1', 's2']) assert.is(this.server(id).status.fault, null)
  }

  /** A connection to that server as s3 that has said hello. */
  async dial(target: string, part: Partial<Hello> = {}): Promise<Socket> {
    const socket = connect({ host: '127.0.0.1', port: Number(this.#addresses[Number(target[1]) - 1]?.split(':')[1]) })
    socket.on('error', () => {}).resume()
    await once(socket, 'connect')
    const { clusterId } = this.server(target).status
    const identity = introductionOf('s3', { clusterId, incarnation: INCARNATION, ...part })
    const hello = { ...identity, protocol: PROTOCOL, targetId: target, address: 'x:1', features: [], requires: [] }
    socket.write(Buffer.concat([MAGIC, encodeHello(hello)]))
    return socket
  }

  /** Sends a frame as s3 to both, once hands are shaken, and waits until both have hung up. */
  async forge(frame: Uint8Array): Promise<void> {
    for (const target of ['s1', 's2']) {
      const socket = await this.dial(target)
      const closed = once(socket, 'close')
      await once(socket, 'data')
      await until('the handshake is over', () => socket.bytesRead > MAGIC.length)
      await new Promise((resolve) => setImmediate(resolve))
      socket.write(frame)
      await closed
    }
  }

  close(): Promise<void> {
    return this.#cluster.closeAll()
  }
}

async function attacked(run: (attacked: Attacked) => Promise<void>): Promise<void> {
  const it = await Attacked.start()
  try {
    await run(it)
  } finally {
    await it.close()
  }
}

/** Fields of a frame, one u64 each. */
function fields(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length)
  const view = new DataView(bytes.buffer)
  values.forEach((value, at) => writeU64(view, 8 * at, value))
  return bytes
}

for (const number of NUMBERS) {
  test(`term ${number} in any request costs the connection and is taken by nobody`, async () => {
    await attacked(async (it) => {
      await it.forge(frameOf(16, fields(number, 0, 0, 0, 1, 0)))
      await it.forge(frameOf(18, fields(number, 9, 1)))
      await it.forge(frameOf(20, fields(number, 9, 1, 1)))
      await it.goesOn()
      await it.reopen(['s1', 's2'])
      await it.goesOn()
      for (const id of ['s1', 's2']) assert.ok(it.server(id).status.term < 1000, id)
    })
  })
}

test('an index or a round that nothing could follow costs the connection', async () => {
  await attacked(async (it) => {
    const { term } = it.server('s1').status
    for (const at of [1, 3, 4]) {
      const values = [term, 0, 0, 0, 1, 0]
      values[at] = POSITION_MAX + 1
      await it.forge(frameOf(16, fields(...values)))
    }
    await it.goesOn()
  })
})

/** Two entries after index 1; the second has a kind of 9. */
function ofUnknownKind(term: number): Block {
  const [one, two] = [2, 3].map((index) => entryBlock('noop', logIndex(index), termOf(term), 1, EMPTY).data)
  assert.ok(one !== undefined && two !== undefined)
  const data = new Uint8Array(one.length + 32 + 4)
  data.set(one.subarray(0, 24 + 32))
  data.set(two.subarray(24, 24 + 32), 24 + 32)
  data[24 + 32 + 24] = 9
  const view = new DataView(data.buffer)
  view.setUint32(16, 2, true)
  view.setUint32(20, 64, true)
  assert.is(sealBlock(data, 0), data.length)
  return decodeBlock(data)
}

test('entries of an unknown kind, or of a time that none could follow, are refused at the door and never stored', async () => {
  await attacked(async (it) => {
    const term = termOf(it.server('s1').status.term + 5)
    const late = entryBlock('noop', logIndex(2), term, 2 ** 48 - 1, EMPTY)
    for (const block of [ofUnknownKind(term), late]) {
      const message: AppendEntries = {
        ...{ type: 'AppendEntries', term, prevIndex: logIndex(1), prevTerm: termOf(1) },
        ...{ blocks: [block], commitIndex: logIndex(1), round: 1 },
      }
      await it.forge(encodeMessage(message, NO_FEATURES))
    }
    await it.goesOn()
    for (const id of ['s1', 's2']) assert.ok(it.server(id).entryTime < 2 ** 47, id)
    await it.reopen(['s1', 's2'])
    await it.goesOn()
  })
})

test('a boot counter that no server counts to is refused, and the real server gets in', async () => {
  for (const bootCounter of [2 ** 53 - 1, POSITION_MAX + 1, POSITION_MAX, BOOT_JUMP_MAX + 1]) {
    await attacked(async (it) => {
      const socket = await it.dial('s1', { bootCounter })
      if (!socket.closed) await once(socket, 'close')
      await it.reopen(['s3'])
      await until('s3 is connected', () =>
        it.server('s1').status.peers.some(({ id, connected }) => id === 's3' && connected),
      )
    })
  }
})

test.run()
