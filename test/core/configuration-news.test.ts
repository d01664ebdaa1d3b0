/** M16 When a server says of itself that it was removed: never because of a removal of its past. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ConfigurationNews } from '#balsa/core/configuration-news.js'
import { Outbox } from '#balsa/core/outbox.js'
import { RaftLog } from '#balsa/core/raft-log.js'
import { NO_SERVERS } from '#balsa/core/role.js'
import { logIndex, termOf } from '#balsa/types.js'
import { makeBlock, stageBlockMaker } from '#balsa/testing/stage/blocks.js'
import { votersOnly } from '#balsa/testing/stage/stage.js'

const WITH = votersOnly(['s1', 's2'])
const WITHOUT = votersOnly(['s2'])

/** Server s1, fed with its removal at 2; what it knows to be committed, and what of that it has. */
class Subject {
  readonly log = new RaftLog(
    {
      firstIndex: logIndex(1),
      prevTerm: termOf(0),
      lastIndex: logIndex(1),
      commitIndex: logIndex(1),
      termRuns: [{ first: logIndex(1), term: termOf(1) }],
      configurations: [{ index: logIndex(1), configuration: WITH }],
      snapshot: null,
      appliedIndex: logIndex(0),
    },
    stageBlockMaker,
  )
  readonly #outbox = new Outbox()
  readonly #news = new ConfigurationNews('s1', this.log, this.#outbox)

  constructor() {
    this.log.append(stageBlockMaker.configuration(logIndex(2), termOf(1), WITHOUT))
  }

  append(index: number, configuration = WITH): void {
    const at = logIndex(index)
    const block = stageBlockMaker.configuration(at, termOf(1), configuration)
    this.log.append(configuration === WITHOUT ? makeBlock(at, termOf(1), [0]) : block)
  }

  /** A turn in which a leader says what it has committed, and this server has everything up to `commit` of it. */
  turn(heard: number, commit: number): readonly number[] {
    this.log.heardCommit(logIndex(heard))
    this.log.commitTo(logIndex(commit))
    this.#news.tell(NO_SERVERS, false)
    const { events } = this.#outbox.drain(null, null, null)
    return events.flatMap((event) => (event.type === 'removed' ? [event.index] : []))
  }
}

test('a removal that is the newest of what is committed is told, once', () => {
  const subject = new Subject()
  assert.equal(subject.turn(1, 1), [])
  assert.equal(subject.turn(2, 2), [2])
  assert.equal(subject.turn(2, 2), [])
})

test('one behind which more is committed is told when that is here, and is none of a member', () => {
  const subject = new Subject()
  assert.equal(subject.turn(3, 2), [])
  subject.append(3, WITHOUT)
  assert.equal(subject.turn(3, 3), [2])
})

test('one that is followed by an addition is never told, whatever is known to be committed', () => {
  const subject = new Subject()
  assert.equal(subject.turn(3, 2), [])
  subject.append(3)
  assert.equal(subject.turn(3, 3), [])
  assert.equal(subject.turn(4, 3), [])
})

test('nor while an addition is in the log that is not committed; when that is taken back, it is', () => {
  const subject = new Subject()
  subject.append(3)
  assert.equal(subject.turn(2, 2), [])
  subject.log.truncateSuffix(logIndex(3))
  assert.equal(subject.turn(2, 2), [2])
})

test.run()
