/** What judges the histories of the examples finds each way to break a promise, and nothing in a good one. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Setting } from '../../examples/configuration-store/machine.js'
import { jobCheck } from '../../examples/check/jobs.js'
import type { Handing } from '../../examples/check/jobs.js'
import { lockCheck } from '../../examples/check/locks.js'
import type { Grant } from '../../examples/check/locks.js'
import { settingCheck } from '../../examples/check/settings.js'
import type { Write } from '../../examples/check/settings.js'

const locks = suite('checks of locks')

const grant = (owner: string, token: number, from: number, to: number): Grant => ({
  name: 'lock',
  owner,
  token,
  askedAt: from - 1,
  from,
  to,
})

locks('owners one after the other, with tokens that grow, are right', () => {
  assert.is(lockCheck.faultOf([grant('b', 9, 30, 40), grant('a', 5, 10, 20)]), null)
  assert.is(lockCheck.faultOf([grant('a', 5, 10, 20), { ...grant('b', 4, 12, 20), name: 'other' }]), null)
})

locks('two owners at a time are found, in whatever order they are told', () => {
  const grants = [grant('b', 9, 19, 40), grant('a', 5, 10, 20)]
  assert.is(lockCheck.faultOf(grants), 'lock: b was given what a held')
  assert.is(lockCheck.faultOf(grants.toReversed()), 'lock: b was given what a held')
})

locks('a token that does not grow is found', () => {
  assert.match(String(lockCheck.faultOf([grant('a', 5, 10, 20), grant('b', 5, 30, 40)])), /b came after a with token 5/)
})

locks('an answer that came when the lease was over is no lock that was held', () => {
  assert.is(lockCheck.faultOf([grant('a', 5, 10, 40), grant('b', 9, 20, 15)]), null)
})

locks('a history of nothing is none', () => {
  assert.is.not(lockCheck.faultOf([]), null)
  assert.is.not(jobCheck.faultOf({ added: [], handings: [] }), null)
  assert.is.not(settingCheck.faultOf({ writes: [], watched: [[]] }), null)
})

locks.run()

const jobs = suite('checks of jobs')

const handing = (worker: string, from: number, to: number, finishedAt: number | null): Handing => ({
  id: 7,
  worker,
  askedAt: from - 1,
  from,
  to,
  finishedAt,
})

jobs('a job that is taken again when its lease is over, and finished once, is right', () => {
  assert.is(jobCheck.faultOf({ added: [7], handings: [handing('b', 30, 40, 41), handing('a', 10, 20, null)] }), null)
})

jobs('a job that was acknowledged and never finished is found', () => {
  assert.is(jobCheck.faultOf({ added: [7], handings: [] }), 'job 7 was finished 0 times')
})

jobs('a job that is finished twice is found', () => {
  const handings = [handing('a', 10, 20, 21), handing('b', 30, 40, 41)]
  assert.is(jobCheck.faultOf({ added: [7], handings }), 'job 7 was finished 2 times')
})

jobs('a job that is handed out while another has it, or has finished it, is found', () => {
  const faultOf = (...handings: readonly Handing[]) => jobCheck.faultOf({ added: [7], handings })
  assert.is(faultOf(handing('b', 19, 40, 41), handing('a', 10, 20, null)), 'job 7: b was given what a had')
  assert.is(faultOf(handing('a', 10, 20, 21), handing('b', 30, 40, null)), 'job 7: b was given what a had finished')
})

jobs('a job that nobody has added is found', () => {
  assert.match(String(jobCheck.faultOf({ added: [8], handings: [handing('a', 10, 20, 21)] })), /nobody has added it/)
})

jobs.run()

const settings = suite('checks of settings')

const first: Setting = { key: 'k', value: '1 by a', version: 5, from: 0 }
const second: Setting = { key: 'k', value: '2 by b', version: 7, from: 5 }
const written = (setting: Setting, askedAt: number): Write => ({ ...setting, askedAt, answeredAt: askedAt + 1 })
const refused = { ...written(second, 30), value: '3 by c', from: 7, version: 0 }
const writes = [written(second, 20), written(first, 10), refused]

function faultOf(events: readonly Setting[], told = writes, watched = [events, events]): string {
  return settingCheck.faultOf({ writes: told, watched }) ?? 'none'
}

settings('each write on top of the one before, told alike to each watcher, is right', () => {
  assert.is(faultOf([first, second]), 'none')
})

settings('an update that is lost is found', () => {
  assert.match(faultOf([first, { ...second, from: 0 }]), /an update was lost/)
  assert.match(faultOf([first, { ...second, from: 4 }]), /an update was lost/)
  assert.match(faultOf([first, { ...second, value: '1 by b' }]), /an update was lost/)
})

settings('an event that a watcher misses, or is told in another order, is found', () => {
  assert.match(faultOf([], writes, [[first, second], [first]]), /watcher 2 was told something else/)
  assert.match(faultOf([second, first]), /an update was lost/)
  assert.is(faultOf([first, { ...second, version: 5 }]), 'version 5 came behind 5')
})

settings('a write that was acknowledged and is no event is found', () => {
  assert.is(faultOf([first]), '"2 by b" was acknowledged as 7, and is no event')
  assert.is(faultOf([first, { ...second, value: '2 by c' }]), '"2 by b" was acknowledged as 7, and is no event')
})

settings('a write that is set twice, or that was refused, is found', () => {
  const third = { ...second, version: 9, from: 7, value: '3 by c' }
  assert.match(faultOf([first, second, third]), /"3 by c" was never acknowledged/)
})

settings('a read that is older than what was acknowledged before it is found', () => {
  const told = [written(first, 10), written(second, 20), { ...refused, from: 5 }]
  assert.is(faultOf([first, second], told), '"3 by c" stands on 5, though 7 was acknowledged before it was read')
})

settings.run()
