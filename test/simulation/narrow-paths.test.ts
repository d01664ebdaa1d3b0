/** Links with a bandwidth in the worlds: the double of them, and that each part of invariant 29 bites. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Input, RaftCore, Ready, Response } from '#balsa/core/index.js'
import type { ServerView } from '#balsa/testing/observer.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import { NarrowPath } from '#balsa/testing/simulator/doubles/narrow-path.js'
import type { Crossing } from '#balsa/testing/simulator/doubles/narrow-path.js'
import { EventQueue } from '#balsa/testing/simulator/event-queue.js'
import { ArrivingInvariants } from '#balsa/testing/simulator/invariants/arriving-invariants.js'
import { NarrowPathInvariants } from '#balsa/testing/simulator/invariants/narrow-path-invariants.js'
import { SendingInvariants } from '#balsa/testing/simulator/invariants/sending-invariants.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { drawPlan, isOnlyNarrow } from '#balsa/testing/simulator/swarm.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'
import { accepting, appendEntries, matched } from '../support/messages.js'

const TIMEOUT_MS = 100

const test = suite('narrow paths')

/** What crosses, told with the time. */
class Crossings {
  readonly queue = new EventQueue()
  readonly path: NarrowPath
  readonly told: string[] = []

  constructor(bytesPerMs: number) {
    this.path = new NarrowPath(this.queue, bytesPerMs)
  }

  add(name: string, bytes: number, wanted = { isWanted: true }, yields = false): void {
    const tell = (what: string) => (): void => void this.told.push(`${this.queue.now} ${name} ${what}`)
    const crossing: Crossing = {
      ...{ bytes, yields },
      get isWanted() {
        return wanted.isWanted
      },
      crossedInPart: tell('in part'),
      crossed: tell('is over'),
      lost: tell('is lost'),
    }
    this.path.add(crossing)
  }

  /** Until nothing is left, or it is so late. */
  run(untilMs = Infinity): void {
    for (let next = this.queue.next(); next !== null; next = this.queue.next()) {
      next.happen()
      if (this.queue.now >= untilMs) return
    }
  }
}

test('one message crosses after the other, and what is long is told of every 20 ms, if 1 KiB has come', () => {
  const fast = new Crossings(100)
  fast.add('a', 5000)
  fast.add('b', 1000)
  assert.is(fast.path.waitMs, 60)
  fast.run()
  assert.equal(fast.told, ['20 a in part', '40 a in part', '50 a is over', '60 b is over'])
  assert.is(fast.path.waitMs, 0)
  const slow = new Crossings(1)
  slow.add('a', 3000)
  slow.run()
  assert.equal(slow.told, ['1024 a in part', '2048 a in part', '3000 a is over'])
})

test('a frame of a channel yields to messages after each of its parts, and goes on behind them', () => {
  const crossings = new Crossings(100)
  crossings.add('frame', 5000, { isWanted: true }, true)
  crossings.add('a', 1000)
  crossings.add('b', 500)
  assert.is(crossings.path.waitMs, 15, 'what yields keeps nobody waiting')
  crossings.run()
  const before = ['20 frame in part', '30 a is over', '35 b is over']
  assert.equal(crossings.told, [...before, '55 frame in part', '65 frame is over'])
})

test('what nobody waits for any more takes no time; a path that is mended carries the rest at once', () => {
  const crossings = new Crossings(1)
  const wanted = { isWanted: true }
  crossings.add('a', 2000, wanted)
  crossings.add('b', 100_000, wanted)
  crossings.add('c', 3000)
  crossings.run(1024)
  wanted.isWanted = false
  crossings.run(3024)
  crossings.path.mend()
  crossings.run()
  assert.equal(crossings.told, ['1024 a in part', '3024 c in part', '3024 c is over'])
  assert.is(crossings.path.waitMs, 0)
})

test('what a machine without power had not sent is lost, all of it', () => {
  const crossings = new Crossings(1)
  crossings.add('a', 2000)
  crossings.add('b', 1)
  crossings.run(1024)
  crossings.path.lose()
  crossings.run()
  assert.equal(crossings.told, ['1024 a in part', '1024 a is lost', '1024 b is lost'])
  assert.is(crossings.path.waitMs, 0)
})

/** A server of which only what the invariants look at is there. */
interface Puppet {
  role: string
  term: number
  commitTerm: number
  leader: { readonly id: string } | null
  hardStateIsDurable: boolean
}

