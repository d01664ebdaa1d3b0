/** What a leader takes is bounded, and the bound is asked before anything is made for what it refuses. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Codec, RaftError } from 'balsa-raft'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'
import { vote } from '../support/messages.js'
import type { Command } from '../support/raft-cluster.js'

interface Context {
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('what a leader takes')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async (context) => {
  for (const close of context.closes) await close()
})

const MIB = 1024 * 1024
const WAITING_BYTES_MAX = 16 * MIB
const UNAPPLIED_BYTES_MAX = 64 * MIB

/** Makes payloads of one size, of the same bytes, and counts how many. */
class SizedCodec implements Codec<Command> {
  encoded = 0
  readonly #bytes: Uint8Array

  constructor(bytes: number) {
    this.#bytes = new Uint8Array(bytes)
  }

  encode(): Uint8Array {
    this.encoded += 1
    return this.#bytes
  }

  decode(): Command {
    return { add: 1 }
  }
}

/** s1, which leads, with a disk that does what it should. */
async function leading(context: Context, codec: SizedCodec): Promise<LoneServer> {
  const server = await LoneServer.open(undefined, { codec })
  context.closes.push(() => server.close())
  await server.lead()
  await server.acknowledge()
  return server
}

const text = ({ code, outcome, retryable }: RaftError): string => `${code} ${outcome} ${retryable}`

test('a leader whose state machine hangs takes 64 MiB and what waits behind them, and then says so', async (context) => {
  const server = await leading(context, new SizedCodec(1_000_000))
  const { raft, machine } = server
  let release = (): void => {}
  machine.gate = new Promise((resolve) => (release = resolve))
  const refused: RaftError[] = []
  const calls: Promise<void>[] = []
  for (let count = 0; count < 200; count += 1) {
    calls.push(
      raft.apply({ add: 1 }).then(
        () => {},
        (error: RaftError) => void refused.push(error),
      ),
    )
    await server.turns()
    await server.acknowledge()
  }
  const { accepted, waitingBytes } = server.server.counters
  assert.ok(accepted * 1_000_000 <= UNAPPLIED_BYTES_MAX + MIB, `${accepted} commands of 1 MB are in the log`)
  assert.ok(accepted * 1_000_000 > UNAPPLIED_BYTES_MAX - 2 * MIB, `only ${accepted} commands of 1 MB are in the log`)
  assert.ok(waitingBytes <= WAITING_BYTES_MAX, `${waitingBytes} bytes wait`)
  assert.ok(refused.length > 100, `${refused.length} of 200 were refused`)
  for (const error of refused) assert.is(text(error), 'ERR_RAFT_OVERLOADED not-applied true')
  release()
  machine.gate = null
  for (let count = 0; count < 200 && server.server.counters.accepted > 0; count += 1) {
    await server.turns()
    await server.acknowledge()
  }
  await Promise.all(calls)
  assert.is(machine.applied.length + refused.length, 200)
  assert.equal(server.occupied, {})
})

test('many small commands that a state machine does not apply are bounded in number', async (context) => {
  const server = await leading(context, new SizedCodec(1))
  let release = (): void => {}
  server.machine.gate = new Promise((resolve) => (release = resolve))
  const { raft } = server
  const refused: RaftError[] = []
  const calls: Promise<void>[] = []
  for (let count = 0; count < 20; count += 1) {
    const list = Array.from({ length: 8000 }, () => ({ add: 1 }))
    calls.push(
      raft.applyAll(list).then(
        () => {},
        (error: RaftError) => void refused.push(error),
      ),
    )
    await server.turns()
    await server.acknowledge()
  }
  const { accepted } = server.server.counters
  assert.ok(accepted <= 65_536 + 8192, `${accepted} commands wait for the state machine`)
  assert.ok(refused.length >= 9, `${refused.length} of 20 were refused`)
  for (const error of refused) assert.is(text(error), 'ERR_RAFT_OVERLOADED not-applied true')
  release()
  server.machine.gate = null
  for (let count = 0; count < 200 && server.server.counters.accepted > 0; count += 1) {
    await server.turns()
    await server.acknowledge()
  }
  await Promise.all(calls)
  assert.equal(server.occupied, {})
})

