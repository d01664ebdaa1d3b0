/** T1 of apps/kv: a server that is to close hands over while its clients are served, and serves them until they go. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import { HAND_OVER_MS_MAX, LINGER_MS_MAX, QUIET_MS } from 'balsa-kv/limits.js'
import { machineClock } from 'balsa-kv/server/clock.js'
import { until } from '../support/until.js'
import { command, RawClient, withServer } from './kv-fixture.js'
import type { SingleServerRaft } from './single-server-raft.js'

const test = suite('departure of a kv server')

const s2 = { id: 's2', address: '127.0.0.1:7102' }

/** Timers of the lengths that departing uses run when they are told to. */
function steeredClock(): { readonly clock: typeof machineClock; readonly quiet: (() => void)[] } {
  const quiet: (() => void)[] = []
  const clock = {
    ...machineClock,
    setTimer: (delayMs: number, callback: () => void) => {
      if (delayMs !== QUIET_MS) return machineClock.setTimer(delayMs, callback)
      quiet.push(callback)
      return () => undefined
    },
  }
  return { clock, quiet }
}

function transferable(raft: SingleServerRaft): { readonly asked: unknown[]; settle: (error?: Error) => void } {
  const transfer = { asked: [] as unknown[], settle: (_error?: Error): void => undefined }
  const transferLeadership = (options: unknown): Promise<string> => {
    transfer.asked.push(options)
    return new Promise((resolve, reject) => {
      transfer.settle = (error) => (error === undefined ? resolve('s2') : reject(error))
    })
  }
  Object.assign(raft, { transferLeadership })
  raft.peer('s2', true)
  return transfer
}

test('clients are served while leadership is handed over, and sent to the new leader until they have gone', async () => {
  const { clock, quiet } = steeredClock()
  await withServer(
    async ({ raft, server, port, events }, client) => {
      const transfer = transferable(raft)
      let isOver = false
      void server.depart().then(() => (isOver = true))
      assert.equal(transfer.asked, [{ timeoutMs: HAND_OVER_MS_MAX }])
      assert.is(await client.ask(command('SET', 'k', 'v'), '\r\n'), '+OK\r\n')
      await assertNobodyListens(port)
      raft.follow(s2)
      transfer.settle()
      await until('it looks whether they have gone', () => quiet.length === 1)
      assert.is(await client.ask(command('SET', 'k', 'v'), '\r\n'), '-MOVED 7629 127.0.0.1:7002\r\n')
      quiet.shift()?.()
      await until('it looks again', () => quiet.length === 1)
      assert.is(isOver, false)
      quiet.shift()?.()
      await until('it has departed', () => isOver)
      assert.not(events.includes('leadership.kept'))
    },
    { clock },
  )
})

test('what has come when the time of silence is over counts as well, though nobody has read it yet', async () => {
  const { clock, quiet } = steeredClock()
  await withServer(
    async ({ raft, server }, client) => {
      raft.follow(s2)
      let isOver = false
      void server.depart().then(() => (isOver = true))
      await until('it looks whether they have gone', () => quiet.length === 1)
      // In the phase of timers, as after a pause of the process: sockets are read in the next one.
      setTimeout(() => {
        client.send(command('PING'))
        quiet.shift()?.()
      })
      await client.until((text) => text.endsWith('+PONG\r\n'))
      await until('it looks again, or has departed', () => quiet.length === 1 || isOver)
      assert.is(isOver, false)
    },
    { clock },
  )
})

test('clients that never go are waited for no longer than a bound, and a hand-over that failed is told', async () => {
  const { clock, quiet } = steeredClock()
  await withServer(
    async ({ raft, server, events }, client) => {
      const transfer = transferable(raft)
      let isOver = false
      void server.depart().then(() => (isOver = true))
      transfer.settle(new Error('nobody took it'))
      for (let looks = 0; looks < LINGER_MS_MAX / QUIET_MS; looks += 1) {
        await until(`look ${looks}`, () => quiet.length === 1)
        assert.is(isOver, false)
        await client.ask(command('PING'), '+PONG\r\n')
        quiet.shift()?.()
      }
      await until('it has departed', () => isOver)
      assert.ok(events.includes('leadership.kept'))
    },
    { clock },
  )
})

test('a server that leads nobody, or does not lead, hands nothing over; without clients it waits for nothing', () =>
  withServer(async ({ raft, server }, client) => {
    const transfer = transferable(raft)
    raft.peer('s2', false)
    client.close()
    await until('the client is gone', () => server.clientCount === 0)
    await server.depart()
    raft.peer('s2', true)
    raft.follow(s2)
    await server.depart()
    assert.equal(transfer.asked, [])
  }))

const endings = ['another leads', 'the server closes', 'one with an outcome that is not known'] as const
const codes = ['ERR_RAFT_LEADERSHIP_LOST', 'ERR_RAFT_NO_LEADER'] as const

for (const [ending, code] of endings.flatMap((each) => codes.map((code) => [each, code] as const))) {
  test(`what was not applied because leadership went is answered when it is known where it went: ${ending}, ${code}`, () =>
    withServer(
      async ({ raft, server }, client) => {
        let reject: (error: RaftError) => void = () => undefined
        Object.assign(raft, { applyAll: () => new Promise((_resolve, fail) => (reject = fail)) })
        client.send(command('SET', 'k', 'v'))
        await until('it is under way', () => server.counters.commands === 1)
        raft.follow(null)
        const outcome = ending.startsWith('one with') ? 'unknown' : 'not-applied'
        reject(new RaftError(code, 'x', { outcome }))
        await new Promise(setImmediate)
        if (outcome === 'unknown') {
          return assert.match(await client.until((text) => text.endsWith('\r\n')), /^-ERR RAFT_UNKNOWN /)
        }
        assert.is(client.received, '')
        if (ending === 'another leads') raft.follow(s2, 3)
        else await server.close(raft.close())
        const answer = await client.until((text) => text.endsWith('\r\n'))
        assert.match(answer, ending === 'another leads' ? /^-MOVED 7629 127\.0\.0\.1:7002\r\n$/ : /^-CLUSTERDOWN /)
        await until('nothing waits', () => server.leadership.waits === 0)
      },
      { leaderWaitMs: 60_000 },
    ))
}

test('a command that waits for a leader is answered when its server departs, and not left without an answer', () =>
  withServer(
    async ({ raft, server }, client) => {
      raft.follow(null)
      client.send(command('SET', 'k', 'v'))
      await until('it waits', () => (server.rooms['turns'] ?? 0) > 0)
      const departing = server.depart()
      assert.match(await client.until((text) => text.endsWith('\r\n')), /^-CLUSTERDOWN /)
      await departing
    },
    { leaderWaitMs: 60_000 },
  ))

async function assertNobodyListens(port: number): Promise<void> {
  const refusal = await RawClient.connect(port).then(
    () => 'somebody listens',
    (error: NodeJS.ErrnoException) => error.code,
  )
  assert.is(refusal, 'ECONNREFUSED')
}

test.run()
