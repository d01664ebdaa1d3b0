/** A peer may send anything that decodes. The core never throws because of it, and believes none of it. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { logIndex, POSITION_MAX, STORED_MAX, termOf } from '#balsa/types.js'
import { assertInvariants, TERM_JUMP_MAX } from '#balsa/core/index.js'
import type { AppendEntries, AppendEntriesResult, Input, Request, Response } from '#balsa/core/index.js'
import { Stage } from '#balsa/testing/stage/stage.js'
import { isRequest } from '#balsa/testing/stage/stage-network.js'
import { makeBlock } from '#balsa/testing/stage/blocks.js'

const BAD_NUMBERS = [NaN, Infinity, -1, 1.5, POSITION_MAX + 1, 2 ** 53 - 2, 2 ** 53 - 1, 2 ** 53, 2 ** 60]

const append: AppendEntries = {
  type: 'AppendEntries',
  term: termOf(2),
  prevIndex: logIndex(2),
  prevTerm: termOf(2),
  blocks: [makeBlock(3, 2, [7])],
  commitIndex: logIndex(2),
  round: 1,
}

const heartbeat: AppendEntries = { ...append, blocks: [] }

const requests: readonly Request[] = [
  append,
  { ...append, blocks: [] },
  { type: 'RequestVote', term: termOf(3), lastIndex: logIndex(9), lastTerm: termOf(2) },
  { type: 'PreVote', proposedTerm: termOf(3), lastIndex: logIndex(9), lastTerm: termOf(2), round: 1 },
  { type: 'TimeoutNow', term: termOf(2), lastIndex: logIndex(2), lastTerm: termOf(2) },
]

const matched: AppendEntriesResult = {
  type: 'AppendEntriesResult',
  term: termOf(2),
  status: 'matched',
  matchIndex: logIndex(2),
  hintIndex: logIndex(0),
  hintTerm: termOf(0),
  round: 1,
}

const result: Response = matched

const responses: readonly Response[] = [
  result,
  { ...result, status: 'busy' },
  { ...result, status: 'conflict', matchIndex: logIndex(0), hintIndex: logIndex(1), hintTerm: termOf(1) },
  { type: 'RequestVoteResult', term: termOf(2), granted: true },
  { type: 'PreVoteResult', term: termOf(2), granted: true, round: 1 },
]

/** The message once for each number in it and each bad value. */
function spoiled<M extends object>(message: M): readonly M[] {
  const fields = Object.entries(message).filter(([, value]) => typeof value === 'number')
  return fields.flatMap(([field]) => BAD_NUMBERS.map((bad) => ({ ...message, [field]: bad })))
}

interface Situation {
  readonly cluster: Stage
  readonly id: string
}

/** One server in each role. What is fed to it changes nothing, so one cluster serves for everything. */
function eachRole(): readonly Situation[] {
  const follower = new Stage()
  follower.elect('s1')
  const leader = new Stage()
  leader.elect('s1')
  const preCandidate = new Stage()
  preCandidate.timeout('s1')
  const candidate = new Stage()
  candidate.timeout('s1')
  candidate.deliver()
  candidate.deliver()
  assert.is(candidate.core('s1').role, 'candidate')
  return [
    { cluster: follower, id: 's2' },
    { cluster: leader, id: 's1' },
    { cluster: preCandidate, id: 's1' },
    { cluster: candidate, id: 's1' },
  ]
}

function feed(cluster: Stage, id: string, input: Input): void {
  const core = cluster.core(id)
  const { term, role } = core
  const { commitIndex, lastIndex } = core.log
  const what = `${role} fed ${JSON.stringify(input)}`
  cluster.turn(id, input)
  assertInvariants(core)
  assert.is(core.term, term, what)
  assert.is(core.log.commitIndex, commitIndex, what)
  assert.is(core.log.lastIndex, lastIndex, what)
}