function puppet(
  id: string,
  ordinal: number,
  state: Partial<Puppet> = {},
): { readonly view: ServerView; core: RaftCore } {
  const { role = 'follower', term = 2, commitTerm = term, leader = { id: 's1' }, hardStateIsDurable = true } = state
  const core = {
    role,
    term,
    leader,
    tickets: { hardStateIsDurable },
    log: { commitIndex: 3, termAt: () => commitTerm },
  }
  return { view: { id, ordinal } as unknown as ServerView, core: core as unknown as RaftCore }
}

const ready = (messages: readonly object[] = [], events: readonly object[] = []): Ready =>
  ({ messages, events }) as unknown as Ready

const answer = { kind: 'response', link: 0, message: matched(2, 2) }
const part: Input = { type: 'arriving', from: 's1', link: 0 }
const turn = (now: number): Input => ({ type: 'turn', now })

function breaks(act: () => void, says: RegExp): void {
  assert.throws(
    act,
    (error: unknown) => error instanceof Violation && error.invariant === 29 && says.test(error.message),
  )
}

/** s2 follows s1 and has been told of a part, at 10 ms. */
function toldOfAPart(state: Partial<Puppet> = {}): {
  readonly watch: ArrivingInvariants
  decide(now: number, role: string, messages?: readonly object[]): void
} {
  const watch = new ArrivingInvariants(TIMEOUT_MS)
  const { view, core } = puppet('s2', 1, state)
  watch.booted(view)
  watch.stepped(view, core, turn(10))
  watch.stepped(view, core, part)
  return {
    watch,
    decide(now, role, messages = []) {
      watch.stepped(view, core, turn(now))
      watch.decided(view, puppet('s2', 1, { ...state, role }).core, ready(messages))
    },
  }
}

test('who is told of a part of its leader’s message answers in that turn, unless it has a term to write', () => {
  breaks(() => toldOfAPart().decide(10, 'follower'), /s2 says nothing to its leader/)
  toldOfAPart().decide(10, 'follower', [answer])
  toldOfAPart({ hardStateIsDurable: false }).decide(10, 'follower')
  toldOfAPart({ leader: { id: 's3' } }).decide(10, 'follower')
})

test('nobody calls for an election within an election timeout of such a part', () => {
  const early = toldOfAPart()
  early.decide(10, 'follower', [answer])
  breaks(() => early.decide(10 + TIMEOUT_MS - 1, 'preCandidate'), /s2 calls for an election 99 ms after/)
  const late = toldOfAPart()
  late.decide(10, 'follower', [answer])
  late.decide(10 + TIMEOUT_MS, 'preCandidate')
})

class Sending {
  readonly #watch = new SendingInvariants()
  readonly #s1 = puppet('s1', 0, { role: 'leader' })

  constructor() {
    this.#watch.booted(this.#s1.view)
    this.connect(1)
  }

  connect(session: number): void {
    this.#watch.stepped(this.#s1.view, this.#s1.core, {
      type: 'peerUp',
      peer: 's2',
      session,
      store: { incarnation: 's2', hasJoined: false },
    })
  }

  /** The entries first .. last, in that round. */
  send(first: number, last: number, round: number, term = 2): void {
    const blocks = [
      makeBlock(
        first,
        term,
        Array.from({ length: last - first + 1 }, (_, at) => at),
      ),
    ]
    this.#watch.sent(this.#s1.view, 's2', appendEntries(term, `${first - 1}/2`, blocks, 0, round))
  }

  hear(message: Response, session = 1): void {
    this.#watch.stepped(this.#s1.view, this.#s1.core, { type: 'response', from: 's2', session, message })
  }
}

const refused = (status: 'busy' | 'conflict', round: number): Response => ({ ...matched(2, 2, round), status })

test('what was sent is sent again when an answer has refused it, or was made later and does not have it', () => {
  for (const heard of [refused('busy', 5), refused('conflict', 5), matched(2, 2, 6)]) {
    const sending = new Sending()
    sending.send(3, 4, 5)
    sending.hear(heard)
    sending.send(3, 4, 7)
  }
  const reconnected = new Sending()
  reconnected.send(3, 4, 5)
  reconnected.connect(2)
  reconnected.send(3, 4, 5)
  const again = new Sending()
  again.send(3, 4, 5)
  again.send(3, 4, 0, 3)
})

