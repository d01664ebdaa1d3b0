/** That invariant 3 bites: nobody that knew a server before it has forgotten listens to it. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerView } from '#balsa/testing/observer.js'
import { ElectionInvariants } from '#balsa/testing/invariants/election-invariants.js'
import { Truth } from '#balsa/testing/invariants/truth.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import { SealedEntries } from '#balsa/testing/simulator/doubles/sealed-entries.js'
import { preVoteResult } from '../support/messages.js'

const test = suite('forgetful')

const [s1, s2] = ['s1', 's2'].map((id, ordinal) => ({ id, ordinal }) as unknown as ServerView)
const answer = preVoteResult(1, false)

/** s1 has forgotten. */
function forgotten(): ElectionInvariants {
  const watch = new ElectionInvariants(new Truth(new SealedEntries()))
  watch.forgot(s1 as ServerView)
  return watch
}

function refuses(act: () => void): void {
  assert.throws(act, (error: unknown) => error instanceof Violation && error.invariant === 3)
}

test('it sends nothing to one that has not forgotten as well', () => {
  const watch = forgotten()
  refuses(() => watch.sent(s1 as ServerView, 's2', answer))
  watch.forgot(s2 as ServerView)
  watch.sent(s1 as ServerView, 's2', answer)
})

test('a clone of an older copy may hear it, and the server of which it is one may not', () => {
  const watch = forgotten()
  watch.cloned(s2 as ServerView)
  watch.sent(s1 as ServerView, 's2', answer)
  refuses(() => watch.delivered('s1', s2 as ServerView, answer))
  watch.delivered('s1', s2 as ServerView, preVoteResult(1, true))
})

test.run()