test('a request with a number out of range changes nothing, throws nothing and costs the link', () => {
  const situations = eachRole()
  for (const request of requests) {
    for (const message of spoiled(request)) {
      for (const { cluster, id } of situations) {
        const { length } = cluster.faults
        feed(cluster, id, { type: 'request', from: 's3', link: 0, message })
        assert.is(cluster.faults.length, length + 1, JSON.stringify(message))
      }
    }
  }
})

test('a response with a number out of range changes nothing, throws nothing and is reported', () => {
  const situations = eachRole()
  for (const response of responses) {
    for (const message of spoiled(response)) {
      for (const { cluster, id } of situations) {
        const { length } = cluster.faults
        const session = cluster.server(id).sessions.get('s3') ?? 0
        feed(cluster, id, { type: 'response', from: 's3', session, message })
        assert.is(cluster.faults.length, length + 1, JSON.stringify(message))
      }
    }
  }
})

test('blocks that do not follow each other, or of a term that cannot be, are refused as a whole', () => {
  const block = makeBlock(3, 2, [7])
  const bad = [
    [makeBlock(4, 2, [7])],
    [block, block],
    [block, makeBlock(5, 2, [8])],
    [makeBlock(3, 1, [7])],
    [makeBlock(3, 3, [7])],
    [{ ...block, last: logIndex(2) }],
    [{ ...block, last: logIndex(NaN) }],
    [{ ...block, last: logIndex(3.5) }],
    [{ ...block, term: termOf(NaN) }],
    [{ ...block, first: logIndex(NaN) }],
  ]
  const situations = eachRole()
  for (const blocks of bad) {
    for (const { cluster, id } of situations) {
      const { length } = cluster.faults
      feed(cluster, id, { type: 'request', from: 's3', link: 0, message: { ...append, blocks } })
      assert.is(cluster.faults.length, length + 1, JSON.stringify(blocks))
    }
  }
})

test('an entry after one of a later term than its leader is in is refused', () => {
  const message = { ...append, prevTerm: termOf(3), blocks: [] }
  for (const { cluster, id } of eachRole()) {
    feed(cluster, id, { type: 'request', from: 's3', link: 0, message })
    assert.is(cluster.faults.length, 1, id)
  }
})

test('entries after the largest index that there is are refused, since nothing could follow them', () => {
  const message = { ...append, prevIndex: logIndex(POSITION_MAX), blocks: [] }
  for (const { cluster, id } of eachRole()) {
    feed(cluster, id, { type: 'request', from: 's3', link: 0, message })
    assert.is(cluster.faults.length, 1, id)
  }
})

/** Every message that carries a term, in that term. */
function inTerm(term: number): readonly (Request | Response)[] {
  return [
    { ...heartbeat, term: termOf(term) },
    { type: 'RequestVote', term: termOf(term), lastIndex: logIndex(9), lastTerm: termOf(2) },
    { type: 'PreVote', proposedTerm: termOf(term), lastIndex: logIndex(9), lastTerm: termOf(2), round: 1 },
    { type: 'TimeoutNow', term: termOf(term), lastIndex: logIndex(9), lastTerm: termOf(2) },
    { ...matched, term: termOf(term) },
    { type: 'RequestVoteResult', term: termOf(term), granted: false },
    { type: 'PreVoteResult', term: termOf(term), granted: false, round: 1 },
  ]
}

function inputOf(cluster: Stage, id: string, message: Request | Response): Input {
  if (isRequest(message)) return { type: 'request', from: 's3', link: 0, message }
  return { type: 'response', from: 's3', session: cluster.server(id).sessions.get('s3') ?? 0, message }
}

test('a term that no election can have reached is refused, whatever message carries it to whatever role', () => {
  for (const { cluster, id } of eachRole()) {
    for (const term of [cluster.core(id).term + TERM_JUMP_MAX + 1, POSITION_MAX]) {
      for (const message of inTerm(term)) {
        const { length } = cluster.faults
        feed(cluster, id, inputOf(cluster, id, message))
        assert.is(cluster.faults.length, length + 1, JSON.stringify(message))
      }
    }
  }
})

