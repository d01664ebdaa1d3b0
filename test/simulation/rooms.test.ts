/** That invariant 31 bites: who takes what into its log where its store has said how much room there is. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftCore, Ready } from '#balsa/core/index.js'
import type { Block } from '#balsa/types.js'
import type { ServerView } from '#balsa/testing/observer.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import { RoomInvariants } from '#balsa/testing/simulator/invariants/room-invariants.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'

const test = suite('rooms')

const VIEW = { id: 's1', ordinal: 0 } as unknown as ServerView
const NOOP = makeBlock(5, 3, [0])
const BATCH = makeBlock(6, 3, [1, 2])
const OF_ANOTHER = makeBlock(5, 4, [0])
const BYTES = NOOP.data.byteLength

/** What one server takes in a turn in which it has had these roles, each in its own term. */
class Turn {
  readonly #watch = new RoomInvariants()

  take(credit: number, roles: readonly string[], blocks: readonly Block[]): void {
    const cores = roles.map((role, at) => ({ role, term: 3 + at }) as unknown as RaftCore)
    for (const core of cores) this.#watch.stepped(VIEW, core, { type: 'credit', bytes: credit })
    const operations = blocks.map((block) => ({ type: 'append', block }))
    const last = cores.at(-1)
    if (last !== undefined) this.#watch.decided(VIEW, last, { ticket: { operations } } as unknown as Ready)
  }

  refuses(credit: number, roles: readonly string[], blocks: readonly Block[]): void {
    assert.throws(
      () => this.take(credit, roles, blocks),
      (error: unknown) => error instanceof Violation && error.invariant === 31 && error.message.includes('takes'),
    )
  }
}

test('a follower takes no more than there is room for', () => {
  new Turn().take(BYTES, ['follower'], [OF_ANOTHER])
  new Turn().refuses(BYTES - 1, ['follower'], [OF_ANOTHER])
})

test('a leader takes only the no-op of its term where there is none', () => {
  new Turn().take(0, ['leader'], [NOOP])
  new Turn().take(1, ['leader'], [NOOP, BATCH])
  new Turn().refuses(0, ['leader'], [NOOP, BATCH])
})

test('one that was deposed in the turn in which it won takes its no-op, and nothing of others without room', () => {
  new Turn().take(BYTES - 1, ['leader', 'follower'], [NOOP])
  new Turn().take(BYTES, ['leader', 'follower'], [NOOP, OF_ANOTHER])
  new Turn().refuses(BYTES - 1, ['leader', 'follower'], [NOOP, OF_ANOTHER])
})

test('what it led before is nothing of its own any more', () => {
  const turns = new Turn()
  turns.take(0, ['leader', 'follower'], [NOOP])
  turns.refuses(BYTES - 1, ['follower'], [NOOP])
})

test.run()
