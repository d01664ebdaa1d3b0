/**
 * The checker proven before it judges anything: on histories known to be good or bad, against a brute-force oracle on
 * small random ones, and on large ones in which one answer is certainly wrong.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'
import type { Random } from '../support/seed.js'
import { checkHistory } from './check.js'
import { linearizableHistory, withOneAnswerChanged, withOneMoved } from './generate.js'
import { formatHistory, parseHistory } from './history.js'
import type { History, Operation, Result, Step } from './history.js'
import { isLinearizable } from './oracle.js'

const get = (key: string): Step => ({ op: 'get', key })
const set = (key: string, value: string): Step => ({ op: 'set', key, value })
const incr = (key: string): Step => ({ op: 'incr', key })
const append = (key: string, value: string): Step => ({ op: 'append', key, value })
const getset = (key: string, value: string): Step => ({ op: 'getset', key, value })
const cas = (key: string, expected: string | null, value: string): Step => ({ op: 'cas', key, expected, value })
const del = (key: string): Step => ({ op: 'del', key })

/** `client`, from, to, steps, results. */
function ok(
  client: string,
  call: number,
  returned: number,
  steps: Step | readonly Step[],
  ...results: Result[]
): Operation {
  return { client, call, return: returned, steps: 'op' in steps ? [steps] : steps, outcome: 'ok', results }
}

function unknown(client: string, call: number, ...steps: Step[]): Operation {
  return { client, call, return: null, steps, outcome: 'unknown', results: null }
}

function failed(client: string, call: number, ...steps: Step[]): Operation {
  return { client, call, return: null, steps, outcome: 'failed', results: null }
}

const verdictOf = (history: History): string => checkHistory(history, { completedMin: 1 }).kind

