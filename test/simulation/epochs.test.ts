/** That invariant 32 bites: who took no part in a recovery is not heard by whoever did, nor hears it. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { DurableView, ServerView } from '#balsa/testing/observer.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import { SealedEntries } from '#balsa/testing/simulator/doubles/sealed-entries.js'
import { Epochs } from '#balsa/testing/simulator/invariants/epochs.js'
import { matched, preVoteResult } from '../support/messages.js'

const test = suite('epochs')

const EMPTY = {
  hardState: { term: 1, votedFor: null, commitIndex: 0 },
  snapshot: null,
  lastIndex: 0,
  blocks: [],
  termAt: () => null,
}

interface Machine extends ServerView {
  epoch: number
}

const machine = (id: string, ordinal: number, epoch: number): Machine =>
  ({ id, ordinal, epoch, disk: { durable: { ...EMPTY, hardState: { ...EMPTY.hardState, term: 5 } } } }) as never

/** s1 was recovered, s2 was left behind. */
function recovered(): { readonly epochs: Epochs; readonly s1: Machine; readonly s2: Machine } {
  const [s1, s2] = [machine('s1', 0, 1), machine('s2', 1, 0)]
  const epochs = new Epochs(
    new SealedEntries(),
    () => [s1, s2],
    () => {},
  )
  epochs.recovered(s1, { ...EMPTY } as unknown as DurableView)
  return { epochs, s1, s2 }
}

function refuses(act: () => void): void {
  assert.throws(act, (error: unknown) => error instanceof Violation && error.invariant === 32)
}

test('a server hears nobody of another epoch', () => {
  const { epochs, s1, s2 } = recovered()
  refuses(() => epochs.delivered('s2', s1, matched(1, 1)))
  refuses(() => epochs.delivered('s1', s2, matched(1, 1)))
  epochs.delivered('s1', s1, matched(1, 1))
})

test('what is on its way when its sender comes anew is of the epoch in which it was sent', () => {
  const { epochs, s1, s2 } = recovered()
  const message = preVoteResult(1, false)
  epochs.booted(s2)
  epochs.sent(s2, 's1', message)
  s2.epoch = 1
  refuses(() => epochs.delivered('s2', s1, message))
  s1.epoch = 0
  epochs.delivered('s2', s1, message)
})

test.run()
