/**
 * Entry time over random days: three servers, whose wall clocks are set at random and whose monotonic clocks began at
 * different times, take turns in leading one log. Real time is the judge.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { entryBlock } from '#balsa/format/block.js'
import { EntryClock } from '#balsa/server/entry-clock.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, Logger } from '#balsa/types.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'
import type { Random } from '../support/seed.js'
import { ManualClock } from '../transport/manual-clock.js'

const TODAY = 1_767_225_600_000
const SLEW = 0.05
/** The longest step in which time passes here; after a longer one the wall clock is trusted for this long at most. */
const STEP_MS_MAX = 1000
const DATE_JUMP_MS_MAX = 10 * 365 * 86_400_000
const STEPS = 2000
const RUNS = 40

const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const nothing = new Uint8Array(0)

class Machine {
  readonly clock = new ManualClock()
  entryClock: EntryClock
  lastBlock: Block | null = null

  constructor(random: Random) {
    this.clock.advance(below(random, 1e9))
    this.clock.wallOffsetMs = TODAY - this.clock.now()
    this.entryClock = new EntryClock(this.clock, quiet, 0)
  }

  /** A wall clock that is set wrong; mostly by little, at times by years, and sometimes to what is no date. */
  setDate(random: Random): void {
    const most = pick(random, [10, 1000, 60_000, 3_600_000, DATE_JUMP_MS_MAX])
    this.clock.wallOffsetMs += (random() * 2 - 1) * most
    if (below(random, 100) === 0) this.clock.wallOffsetMs = pick(random, [Number.NaN, -1e15, 1e15, Infinity])
  }
}

const test = suite('entry time')

function run(seed: number): void {
  const random = randomFrom(seed)
  const machines = [new Machine(random), new Machine(random), new Machine(random)]
  let leader = machines[0] as Machine
  let index = 0
  let last: { readonly time: number; readonly at: number } | null = null
  let now = 0
  for (let step = 0; step < STEPS; step += 1) {
    const ms = below(random, 10) === 0 ? below(random, STEP_MS_MAX) : random() * 20
    now += ms
    for (const { clock } of machines) clock.advance(ms)
    if (below(random, 20) === 0) pick(random, machines).setDate(random)
    // The newest entry is everywhere before another server leads: a majority has it, and who has it is elected.
    if (below(random, 50) === 0) leader = pick(random, machines)
    const isMade = below(random, 3) === 0
    if (isMade) {
      const time = leader.entryClock.next(leader.lastBlock)
      if (last !== null) {
        const passed = now - last.at
        assert.ok(time >= last.time, `step ${step}: entry time falls from ${last.time} to ${time}`)
        // To within the grain of a whole millisecond at both ends.
        const [least, most] = [passed * (1 - SLEW) - 2, passed * (1 + SLEW) + 2]
        const grown = time - last.time
        assert.ok(grown >= least && grown <= most, `step ${step}: ${grown} ms of entry time in ${passed} ms`)
      }
      last = { time, at: now }
      index += 1
      const block = entryBlock('noop', logIndex(index), termOf(1), time, nothing)
      for (const machine of machines) machine.lastBlock = block
    }
    for (const machine of machines) machine.entryClock.look(machine.lastBlock, machine === leader)
  }
}

test('never falls, and passes as real time does to within a twentieth, whatever the dates and whoever leads', () => {
  const seed = drawSeed()
  for (let at = 0; at < RUNS; at += 1) {
    try {
      run(seed + at)
    } catch (error) {
      throw new Error(`BALSA_SEED=${seed + at} npm test -- server/entry-clock: ${String(error)}`, { cause: error })
    }
  }
})

function started(
  newest: number,
  wallMs: number,
): { clock: ManualClock; entryClock: EntryClock; leads(ms: number): number } {
  const clock = new ManualClock()
  clock.wallOffsetMs = wallMs - clock.now()
  const entryClock = new EntryClock(clock, quiet, newest)
  const leads = (ms: number): number => {
    for (let left = ms; left > 0; left -= 100) {
      clock.advance(Math.min(left, 100))
      entryClock.look(null, true)
    }
    return entryClock.next(null)
  }
  return { clock, entryClock, leads }
}

test('what is made up for is made up for in finite time, from both sides', () => {
  for (const wrong of [60_000, -60_000]) {
    const { clock, leads } = started(0, TODAY)
    clock.wallOffsetMs += wrong
    leads(60_000 / SLEW)
    const time = leads(100)
    assert.ok(Math.abs(time - clock.wallNow()) <= 1, `still ${time - clock.wallNow()} ms away`)
  }
})

test('a pause of the event loop does not let a wrong date through', () => {
  const { clock, entryClock } = started(0, TODAY)
  entryClock.look(null, true)
  const before = entryClock.next(null)
  clock.advance(3_600_000)
  clock.wallOffsetMs += 86_400_000
  entryClock.look(null, true)
  assert.ok(entryClock.next(null) - before <= 3_600_000 + 1000 * SLEW + 1)
})

test('no entry that a leader makes is given less than it has told before', () => {
  const machine = new Machine(randomFrom(1))
  const { clock, entryClock } = machine
  machine.lastBlock = entryBlock('noop', logIndex(1), termOf(1), entryClock.next(null), nothing)
  entryClock.look(machine.lastBlock, true)
  clock.wallOffsetMs -= 60_000
  for (let step = 0; step < 100; step += 1) {
    clock.advance(step % 90)
    const told = entryClock.now
    const given = entryClock.next(machine.lastBlock)
    assert.ok(given >= told, `${told} was told, and ${given} given`)
    entryClock.look(machine.lastBlock, true)
  }
})

test('the end of what an entry can hold is not passed', () => {
  const end = 2 ** 48 - 1
  const { leads } = started(end - 50, TODAY)
  assert.is(leads(1000), end)
  assert.is(leads(1000), end)
})

test('entries that were replaced prove nothing of the time', () => {
  const { clock, entryClock, leads } = started(TODAY, TODAY)
  const block = (term: number, time: number): Block => entryBlock('noop', logIndex(2), termOf(term), time, nothing)
  entryClock.look(block(2, TODAY + 86_400_000), false)
  assert.is(entryClock.now, TODAY + 86_400_000)
  clock.advance(1000)
  entryClock.look(block(3, TODAY + 990), false)
  assert.is(entryClock.now, TODAY + 990)
  assert.is(leads(1000), TODAY + 1990 + 10)
})

test('a follower that comes back with a wrong date goes by what its leader sends', () => {
  const { clock, entryClock } = started(TODAY, TODAY + 3_600_000)
  assert.is(entryClock.now, TODAY + 3_600_000)
  clock.advance(1000)
  entryClock.look(entryBlock('noop', logIndex(2), termOf(2), TODAY + 1000, nothing), false)
  assert.is(entryClock.now, TODAY + 1000)
  clock.advance(500)
  entryClock.look(entryBlock('noop', logIndex(3), termOf(2), TODAY + 1200, nothing), false)
  // Half a second has passed since the first, however late the second came.
  assert.is(entryClock.now, TODAY + 1000 + 500 * (1 - SLEW))
})

test.run()