const good: Readonly<Record<string, History>> = {
  'a read sees the write before it': [ok('a', 0, 1, set('x', '1'), 'OK'), ok('b', 2, 3, get('x'), '1')],
  'concurrent reads may see a write in either order of clients': [
    ok('a', 0, 10, set('x', '1'), 'OK'),
    ok('b', 1, 2, get('x'), null),
    ok('c', 3, 4, get('x'), '1'),
  ],
  'a write takes effect before it returns': [ok('a', 0, 10, set('x', '1'), 'OK'), ok('b', 1, 2, get('x'), '1')],
  'concurrent writes have some order': [
    ok('a', 0, 5, set('x', '1'), 'OK'),
    ok('b', 0, 5, set('x', '2'), 'OK'),
    ok('c', 6, 7, get('x'), '1'),
  ],
  'equal times are concurrent': [ok('a', 0, 1, set('x', '1'), 'OK'), ok('b', 1, 2, get('x'), null)],
  'an unknown write may have happened': [unknown('a', 0, set('x', '1')), ok('b', 5, 6, get('x'), '1')],
  'an unknown write may never happen': [unknown('a', 0, set('x', '1')), ok('b', 5, 6, get('x'), null)],
  'an unknown write may happen late': [
    unknown('a', 0, set('x', '1')),
    ok('b', 5, 6, get('x'), null),
    ok('b', 7, 8, get('x'), '1'),
  ],
  'an unknown INCR counts once': [
    unknown('a', 0, incr('n')),
    ok('b', 1, 2, incr('n'), 1),
    ok('b', 3, 4, incr('n'), 3),
    ok('b', 5, 6, incr('n'), 4),
  ],
  'two unknown INCR count twice': [unknown('a', 0, incr('n')), unknown('b', 0, incr('n')), ok('c', 1, 2, incr('n'), 3)],
  'an unknown write that one order uses up for nothing may still happen in another': [
    unknown('a', 0, incr('n')),
    unknown('b', 0, get('n'), set('n', '5')),
    ok('c', 1, 2, get('n'), '6'),
  ],
  'a failed write is as if it had not been': [failed('a', 0, set('x', '1')), ok('b', 1, 2, get('x'), null)],
  'a read without an answer says nothing': [unknown('a', 0, get('x')), ok('b', 1, 2, get('x'), null)],
  'a client goes on after a failure': [failed('a', 0, set('x', '1')), ok('a', 1, 2, get('x'), null)],
  'INCR of what is not a number is an error and changes nothing': [
    ok('a', 0, 1, set('x', 'word'), 'OK'),
    ok('a', 2, 3, incr('x'), { error: 'ERR value is not an integer or out of range' }),
    ok('a', 4, 5, get('x'), 'word'),
  ],
  'APPEND answers the length in bytes': [ok('a', 0, 1, append('x', 'é'), 2), ok('a', 2, 3, append('x', 'b'), 3)],
  'DEL tells whether there was a key': [
    ok('a', 0, 1, set('x', '1'), 'OK'),
    ok('a', 2, 3, del('x'), 1),
    ok('a', 4, 5, del('x'), 0),
  ],
  'of two concurrent CAS from one value one wins': [
    ok('a', 0, 5, cas('x', null, '1'), 1),
    ok('b', 0, 5, cas('x', null, '2'), 0),
    ok('c', 6, 7, get('x'), '1'),
  ],
  'concurrent CAS may follow one another': [
    ok('a', 0, 5, cas('x', '2', '1'), 1),
    ok('b', 0, 5, cas('x', null, '2'), 1),
    ok('c', 6, 7, get('x'), '1'),
  ],
  'a CAS that failed for one client won for another without an answer': [
    unknown('a', 0, cas('x', null, '1')),
    ok('b', 1, 2, cas('x', null, '2'), 0),
    ok('b', 3, 4, get('x'), '1'),
  ],
  'GETSET tells what was there before': [
    ok('a', 0, 5, getset('x', '1'), '2'),
    ok('b', 0, 5, getset('x', '2'), null),
    ok('c', 6, 7, get('x'), '1'),
  ],
  'each key has an order of its own': [
    ok('a', 0, 9, set('x', '1'), 'OK'),
    ok('b', 0, 9, set('y', '1'), 'OK'),
    ok('c', 1, 2, get('x'), '1'),
    ok('c', 3, 4, get('y'), null),
    ok('d', 1, 2, get('y'), null),
    ok('d', 3, 4, get('x'), '1'),
    ok('d', 5, 6, get('y'), '1'),
  ],
  'an unknown write to one key says nothing of another': [
    unknown('a', 0, set('x', '1')),
    ok('b', 1, 2, get('y'), null),
    ok('b', 3, 4, get('x'), '1'),
    ok('b', 5, 6, get('y'), null),
  ],
  'a MULTI is seen as a whole': [
    ok('a', 0, 9, [set('x', '1'), set('y', '1')], 'OK', 'OK'),
    ok('b', 1, 2, [get('x'), get('y')], null, null),
    ok('b', 3, 4, [get('x'), get('y')], '1', '1'),
  ],
  'an unknown MULTI happens as a whole': [
    unknown('a', 0, set('x', '1'), set('y', '1')),
    ok('b', 1, 2, [get('y'), get('x')], '1', '1'),
  ],
}

