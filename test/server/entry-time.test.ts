/**
 * The time of entries, through the real shell: what jumps of the wall clock, restarts and changes of leader do to it.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, Raft } from 'balsa-raft'
import type { Logger } from 'balsa-raft'
import { BlockWriter, entryBlock, lastEntryTime, sealBlock } from '#balsa/format/block.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import type { MemoryStoreFactory } from '#balsa/storage/memory/memory-log-store.js'
import { logIndex, termOf } from '#balsa/types.js'
import { ELECTION_MS, LoneServer, StageTransport } from '../support/lone-server.js'
import { appendEntries, preVoteResult, vote } from '../support/messages.js'
import { SumMachine } from '../support/raft-cluster.js'
import type { TestRaft } from '../support/raft-cluster.js'
import { ManualClock } from '../transport/manual-clock.js'
import { setImmediate as nextTurn } from 'node:timers/promises'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const YEAR = 365 * 24 * HOUR
/** 2026-01-01, in milliseconds since 1970. */
const TODAY = 1_767_225_600_000
/** By how much, of the time that passes, entry time may be faster or slower than that. */
const SLEW = 0.05

interface Context {
  closes: (() => Promise<void>)[]
}

const test = suite<Context>('the time of entries')

test.before.each((context) => {
  context.closes = []
})
test.after.each(async (context) => {
  for (const close of context.closes) await close()
})

interface Warning {
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** A cluster of one server, whose machine's wall clock the test sets. */
class OneServer {
  readonly clock = new ManualClock()
  readonly machine = new SumMachine()
  readonly warnings: Warning[] = []
  readonly #raft: TestRaft

  private constructor(raft: TestRaft, parts: { clock: ManualClock; machine: SumMachine; warnings: Warning[] }) {
    this.#raft = raft
    this.clock = parts.clock
    this.machine = parts.machine
    this.warnings = parts.warnings
  }

  static async open(context: Context, storage: MemoryStoreFactory, wallMs: number): Promise<OneServer> {
    const clock = new ManualClock()
    clock.wallOffsetMs = wallMs - clock.now()
    const machine = new SumMachine()
    const warnings: Warning[] = []
    const quiet = (): void => {}
    const logger: Logger = {
      ...{ debug: quiet, info: quiet, error: quiet },
      warn: (event, fields = {}) => void warnings.push({ event, fields }),
    }
    const raft: TestRaft = await Raft.open({
      id: 's1',
      dir: '/s1',
      bootstrap: [{ id: 's1', address: 's1:1' }],
      transport: new StageTransport(),
      storage,
      codec: msgpackCodec(),
      stateMachine: machine,
      ...{ clock, logger },
    })
    context.closes.push(() => raft.close({ transferLeadership: false }))
    const server = new OneServer(raft, { clock, machine, warnings })
    // The first election, and time for what the log holds to be applied.
    await server.pass(3 * SECOND)
    return server
  }

  /** Time passes on both clocks, in steps as the leader's heartbeats make them. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 100) {
      this.clock.advance(Math.min(100, left))
      await turns()
    }
  }

  /** The time of an entry that is made now. */
  async entryTime(): Promise<number> {
    await this.#raft.apply({ add: 1 })
    return this.machine.applied.at(-1)?.time ?? Number.NaN
  }

  get wall(): number {
    return this.clock.wallNow()
  }

