/** The table of sessions: what it takes, what it refuses, and where it ends. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { captureSessions, partSessions } from '#balsa/machine/session-section.js'
import {
  ANSWER_BYTES_MAX,
  SESSION_ANSWER_BYTES_MAX,
  SESSION_WINDOW,
  Sessions,
  SESSIONS_MAX,
} from '#balsa/machine/sessions.js'
import type { Admission } from '#balsa/machine/sessions.js'

const HOUR = 3_600_000

/** A table that takes one entry after the other. */
class Log {
  readonly sessions = new Sessions()
  index = 0
  time = 1000

  open(expiresAfterMs = HOUR): number {
    this.index += 1
    this.sessions.open(this.index, this.time, expiresAfterMs)
    return this.index
  }

  command(session: number, sequence: number, third = sequence): Admission {
    this.index += 1
    return this.sessions.admit({ session, sequence, third }, this.index, this.time)
  }

  answered(session: number, sequence: number, bytes: number): void {
    const found = this.sessions.find(session)
    if (found === null) throw new Error(`there is no session ${session}`)
    this.sessions.answered(found, sequence, new Uint8Array(bytes))
  }

  answerOf(session: number, sequence: number): number | null | undefined {
    const answer = this.sessions.find(session)?.answers.get(sequence)
    return answer === null ? null : answer?.length
  }
}

const test = suite('the table of sessions')

test('a command is applied once, until it is said to be needed no more; from then on it is past', () => {
  const log = new Log()
  const session = log.open()
  assert.equal([log.command(session, 1), log.command(session, 1)], ['apply', 'repeated'])
  assert.is(log.command(session, 3, 1), 'apply', 'one that overtook another')
  assert.is(log.command(session, 2, 1), 'apply')
  assert.equal([log.command(session, 1, 1), log.command(session, 3, 1)], ['repeated', 'repeated'])
  assert.is(log.command(session, 4, 3), 'apply')
  assert.equal([log.command(session, 2, 1), log.command(session, 3, 1)], ['past', 'repeated'])
  assert.is(log.command(7, 1), 'lost', 'no session was ever opened there')
})

test('a command is taken up to the window above the lowest that has no answer, whatever its header says', () => {
  const log = new Log()
  const session = log.open()
  assert.is(log.command(session, SESSION_WINDOW, 1), 'apply')
  assert.is(log.command(session, SESSION_WINDOW + 1, 1), 'ahead')
  assert.is(log.command(session, 2 ** 60, 1), 'ahead')
  assert.is(log.command(session, 2, 2 ** 60), 'apply', 'nothing above itself is forgotten')
  assert.is(log.command(session, 10 * SESSION_WINDOW), 'apply')
  assert.is(log.sessions.find(session)?.answers.size, 1)
  assert.is(log.command(session, 10 * SESSION_WINDOW - 1, 1), 'past')
})

test('a session ends when its time is over, by the time of entries, and so do all such when another is opened', () => {
  const log = new Log()
  const [brief, other, long] = [log.open(1000), log.open(1000), log.open()]
  log.time += 1000
  assert.is(log.command(brief, 1), 'apply')
  log.time += 1000
  assert.is(log.command(brief, 2), 'apply')
  assert.is(log.sessions.count, 3)
  log.open()
  assert.is(log.sessions.count, 3)
  assert.equal([log.command(brief, 3), log.command(other, 1), log.command(long, 1)], ['apply', 'lost', 'apply'])
  log.time += 1001
  assert.is(log.command(brief, 4), 'lost')
})

test('where there are too many, another one takes the place of the one that was quiet for longest', () => {
  const log = new Log()
  const opened = Array.from({ length: SESSIONS_MAX }, () => log.open())
  const [first = 0, second = 0, third = 0] = opened
  log.command(first, 1)
  log.command(third, 1)
  log.open()
  assert.is(log.sessions.count, SESSIONS_MAX)
  assert.equal([log.command(first, 2), log.command(second, 1), log.command(third, 2)], ['apply', 'lost', 'apply'])
})

test('a session keeps a mebibyte of answers, the newest ones, and knows of all that they were applied', () => {
  const log = new Log()
  const session = log.open()
  const half = SESSION_ANSWER_BYTES_MAX / 2
  for (const sequence of [1, 2, 3]) {
    assert.is(log.command(session, sequence, 1), 'apply')
    log.answered(session, sequence, half)
  }
  assert.equal(
    [1, 2, 3].map((sequence) => log.answerOf(session, sequence)),
    [null, half, half],
  )
  assert.is(log.command(session, 1, 1), 'repeated')
  assert.is(log.command(session, 4, 3), 'apply')
  log.answered(session, 4, SESSION_ANSWER_BYTES_MAX + 1)
  assert.equal(
    [3, 4].map((sequence) => log.answerOf(session, sequence)),
    [half, null],
  )
  assert.is(log.sessions.answerBytes, half)
  log.sessions.close(session)
  assert.is(log.sessions.answerBytes, 0)
})

test('all of them keep 16 mebibytes; the answers of the session that was quiet for longest go first, and it stays', () => {
  const log = new Log()
  const opened = Array.from({ length: ANSWER_BYTES_MAX / SESSION_ANSWER_BYTES_MAX }, () => log.open())
  for (const session of opened) {
    log.command(session, 1)
    log.answered(session, 1, SESSION_ANSWER_BYTES_MAX)
  }
  assert.is(log.sessions.answerBytes, ANSWER_BYTES_MAX)
  const [first = 0, second = 0, third = 0] = opened
  log.command(first, 1)
  const last = log.open()
  log.command(last, 1)
  log.answered(last, 1, 1)
  assert.equal(
    [first, second, third].map((session) => log.answerOf(session, 1)),
    [SESSION_ANSWER_BYTES_MAX, null, SESSION_ANSWER_BYTES_MAX],
  )
  assert.is(log.command(second, 1), 'repeated')
})

test('an answer that comes when its session has ended is not counted', () => {
  const log = new Log()
  const session = log.open()
  log.command(session, 1)
  const found = log.sessions.find(session)
  log.sessions.close(session)
  if (found !== null) log.sessions.answered(found, 1, new Uint8Array(5))
  assert.is(log.sessions.answerBytes, 0)
})

test('what is taken for a snapshot stays as it was, and is the same table in whatever pieces it comes back', async () => {
  const log = new Log()
  const sessions = [log.open(), log.open(5000)]
  for (const session of sessions) {
    log.command(session, 1)
    log.answered(session, 1, 10)
  }
  log.command(sessions[0] ?? 0, 2, 1)
  const section = captureSessions(log.sessions)
  const before = Buffer.concat([...section.pieces()])
  log.command(sessions[0] ?? 0, 3)
  log.open()
  assert.equal(Buffer.concat([...section.pieces()]), before)
  assert.is(before.length, section.bytes)
  const data = Buffer.concat([before, Buffer.from('the state')])
  for (const size of [1, 7, section.bytes, data.length]) {
    const { sessions: read, rest } = await partSessions(piecesOf(data, size), section.bytes)
    const again = captureSessions(new Sessions(read))
    assert.equal(Buffer.concat([...again.pieces()]), before)
    const state: Uint8Array[] = []
    for await (const piece of rest) state.push(piece)
    assert.is(Buffer.concat(state).toString(), 'the state')
  }
})

async function* piecesOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

test.run()