const bad: Readonly<Record<string, History>> = {
  'a stale read': [
    ok('a', 0, 1, set('x', '1'), 'OK'),
    ok('a', 2, 3, set('x', '2'), 'OK'),
    ok('b', 4, 5, get('x'), '1'),
  ],
  'a lost write': [ok('a', 0, 1, set('x', '1'), 'OK'), ok('b', 2, 3, get('x'), null)],
  'a read that goes back': [
    ok('a', 0, 10, set('x', '1'), 'OK'),
    ok('b', 1, 2, get('x'), '1'),
    ok('c', 3, 4, get('x'), null),
  ],
  'a read from the future': [ok('a', 0, 1, get('x'), '1'), ok('b', 2, 3, set('x', '1'), 'OK')],
  'a value that nobody wrote': [ok('a', 0, 1, set('x', '1'), 'OK'), ok('b', 2, 3, get('x'), '7')],
  'a lost update': [ok('a', 0, 5, incr('n'), 1), ok('b', 0, 5, incr('n'), 1)],
  'an unknown INCR that counted twice': [unknown('a', 0, incr('n')), ok('b', 1, 2, incr('n'), 3)],
  'an unknown INCR that was taken back': [
    unknown('a', 0, incr('n')),
    ok('b', 1, 2, get('n'), '1'),
    ok('b', 3, 4, get('n'), null),
  ],
  'an unknown write that happened twice': [
    unknown('a', 0, set('x', '1')),
    ok('b', 1, 2, get('x'), '1'),
    ok('b', 3, 4, set('x', '2'), 'OK'),
    ok('b', 5, 6, get('x'), '1'),
  ],
  'an unknown write seen before its call': [ok('b', 0, 1, get('x'), '1'), unknown('a', 2, set('x', '1'))],
  'a failed write that happened': [failed('a', 0, set('x', '1')), ok('b', 1, 2, get('x'), '1')],
  'two clients that see two writes in different orders': [
    ok('a', 0, 20, set('x', '1'), 'OK'),
    ok('b', 0, 20, set('x', '2'), 'OK'),
    ok('c', 1, 2, get('x'), '1'),
    ok('c', 5, 6, get('x'), '2'),
    ok('d', 3, 4, get('x'), '2'),
    ok('d', 7, 8, get('x'), '1'),
  ],
  'writes that were reordered': [
    ok('a', 0, 1, append('x', 'a'), 1),
    ok('a', 2, 3, append('x', 'b'), 2),
    ok('b', 4, 5, get('x'), 'ba'),
  ],
  'an APPEND that was lost': [ok('a', 0, 1, append('x', 'aa'), 2), ok('b', 2, 3, append('x', 'b'), 1)],
  'two CAS from one value that both win': [
    ok('a', 0, 5, cas('x', null, '1'), 1),
    ok('b', 0, 5, cas('x', null, '2'), 1),
  ],
  'a CAS that fails although what it expects is there': [
    ok('a', 0, 1, set('x', '1'), 'OK'),
    ok('b', 2, 3, cas('x', '1', '2'), 0),
  ],
  'a CAS that wins from a value that was overwritten': [
    ok('a', 0, 1, set('x', '1'), 'OK'),
    ok('a', 2, 3, set('x', '2'), 'OK'),
    ok('b', 4, 5, cas('x', '1', '3'), 1),
  ],
  'a failed CAS whose value is read': [failed('a', 0, cas('x', null, '1')), ok('b', 1, 2, get('x'), '1')],
  'two GETSET that both were the first': [ok('a', 0, 5, getset('x', '1'), null), ok('b', 0, 5, getset('x', '2'), null)],
  'two GETSET that each came after the other': [
    ok('a', 0, 5, getset('x', '1'), '2'),
    ok('b', 0, 5, getset('x', '2'), '1'),
  ],
  'an unknown write that is seen, and then was not there before it': [
    unknown('a', 0, set('x', '1')),
    ok('b', 1, 2, get('x'), '1'),
    ok('c', 3, 4, getset('x', '2'), null),
  ],
  'a stale read of one key among others that are right': [
    ok('a', 0, 1, set('x', '1'), 'OK'),
    ok('b', 0, 1, set('y', '1'), 'OK'),
    ok('a', 2, 3, get('y'), '1'),
    ok('b', 2, 3, get('x'), null),
  ],
  'a MULTI seen in parts': [
    ok('a', 0, 9, [set('x', '1'), set('y', '1')], 'OK', 'OK'),
    ok('b', 1, 2, [get('x'), get('y')], '1', null),
  ],
  'a MULTI seen in parts by single reads': [
    ok('a', 0, 9, [set('x', '1'), set('y', '1')], 'OK', 'OK'),
    ok('b', 1, 2, get('x'), '1'),
    ok('b', 3, 4, get('y'), null),
  ],
  'an unknown MULTI of which half happened': [
    unknown('a', 0, set('x', '1'), set('y', '1')),
    ok('b', 1, 2, get('x'), '1'),
    ok('b', 3, 4, get('y'), null),
  ],
  'two MULTI that each miss the other': [
    ok('a', 0, 5, [set('x', '1'), get('y')], 'OK', null),
    ok('b', 0, 5, [set('y', '1'), get('x')], 'OK', null),
  ],
  'a DEL that found nothing': [ok('a', 0, 1, set('x', '1'), 'OK'), ok('b', 2, 3, del('x'), 0)],
}

