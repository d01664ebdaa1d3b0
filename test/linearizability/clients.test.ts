/** What simulated clients tell, as a history: known good and bad ones, and the rules about who is heard of again. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkClients, historyOfClients } from './clients.js'
import type { ClientCall, ClientEvent } from './clients.js'

const calls = (kind: ClientCall['kind'], id: number, client: number, ...commands: readonly number[]): ClientEvent => {
  return { event: 'invoked', id, kind, client, key: 1, commands }
}

const returns = (id: number, status: string, value = 0): ClientEvent => ({ event: 'returned', id, status, value })

const verdictOf = (...events: readonly ClientEvent[]): string => checkClients(events, { completedMin: 1 }).kind

test('a write that answers what was there before, and a read of it, are linearizable', () => {
  const events = [calls('write', 1, 1, 10), returns(1, 'ok', 0), calls('write', 2, 2, 20), returns(2, 'ok', 10)]
  assert.is(verdictOf(...events, calls('read', 3, 1), returns(3, 'ok', 20)), 'linearizable')
})

test('a stale read, a lost write and a write that comes before its time are violations', () => {
  const written = [calls('write', 1, 1, 10), returns(1, 'ok', 0), calls('write', 2, 2, 20), returns(2, 'ok', 10)]
  assert.is(verdictOf(...written, calls('read', 3, 1), returns(3, 'ok', 10)), 'violation')
  assert.is(verdictOf(...written, calls('read', 3, 1), returns(3, 'ok', 0)), 'violation')
  assert.is(
    verdictOf(calls('read', 1, 1), returns(1, 'ok', 20), calls('write', 2, 2, 20), returns(2, 'ok')),
    'violation',
  )
})

test('a write without an answer may happen late, or never, and then its client is another one', () => {
  for (const status of ['unknown', 'lost', 'applied']) {
    const events = [calls('write', 1, 1, 10), returns(1, status), calls('read', 2, 1), returns(2, 'ok', 0)]
    assert.is(verdictOf(...events), 'linearizable')
    assert.is(verdictOf(...events, calls('read', 3, 2), returns(3, 'ok', 10)), 'linearizable')
    const back = [calls('read', 3, 2), returns(3, 'ok', 10), calls('read', 4, 1), returns(4, 'ok', 0)]
    assert.is(verdictOf(...events, ...back), 'violation')
  }
})

test('a write that was not applied is never seen', () => {
  const events = [calls('write', 1, 1, 10), returns(1, 'not-applied'), calls('read', 2, 1)]
  assert.is(verdictOf(...events, returns(2, 'ok', 0)), 'linearizable')
  assert.is(verdictOf(...events, returns(2, 'ok', 10)), 'violation')
})

test('of several writes only the last is answered, and all count', () => {
  const events = [calls('writes', 1, 1, 10, 11, 12), calls('read', 2, 2), returns(2, 'ok', 11), returns(1, 'ok', 11)]
  assert.is(verdictOf(...events, calls('read', 3, 2), returns(3, 'ok', 12)), 'linearizable')
  assert.is(verdictOf(...events, calls('read', 3, 2), returns(3, 'ok', 0)), 'violation')
})

test('several writes take effect in the order in which they were given', () => {
  const events = [calls('writes', 1, 1, 10, 11), calls('read', 2, 2), returns(2, 'ok', 11), calls('read', 3, 2)]
  assert.is(verdictOf(...events, returns(3, 'ok', 11), returns(1, 'ok', 10)), 'linearizable')
  assert.is(verdictOf(...events, returns(3, 'ok', 10), returns(1, 'ok', 10)), 'violation')
})

test('a call that is open at the end may have happened, and barriers and other lines say nothing', () => {
  const events = [{ event: 'turned' }, calls('barrier', 1, 1), returns(1, 'ok'), calls('write', 2, 1, 10)]
  assert.is(historyOfClients(events).length, 1)
  assert.is(verdictOf(...events, calls('read', 3, 2), returns(3, 'ok', 10)), 'linearizable')
})

test('too few answers prove nothing', () => {
  assert.is(checkClients([calls('write', 1, 1, 10)], { completedMin: 1 }).kind, 'invalid')
})

test('an answer to nothing is refused', () => {
  assert.throws(() => historyOfClients([returns(1, 'ok')]), /call 1 returns and was not open/)
})

test.run()