test('the highest term that elections may have reached is taken, and elections go on from it', () => {
  const cluster = new Stage({ madeUp: true })
  cluster.elect('s1')
  const term = termOf(cluster.core('s2').term + TERM_JUMP_MAX)
  cluster.turn('s1', inputOf(cluster, 's1', { type: 'RequestVoteResult', term, granted: false }))
  assert.is(cluster.core('s1').term, term)
  assert.equal(cluster.faults, [])
  cluster.run(5000)
  assert.is(cluster.leader?.up.term, term + 1)
})

test('a server whose term is the largest that is taken goes on, alone or not', () => {
  for (const servers of [1, 3]) {
    const hardStates = Object.fromEntries(['s1', 's2', 's3'].map((id) => [id, { term: termOf(POSITION_MAX - 1) }]))
    const cluster = new Stage({ madeUp: true, servers, hardStates })
    if (servers > 1)
      cluster.turn(
        's1',
        inputOf(cluster, 's1', { type: 'RequestVoteResult', term: termOf(POSITION_MAX), granted: false }),
      )
    cluster.run(20_000)
    for (const id of cluster.ids) assert.ok(cluster.core(id).term <= STORED_MAX, id)
  }
})

test('an entry of term 0 is refused, because no leader ever had that term', () => {
  const cluster = new Stage()
  const message = {
    ...append,
    term: termOf(1),
    prevIndex: logIndex(0),
    prevTerm: termOf(0),
    blocks: [makeBlock(1, 0, [7])],
  }
  feed(cluster, 's1', { type: 'request', from: 's3', link: 0, message: { ...message, commitIndex: logIndex(0) } })
  assert.is(cluster.faults.length, 1)
})

test('a leader does not commit what a peer claims beyond the end of the log', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  const session = cluster.server('s1').sessions.get('s3') ?? 0
  const before = cluster.core('s1').log.commitIndex
  cluster.turn('s1', { type: 'response', from: 's3', session, message: { ...result, matchIndex: logIndex(99) } })
  assert.is(cluster.core('s1').log.commitIndex, before)
  assert.is(cluster.faults.length, 1)
})

test('a second leader of a term is refused, and the entries of the first stay', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  feed(cluster, 's2', { type: 'request', from: 's3', link: 0, message: append })
  feed(cluster, 's1', { type: 'request', from: 's3', link: 0, message: append })
  assert.is(cluster.faults.length, 2)
})

test('a leader that would replace a committed entry is refused', () => {
  const cluster = new Stage()
  cluster.elect('s1')
  cluster.propose('s1')
  cluster.settle()
  cluster.run(200)
  const blocks = [makeBlock(2, 3, [7])]
  const message = { ...append, term: termOf(3), prevIndex: logIndex(1), prevTerm: termOf(1), blocks }
  cluster.turn('s2', { type: 'request', from: 's3', link: 0, message })
  assert.is(cluster.core('s2').log.termAt(logIndex(2)), 2)
  assert.is(cluster.faults.length, 1)
})

test('a leader that would replace the entry that every log begins with is refused, although nothing is committed yet', () => {
  const cluster = new Stage({ madeUp: true })
  const { configuration } = cluster.core('s2')
  const message = { ...append, prevIndex: logIndex(0), prevTerm: termOf(0), blocks: [makeBlock(1, 2, [7])] }
  cluster.turn('s2', { type: 'request', from: 's3', link: 0, message })
  assert.ok(cluster.trace?.some((line) => line.startsWith('s2 rejects link 0')))
  assert.is(cluster.core('s2').log.commitIndex, 0)
  assert.is(cluster.core('s2').log.termAt(logIndex(1)), 1)
  assert.equal(cluster.core('s2').configuration, configuration)
  assert.is(cluster.faults.length, 1)
})

test.run()