const invalid: Readonly<Record<string, History>> = {
  'a client with two calls at once': [ok('a', 0, 5, get('x'), null), ok('a', 3, 6, get('x'), null)],
  'a client that goes on after an unknown write': [unknown('a', 0, set('x', '1')), ok('a', 1, 2, get('x'), '1')],
  'a client that goes on after an unknown read': [unknown('a', 0, get('x')), ok('a', 1, 2, get('x'), null)],
  'a value that is written twice': [ok('a', 0, 1, set('x', '1'), 'OK'), ok('a', 2, 3, set('x', '1'), 'OK')],
  'a call that returns before it begins': [ok('a', 5, 4, get('x'), null)],
  'an empty history': [],
}

const table = suite('known histories')
for (const [kind, histories] of Object.entries({ linearizable: good, violation: bad, invalid })) {
  for (const [name, history] of Object.entries(histories)) {
    table(`${name}: ${kind}`, () => {
      assert.is(verdictOf(history), kind)
      if (kind !== 'invalid') assert.is(isLinearizable(withoutReads(history)), kind === 'linearizable', 'the oracle')
    })
  }
}

table('too few completed operations are invalid', () => {
  const verdict = checkHistory([ok('a', 0, 1, get('x'), null)], { completedMin: 2 })
  assert.equal(verdict, { kind: 'invalid', reason: '1 completed operations, at least 2 needed' })
})

table('a search that is given up is undecided, not a success', () => {
  const history = linearizableHistory(randomFrom(1), { ...small, operations: 100, unknownShare: 0 })
  assert.is(checkHistory(history, { completedMin: 1, stepsMax: 10 }).kind, 'undecided')
})

table('a violation names its own key only', () => {
  const history = [...(good['each key has an order of its own'] ?? []), ok('z', 0, 1, get('stale'), 'never')]
  const verdict = checkHistory(history, { completedMin: 1 })
  assert.ok(verdict.kind === 'violation')
  assert.equal(verdict.keys, ['stale'])
})

table('many keys with many unknown writes are decided, since each key is searched by itself', () => {
  const history = Array.from({ length: 40 }, (_, at) => [
    ...Array.from({ length: 6 }, (_, n) => unknown(`u${at}.${n}`, n, set(`k${at}`, `v${n}`))),
    ok(`r${at}`, 10, 11, get(`k${at}`), 'v3'),
    ok(`r${at}`, 12, 13, get(`k${at}`), 'v1'),
  ]).flat()
  const verdict = checkHistory(history, { completedMin: 80, stepsMax: 2000 })
  assert.ok(verdict.kind === 'linearizable', JSON.stringify(verdict))
  assert.is(verdict.groups, 40)
})

table('a violation names the keys, and what did not fit', () => {
  const verdict = checkHistory(bad['a stale read'] ?? [], { completedMin: 1 })
  assert.ok(verdict.kind === 'violation')
  assert.equal(verdict.keys, ['x'])
  assert.match(verdict.explanation, '2 of 3 completed operations')
  assert.match(verdict.explanation, '"client":"b"')
})

const small = { operations: 6, clients: 3, keyGroups: [['x'], ['y', 'z']], unknownShare: 0.2 }
const large = {
  operations: 5000,
  clients: 8,
  keyGroups: [['a'], ['b'], ['c'], ['d'], ['e', 'f'], ['g', 'h'], ['i', 'j']],
  unknownShare: 0.005,
}

const format = suite('the format')

format('a history survives being written and read', () => {
  const history = Object.values(good).flat()
  assert.equal(parseHistory(formatHistory(history)), history)
})

format('a line that is no operation is refused by its number', () => {
  const line = formatHistory([ok('a', 0, 1, get('x'), null)])
  assert.throws(() => parseHistory(`${line}{`), /line 2 is not JSON/)
  assert.throws(() => parseHistory(`${line}\n{"client":"a"}`), /line 3: steps/)
  assert.throws(() => parseHistory(line.replace('[null]', '[]')), /line 1: results/)
  assert.throws(() => parseHistory(line.replace('"return":1', '"return":null')), /line 1: return/)
  assert.throws(() => parseHistory(line.replace('"get"', '"getdel"')), /line 1: steps/)
})