  get raft(): TestRaft {
    return this.#raft
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 4; turn += 1) await nextTurn()
}

function within(actual: number, expected: number, slack: number, message: string): void {
  assert.ok(Math.abs(actual - expected) <= slack, `${message}: ${actual}, expected ${expected} +- ${slack}`)
}

test('an hour ahead for 0.3 s, and right again, does not move entry time by an hour', async (context) => {
  const server = await OneServer.open(context, memoryStore(), TODAY)
  const before = await server.entryTime()
  server.clock.wallOffsetMs += HOUR
  await server.pass(100)
  const during = await server.entryTime()
  within(during - before, 100, 100 * SLEW + 1, 'after 0.1 s of it')
  await server.pass(200)
  server.clock.wallOffsetMs -= HOUR
  await server.pass(10 * SECOND)
  within(await server.entryTime(), server.wall, 1, 'ten seconds later')
})

test('a step back of a minute slows entry time down a little, and does not stop it', async (context) => {
  const server = await OneServer.open(context, memoryStore(), TODAY)
  const before = await server.entryTime()
  server.clock.wallOffsetMs -= MINUTE
  await server.pass(20 * SECOND)
  within((await server.entryTime()) - before, 20 * SECOND, 20 * SECOND * SLEW + 1, 'after 20 s')
  await server.pass(MINUTE / SLEW)
  within(await server.entryTime(), server.wall, 1, 'when the minute is made up for')
})

test('entries a year ahead in the log do not stop time, nor does it fall', async (context) => {
  const storage = memoryStore()
  const first = await OneServer.open(context, storage, TODAY + YEAR)
  const ahead = await first.entryTime()
  await first.raft.close({ transferLeadership: false })
  const second = await OneServer.open(context, storage, TODAY)
  const before = await second.entryTime()
  assert.ok(before >= ahead, `${before} is below ${ahead}`)
  await second.pass(20 * SECOND)
  within((await second.entryTime()) - before, 20 * SECOND, 20 * SECOND * SLEW + 1, 'after 20 s')
})

test('what passes while every server is down is told by the wall clock', async (context) => {
  const storage = memoryStore()
  const first = await OneServer.open(context, storage, TODAY)
  await first.entryTime()
  await first.raft.close({ transferLeadership: false })
  const second = await OneServer.open(context, storage, TODAY + 8 * HOUR)
  within(await second.entryTime(), second.wall, 1, 'after a night')
})

/** A block with one command, as a leader of that term would send it. */
function commandAt(index: number, term: number, time: number) {
  const writer = new BlockWriter()
  writer.begin(logIndex(index), termOf(term))
  writer.add('command', time, msgpackCodec().encode({ add: 1 }))
  return writer.finish(sealBlock)
}

test('a new leader goes on from the last entry, whatever its own wall clock says', async (context) => {
  for (const offset of [HOUR, -HOUR]) {
    const server = await LoneServer.open()
    context.closes.push(() => server.close())
    const { clock, transport, turns: settle } = server
    clock.wallOffsetMs = TODAY + offset - clock.now()
    await server.connect()
    const noop = entryBlock('noop', logIndex(2), termOf(2), TODAY, new Uint8Array(0))
    transport.handlers.onRequest('s2', 1, appendEntries(2, '1/1', [noop]))
    await settle()
    // The last entry comes half a second late.
    clock.advance(500)
    transport.handlers.onRequest('s2', 1, appendEntries(2, '2/2', [commandAt(3, 2, TODAY)]))
    await settle()
    clock.advance(ELECTION_MS)
    await settle()
    transport.handlers.onResponse('s2', 1, preVoteResult(2, true))
    await settle()
    transport.handlers.onResponse('s2', 1, vote(3, true))
    await settle()
    assert.is(server.raft.status.role, 'leader')
    const own = server.storage.disk('/s1').durable.blocks.at(-1)
    assert.is(own?.term, 3)
    const time = own === undefined ? 0 : lastEntryTime(own)
    // What passed between the two entries is known to within the rate at which entry time may differ.
    assert.ok(time >= TODAY + ELECTION_MS + 500 - 500 * SLEW - 1, `${time - TODAY} ms after the last entry`)
    assert.ok(time <= TODAY + ELECTION_MS + 500 + 1, `${time - TODAY} ms after the last entry`)
  }
})

test('each jump is counted in the status, and told in the log', async (context) => {
  const server = await OneServer.open(context, memoryStore(), TODAY)
  const jumps = (): readonly Warning[] => server.warnings.filter(({ event }) => event === 'clock.jumped')
  assert.is(server.raft.status.clock.jumps, 0)
  within(server.raft.status.clock.offsetMs, 0, 1, 'before')
  server.clock.wallOffsetMs += HOUR
  await server.pass(300)
  within(server.raft.status.clock.offsetMs, HOUR, 300, 'while it is ahead')
  assert.is(server.raft.status.clock.jumps, 1)
  assert.is(jumps().length, 1)
  assert.is(jumps()[0]?.fields['byMs'], HOUR)
  server.clock.wallOffsetMs -= HOUR
  await server.pass(10 * SECOND)
  assert.is(server.raft.status.clock.jumps, 2)
  assert.is(jumps().at(-1)?.fields['jumps'], 2)
  within(server.raft.status.clock.offsetMs, 0, 1, 'afterwards')
  server.clock.wallOffsetMs += 200
  await server.pass(10 * SECOND)
  assert.is(server.raft.status.clock.jumps, 2, 'what is small is no jump')
})

test('a clock that jumps all the time does not fill the log', async (context) => {
  const server = await OneServer.open(context, memoryStore(), TODAY)
  for (let n = 0; n < 100; n += 1) {
    server.clock.wallOffsetMs += n % 2 === 0 ? HOUR : -HOUR
    await server.pass(100)
  }
  assert.is(server.raft.status.clock.jumps, 100)
  const lines = server.warnings.filter(({ event }) => event === 'clock.jumped').length
  assert.ok(lines >= 2 && lines <= 12, `${lines} lines in ten seconds`)
})

test.run()