test('what was held back for the number of callers is taken in the turn after they are answered, without any other news', async (context) => {
  const server = await leading(context, new SizedCodec(1))
  const { raft } = server
  const calls: Promise<unknown>[] = []
  // No peer answers: more and more is accepted, and then the next list waits.
  for (let count = 0; count < 20 && server.server.counters.waiting === 0; count += 1) {
    calls.push(raft.applyAll(Array.from({ length: 8000 }, () => ({ add: 1 }))))
    await server.turns()
  }
  const { accepted } = server.server.counters
  assert.ok(accepted >= 65_536, `${accepted} are accepted, and the next list waits`)
  await server.acknowledge()
  assert.is(server.machine.applied.length, accepted)
  assert.equal([server.server.counters.accepted, server.server.counters.waiting], [8000, 0])
  await server.acknowledge()
  await Promise.all(calls)
})

test('a list that never fits is too large, and not worth a second try', async (context) => {
  const codec = new SizedCodec(1)
  const { raft } = await leading(context, codec)
  const long = await failure(raft.applyAll(Array.from({ length: 20_000 }, () => ({ add: 1 }))))
  assert.is(text(long), 'ERR_RAFT_TOO_LARGE not-applied false')
  assert.match(long.message, '20000')
  assert.match(long.message, '8192')
  assert.is(codec.encoded, 0, 'the number is known before anything is encoded')
})

test('a list is encoded up to the first command that does not fit any more', async (context) => {
  const codec = new SizedCodec(MIB)
  const { raft } = await leading(context, codec)
  const heavy = await failure(raft.applyAll(Array.from({ length: 1000 }, () => ({ add: 1 }))))
  assert.is(text(heavy), 'ERR_RAFT_TOO_LARGE not-applied false')
  assert.match(heavy.message, String(WAITING_BYTES_MAX))
  assert.is(codec.encoded, 17)
})

test('commands beyond what may wait are refused before they are encoded', async (context) => {
  const codec = new SizedCodec(1_000_000)
  const { raft, server } = await leading(context, codec)
  const calls = Array.from({ length: 2000 }, () =>
    raft.apply({ add: 1 }).then(
      () => null,
      (error: RaftError) => error,
    ),
  )
  assert.ok(codec.encoded <= 18, `${codec.encoded} commands were encoded`)
  assert.ok(server.counters.waitingBytes <= WAITING_BYTES_MAX, `${server.counters.waitingBytes} bytes wait`)
  const list = raft.applyAll(Array.from({ length: 16 }, () => ({ add: 1 })))
  assert.is(text(await failure(list)), 'ERR_RAFT_OVERLOADED not-applied true')
  assert.ok(codec.encoded <= 19, `${codec.encoded} commands were encoded`)
  await raft.close({ transferLeadership: false })
  const refused = (await Promise.all(calls)).filter((error) => error?.code === 'ERR_RAFT_OVERLOADED')
  assert.ok(refused.length >= 1980, `${refused.length} were refused`)
})

test('what was refused for its bytes is taken again once others have left, however they left', async (context) => {
  const ways: Readonly<Record<string, (server: LoneServer, controller: AbortController) => void>> = {
    'their deadline': ({ clock }) => clock.advance(20),
    'their signal': (_, controller) => controller.abort(),
    'a new term': ({ transport, raft }) => transport.handlers.onResponse('s2', 1, vote(raft.status.term + 1, false)),
  }
  for (const [way, leave] of Object.entries(ways)) {
    const server = await leading(context, new SizedCodec(1_000_000))
    const controller = new AbortController()
    const options = { signal: controller.signal, timeoutMs: 10 }
    const calls = Array.from({ length: 17 }, () => failure(server.raft.apply({ add: 1 }, options)))
    assert.equal(server.server.counters.full, 1, `before ${way}: one is refused`)
    leave(server, controller)
    await server.turns()
    for (const { outcome } of await Promise.all(calls)) assert.is(outcome, 'not-applied')
    assert.equal(server.occupied, {}, `after ${way}`)
  }
})

test('a server that does not lead, or is closed, encodes nothing', async (context) => {
  const codec = new SizedCodec(1)
  const server = await LoneServer.open(undefined, { codec })
  context.closes.push(() => server.close())
  assert.is(text(await failure(server.raft.apply({ add: 1 }))), 'ERR_RAFT_NO_LEADER not-applied true')
  assert.is(text(await failure(server.raft.applyAll([{ add: 1 }]))), 'ERR_RAFT_NO_LEADER not-applied true')
  await server.close()
  assert.is(text(await failure(server.raft.apply({ add: 1 }))), 'ERR_RAFT_CLOSED not-applied false')
  assert.is(codec.encoded, 0)
})

test.run()