const random = suite('random histories')

random('small ones get the verdict of the brute-force oracle', () => {
  withSeed((draw) => {
    const seen = { linearizable: 0, violation: 0 }
    for (let round = 0; round < 1500; round++) {
      const shape = {
        ...small,
        keyGroups: pick(draw, [[['x']], [['x', 'y']], small.keyGroups]),
        unknownShare: pick(draw, [0, 0.4]),
        isRegisters: draw() < 0.5,
      }
      let history = linearizableHistory(draw, shape)
      assert.is(verdictOf(history), completed(history) === 0 ? 'invalid' : 'linearizable', formatHistory(history))
      for (let mutations = 1 + below(draw, 2); mutations > 0; mutations--) {
        history = pick(draw, [withOneAnswerChanged, withOneMoved])(draw, history)
      }
      const verdict = verdictOf(history)
      if (verdict === 'invalid') continue
      const expected = isLinearizable(withoutReads(history)) ? 'linearizable' : 'violation'
      assert.is(verdict, expected, formatHistory(history))
      seen[expected] += 1
    }
    assert.ok(
      seen.linearizable > 200 && seen.violation > 200,
      `both verdicts must occur often: ${JSON.stringify(seen)}`,
    )
  })
})

random('large ones of a linearizable store are accepted', () => {
  withSeed((draw) => {
    const verdict = checkHistory(linearizableHistory(draw, large), { completedMin: 4900 })
    assert.is(verdict.kind, 'linearizable', JSON.stringify(verdict))
  })
})

random('large ones of one register with many unknown writes are decided', () => {
  withSeed((draw) => {
    const shape = { operations: 3000, clients: 6, keyGroups: [['x']], unknownShare: 0.2, isRegisters: true }
    const history = linearizableHistory(draw, shape)
    const accepted = checkHistory(history, { completedMin: 2000, stepsMax: 50_000 })
    assert.is(accepted.kind, 'linearizable', JSON.stringify(accepted))
    const rejected = checkHistory(withStaleRead(draw, history), { completedMin: 2000, stepsMax: 50_000 })
    assert.is(rejected.kind, 'violation', JSON.stringify(rejected))
  })
})

random('large ones with one stale read are rejected', () => {
  withSeed((draw) => {
    const history = withStaleRead(draw, linearizableHistory(draw, large))
    const verdict = checkHistory(history, { completedMin: 4900 })
    assert.is(verdict.kind, 'violation', JSON.stringify(verdict))
  })
})

function withSeed(body: (draw: Random) => void): void {
  const seed = drawSeed()
  try {
    body(randomFrom(seed))
  } catch (error) {
    console.log(`\nreplay with: BALSA_SEED=${seed} npm test -- linearizability`)
    throw error
  }
}

function completed(history: History): number {
  return history.filter((operation) => operation.outcome === 'ok').length
}

/** The oracle takes every open operation to be a write. */
function withoutReads(history: History): History {
  return history.filter(({ outcome, steps }) => outcome !== 'unknown' || steps.some((step) => step.op !== 'get'))
}

/**
 * Lets a read answer a value that was certainly overwritten: set, then set again, each completed before the next began.
 */
function withStaleRead(draw: Random, history: History): History {
  const sets = history.filter(({ outcome, steps }) => outcome === 'ok' && steps.length === 1 && steps[0]?.op === 'set')
  const candidates = history.flatMap((read) => {
    const step = read.steps[0]
    if (read.outcome !== 'ok' || read.steps.length > 1 || step?.op !== 'get') return []
    const before = sets.filter((item) => item.steps[0]?.key === step.key && (item.return ?? Infinity) < read.call)
    const last = before.at(-1)
    const older = before.findLast((item) => last !== undefined && (item.return ?? Infinity) < last.call)?.steps[0]
    return older?.op === 'set' ? [{ read, value: older.value }] : []
  })
  const { read, value } = pick(draw, candidates)
  return history.map((operation) => (operation === read ? { ...read, results: [value] } : operation))
}

table.run()
format.run()
random.run()
