/** Events that are iterated: nothing waits for who does, nothing is lost unsaid, and every wait ends. */

import { getEventListeners } from 'node:events'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError, WatchedEvent } from 'balsa-raft'
import { Events } from '#balsa/observe/events.js'
import { loggerOf } from '#balsa/observe/loggers.js'
import { watch } from '#balsa/observe/watch.js'
import type { WatchedParts } from '#balsa/observe/watch.js'
import { termOf } from '#balsa/types.js'
import { failure } from '../support/failure.js'
import { LoneServer } from '../support/lone-server.js'

const test = suite('watch')

class Stage implements WatchedParts {
  readonly events = new Events(loggerOf(false, null))
  readonly ended: Promise<void>
  end: () => void = () => {}
  lost = 0

  constructor() {
    this.ended = new Promise((resolve) => {
      this.end = resolve
    })
  }

  dropped(): void {
    this.lost += 1
  }

  /** Terms that come one after the other, as leaders that are none. */
  tell(...terms: readonly number[]): void {
    for (const term of terms) this.events.emit('leader', { leader: null, term: termOf(term) })
  }
}

const termsOf = (told: readonly WatchedEvent[]): readonly (number | string)[] =>
  told.map((each) => {
    if (each.type === 'dropped') return `dropped ${each.count}`
    return each.type === 'leader' ? each.event.term : each.type
  })

async function rest(watched: AsyncIterable<WatchedEvent>): Promise<readonly (number | string)[]> {
  const told: WatchedEvent[] = []
  for await (const each of watched) told.push(each)
  return termsOf(told)
}

test('events are told in order from the call on, and the end behind the last of them', async () => {
  const stage = new Stage()
  stage.tell(1)
  const watched = watch(stage)
  stage.tell(2, 3)
  stage.events.emit('removed', { index: 7 as never })
  stage.end()
  await stage.ended
  assert.equal(await rest(watched), [2, 3, 'removed'])
  assert.equal(await watched.next(), { done: true, value: undefined })
})

test('beyond the limit the oldest go, and how many is told where they are missing', async () => {
  const stage = new Stage()
  const watched = watch(stage, { limit: 2 })
  stage.tell(1, 2, 3, 4, 5)
  assert.is(stage.lost, 3)
  assert.equal(termsOf([(await watched.next()).value as WatchedEvent]), ['dropped 3'])
  stage.tell(6)
  stage.end()
  await stage.ended
  assert.equal(await rest(watched), ['dropped 1', 5, 6])
})

test('only the events that are named are told', async () => {
  const stage = new Stage()
  const watched = watch(stage, { events: ['removed', 'removed'] })
  stage.tell(1)
  stage.events.emit('removed', { index: 7 as never })
  stage.end()
  await stage.ended
  assert.equal(await rest(watched), ['removed'])
})

test('who waits is served in order, and at the end all of them', async () => {
  const stage = new Stage()
  const watched = watch(stage)
  const waits = [watched.next(), watched.next(), watched.next()]
  stage.tell(1, 2)
  stage.end()
  const told = await Promise.all(waits)
  assert.equal(
    told.map(({ done, value }) => [done, value?.type]),
    [
      [false, 'leader'],
      [false, 'leader'],
      [true, undefined],
    ],
  )
})

test('a loop that is left ends the subscription, and what waits for more', async () => {
  const stage = new Stage()
  const watched = watch(stage, { limit: 1 })
  stage.tell(1)
  for await (const each of watched) if (each.type === 'leader') break
  stage.tell(2, 3, 4)
  assert.is(stage.lost, 0)
  assert.equal(await watched.next(), { done: true, value: undefined })
  const other = watch(stage)
  const waiting = other.next()
  await other.return()
  assert.equal(await waiting, { done: true, value: undefined })
})

test('a signal ends it, with one rejection, and is listened to no longer', async () => {
  const stage = new Stage()
  const controller = new AbortController()
  const { signal } = controller
  const [idle, waiting] = [watch(stage, { signal }), watch(stage, { signal })]
  stage.tell(1)
  await waiting.next()
  const wait = failure(waiting.next())
  controller.abort(new Error('enough'))
  assert.is(getEventListeners(signal, 'abort').length, 0)
  const errors = [await wait, await failure(idle.next())] as readonly RaftError[]
  for (const { code, cause } of errors) assert.equal([code, String(cause)], ['ERR_RAFT_ABORTED', 'Error: enough'])
  assert.equal([(await idle.next()).done, (await waiting.next()).done], [true, true])
  assert.is((await failure(watch(stage, { signal }).next())).code, 'ERR_RAFT_ABORTED')
  const other = new AbortController().signal
  const ended = watch(stage, { signal: other })
  assert.is(getEventListeners(other, 'abort').length, 1)
  await ended.return()
  assert.is(getEventListeners(other, 'abort').length, 0)
})

test('calls of next that wait have a bound', async () => {
  const stage = new Stage()
  const watched = watch(stage)
  const waits = Array.from({ length: 1024 }, () => watched.next())
  assert.is((await failure(watched.next())).code, 'ERR_RAFT_OVERLOADED')
  await watched.return()
  assert.ok((await Promise.all(waits)).every(({ done }) => done === true))
})

test('options that make no sense are refused by name', () => {
  const table: readonly (readonly [object, RegExp])[] = [
    [{ evnts: [] }, /option evnts is unknown: did you mean events\?/],
    [{ events: 'leader' }, /option events of watch must be a list of names/],
    [{ events: ['leadr'] }, /event leadr is unknown: did you mean leader\?/],
    [{ limit: 0 }, /option limit of watch is 0; must be a whole number of 1 \.\. 65536/],
    [{ limit: 1.5 }, /option limit of watch is 1.5/],
    [{ signal: {} }, /option signal of watch must be an AbortSignal/],
  ]
  for (const [options, message] of table) assert.throws(() => watch(new Stage(), options), message)
})

test('a server is watched until it has closed, and counts what its watchers lost', async () => {
  const server = await LoneServer.open()
  const watched = server.raft.watch({ events: ['role', 'leader'] })
  const narrow = server.raft.watch({ limit: 1 })
  await server.lead()
  const lost = server.raft.metrics().find(({ name }) => name === 'balsa_watch_dropped_events_total')
  assert.not.equal(lost?.samples, [{ labels: { server: 's1' }, value: 0 }])
  await server.close()
  const told: string[] = []
  for await (const each of watched) told.push(each.type === 'role' ? each.event.role : each.type)
  assert.equal(told.slice(0, 4), ['preCandidate', 'candidate', 'leader', 'leader'])
  assert.match(String((await rest(narrow))[0]), /^dropped \d+$/)
  assert.equal(await rest(server.raft.watch()), [])
})

test.run()
