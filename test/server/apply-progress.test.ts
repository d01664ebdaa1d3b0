/** How far the state machine has come is told while it is far behind, and only then. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { defineStateMachine, msgpackCodec, Raft } from 'balsa-raft'
import { ApplyProgress } from '#balsa/server/apply-progress.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { logIndex } from '#balsa/types.js'
import type { Logger } from '#balsa/types.js'
import { StageTransport } from '../support/lone-server.js'
import { ManualClock } from '../transport/manual-clock.js'

class Lines {
  readonly told: string[] = []
  readonly logger: Logger = {
    debug: () => {},
    info: (event, fields) => void this.told.push(`${event} ${JSON.stringify(fields)}`),
    warn: () => {},
    error: () => {},
  }
}

/** [now, applied, known to be committed], by turn. */
function toldOf(turns: readonly (readonly [number, number, number])[]): readonly string[] {
  const lines = new Lines()
  const progress = new ApplyProgress(lines.logger, logIndex(0), 0)
  for (const [now, applied, known] of turns) {
    progress.look({ appliedIndex: logIndex(applied), knownCommitIndex: logIndex(known) }, now)
  }
  return lines.told
}

test('a long replay is told with its rate and what is left, less often as it lasts, and its end', () => {
  const second = (at: number): readonly [number, number, number] => [at * 1000, Math.min(at * 1000, 40_000), 40_000]
  const told = toldOf(Array.from({ length: 45 }, (_, at) => second(at)))
  assert.equal(told, [
    'apply.going-on {"appliedIndex":1000,"commitIndex":40000,"perSecond":1000,"secondsLeft":39}',
    'apply.going-on {"appliedIndex":3000,"commitIndex":40000,"perSecond":1000,"secondsLeft":37}',
    'apply.going-on {"appliedIndex":7000,"commitIndex":40000,"perSecond":1000,"secondsLeft":33}',
    'apply.going-on {"appliedIndex":15000,"commitIndex":40000,"perSecond":1000,"secondsLeft":25}',
    'apply.going-on {"appliedIndex":25000,"commitIndex":40000,"perSecond":1000,"secondsLeft":15}',
    'apply.going-on {"appliedIndex":35000,"commitIndex":40000,"perSecond":1000,"secondsLeft":5}',
    'apply.caught-up {"entries":40000,"seconds":40}',
  ])
})

test('nothing is told of a server under load, whose state machine is always a little behind', () => {
  const turns = Array.from({ length: 10_000 }, (_, at): [number, number, number] => [at, at * 100, at * 100 + 8192])
  assert.equal(toldOf(turns), [])
})

test('a state machine that hangs is told of, at most every ten seconds, and no second of it is promised', () => {
  const told = toldOf(Array.from({ length: 100 }, (_, at): [number, number, number] => [at * 1000, 5, 6]))
  assert.is(told.length, 12)
  assert.is(told.at(-1), 'apply.going-on {"appliedIndex":5,"commitIndex":6,"perSecond":0,"secondsLeft":null}')
})

test('a server that starts without a snapshot tells how far it has come', async () => {
  const storage = memoryStore()
  const open = (apply: () => Promise<readonly null[]> | readonly null[], logger: Logger, clock: ManualClock) =>
    Raft.open<number, null>({
      ...{ id: 's1', dir: '/s1', bootstrap: [{ id: 's1', address: 's1:1' }], storage, logger, clock },
      ...{ transport: new StageTransport(), codec: msgpackCodec<number>() },
      stateMachine: defineStateMachine<number, null>({ apply }),
    })
  const first = await open(() => [null], new Lines().logger, new ManualClock())
  await first.ready()
  for (let n = 0; n < 5; n += 1) await first.apply(n)
  await first.close()

  const lines = new Lines()
  let answer: (results: readonly null[]) => void = () => {}
  const held = new Promise<readonly null[]>((resolve) => (answer = resolve))
  const later = new ManualClock()
  const second = await open(() => held, lines.logger, later)
  later.advance(1000)
  for (let turn = 0; turn < 4; turn += 1) await nextTurn()
  const { commitIndex, appliedIndex } = second.status
  const told = lines.told.filter((line) => line.startsWith('appl'))
  const line = { appliedIndex, commitIndex, perSecond: 0, secondsLeft: null }
  assert.equal(told, [`apply.going-on ${JSON.stringify(line)}`])
  answer(Array.from({ length: 5 }, () => null))
  await second.close()
})

test.run()
