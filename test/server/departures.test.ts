/** What the ends of connections say of a process: only both together, and only of one that was not heard since. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Departures } from '#balsa/server/departures.js'

const test = suite('departures')

test('a peer is gone when both of its connections have ended in a way that says so, in any order', () => {
  for (const ends of [
    ['gone', 'gone'],
    ['goodbye', 'goodbye'],
    ['gone', 'goodbye'],
  ] as const) {
    const departures = new Departures()
    assert.is(departures.sessionEnded('s1', ends[0]), false)
    assert.is(departures.linkEnded('s1', ends[1]), true)
    assert.is(departures.linkEnded('s1', ends[0]), false, 'told once')
    assert.is(departures.sessionEnded('s1', ends[1]), true)
  }
})

test('one connection alone says nothing, however often it ends, nor does that of another peer', () => {
  const departures = new Departures()
  for (let times = 0; times < 5; times += 1) assert.is(departures.sessionEnded('s1', 'gone'), false)
  assert.is(departures.linkEnded('s2', 'gone'), false)
})

test('an end that is unclear says nothing, and what was said before it counts no more', () => {
  const departures = new Departures()
  departures.sessionEnded('s1', 'gone')
  assert.is(departures.linkEnded('s1', 'unclear'), false)
  assert.is(departures.linkEnded('s1', 'gone'), false)
})

test('a peer that was heard, or is connected again, is there', () => {
  const departures = new Departures()
  departures.linkEnded('s1', 'gone')
  departures.heard('s1')
  assert.is(departures.sessionEnded('s1', 'gone'), false)
  departures.connected('s1')
  assert.is(departures.linkEnded('s1', 'gone'), false)
  departures.connected('s1')
  assert.is(departures.sessionEnded('s1', 'gone'), true, 'the link is down all the same')
})

test.run()