test('nothing is sent again because time has passed, an answer is older, or speaks of what is before or elsewhere', () => {
  const nothing = [
    matched(2, 2, 5),
    matched(2, 3, 5),
    accepting(4, matched(2, 2, 9)),
    refused('busy', 4),
    refused('conflict', 4),
  ]
  for (const heard of [null, ...nothing]) {
    const sending = new Sending()
    sending.send(3, 4, 5)
    if (heard !== null) sending.hear(heard)
    breaks(() => sending.send(4, 4, 7), /s1 sends 4 \.\. 4 to s2 again/)
  }
  const older = new Sending()
  older.send(3, 4, 5)
  older.hear(refused('busy', 9), 0)
  breaks(() => older.send(3, 4, 9), /again/)
  const twice = new Sending()
  twice.send(3, 4, 5)
  twice.hear(refused('busy', 5))
  twice.send(3, 4, 6)
  twice.hear(refused('busy', 5))
  breaks(() => twice.send(3, 4, 7), /again/)
})

/** s1 leads term 2, and s2 follows it, from 0 ms on; the path between them is narrow since then. */
interface NarrowWorld {
  readonly watch: NarrowPathInvariants
  readonly clock: { now: number }
  readonly path: { waitMs: number }
}

function narrowWorld(waitMs: number): NarrowWorld {
  const clock = { now: 0 }
  const path = { since: 0, waitMs, bytesPerMs: 1000 }
  const site = { electionTimeoutMs: TIMEOUT_MS, now: () => clock.now, narrowPath: () => path as unknown as NarrowPath }
  const watch = new NarrowPathInvariants(site)
  const leader = puppet('s1', 0, { role: 'leader' })
  watch.decided(leader.view, puppet('s1', 0, { role: 'leader', commitTerm: 1 }).core, ready())
  watch.decided(leader.view, leader.core, ready())
  const follower = puppet('s2', 1)
  watch.decided(follower.view, follower.core, ready())
  return { watch, clock, path }
}

test('a leader that is followed stays, and nobody who follows it calls for an election, until others are broken', () => {
  const steppedDown = ready([], [{ type: 'steppedDown', term: 2, reason: 'no quorum' }])
  const leader = puppet('s1', 0)
  const asking = puppet('s2', 1, { role: 'preCandidate' })
  breaks(
    () => narrowWorld(0).watch.decided(leader.view, leader.core, steppedDown),
    /s1 steps down from term 2.*no quorum/,
  )
  breaks(() => narrowWorld(0).watch.decided(asking.view, asking.core, ready()), /s2 calls for an election/)
  const { watch } = narrowWorld(0)
  const stranger = puppet('s3', 2, { role: 'preCandidate', leader: null })
  watch.decided(stranger.view, stranger.core, ready())
  watch.healed()
  watch.decided(leader.view, leader.core, steppedDown)
})

test('a leader sends no more than crosses in an election timeout, or a block, once the path could be measured', () => {
  const [heartbeat, entries] = [appendEntries(2, '2/2', []), appendEntries(2, '2/2', [makeBlock(3, 2, [1])])]
  const { view } = puppet('s1', 0)
  const most = TIMEOUT_MS + 65
  for (const [waitMs, at, isLate] of [
    [most, 10_000, false],
    [most + 1, 10_000, true],
    [300, 3 * 300 + 2 * TIMEOUT_MS, false],
    [300, 3 * 300 + 2 * TIMEOUT_MS + 1, true],
  ] as const) {
    const { watch, clock } = narrowWorld(waitMs)
    clock.now = at
    const send = (): void => watch.sent(view, 's2', entries)
    if (isLate) breaks(send, /what s1 sends s2 waits/)
    else send()
    // It may stand behind what left before the path was known.
    watch.sent(view, 's2', heartbeat)
  }
})

test('a path is measured from when something last met it without load', () => {
  const { view } = puppet('s1', 0)
  for (const met of [appendEntries(2, '2/2', []), appendEntries(2, '2/2', [makeBlock(3, 2, [1])])]) {
    const { watch, clock, path } = narrowWorld(TIMEOUT_MS / 4)
    clock.now = 10_000
    watch.sent(view, 's2', met)
    path.waitMs = 300
    clock.now += 3 * 300 + 2 * TIMEOUT_MS
    const send = (): void => watch.sent(view, 's2', appendEntries(2, '2/2', [makeBlock(3, 2, [1])]))
    send()
    clock.now += 1
    breaks(send, /what s1 sends s2 waits/)
  }
})

test('worlds in which only paths are narrow have long messages, and one leader', async () => {
  const seeds = Array.from({ length: 200 }, (_, at) => at + 1).filter((seed) => isOnlyNarrow(drawPlan(seed)))
  assert.ok(seeds.length >= 5, `${seeds.length} of 200`)
  let parts = 0
  for (const seed of seeds.slice(0, 2)) {
    const { failure, reached } = await simulate({ seed, steps: 3000 })
    if (failure !== null) throw failure
    parts += reached.get('part of a message has arrived') ?? 0
  }
  assert.ok(parts > 0)
})

test.run()
