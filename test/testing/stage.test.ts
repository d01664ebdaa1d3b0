/**
 * The stage by itself: it runs anywhere, moves only when it is told to, and throws when a server does what none may do.
 */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftCore } from '#balsa/core/index.js'
import type { ReadOutcome, Ready, Request, Response } from '#balsa/core/index.js'
import { Truth } from '#balsa/testing/invariants/truth.js'
import { Violation } from '#balsa/testing/invariants/violation.js'
import type { Observer } from '#balsa/testing/observer.js'
import { StageEntries } from '#balsa/testing/stage/blocks.js'
import { StageClients } from '#balsa/testing/stage/stage-clients.js'
import { Stage } from '#balsa/testing/stage/stage.js'
import { logIndex, termOf } from '#balsa/types.js'
import { randomFrom } from '../support/seed.js'

const test = suite('the stage')

test('runs where there is nothing but the language: no Node, no timer, no console', () => {
  const script = fileURLToPath(new URL('bare-context/cli.js', import.meta.url))
  const door = fileURLToPath(import.meta.resolve('balsa-raft/testing/stage'))
  const args = ['--experimental-vm-modules', '--no-warnings', script, door]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  assert.is(status, 0, stderr)
  assert.is(stdout.trim(), 's1 leads term 2')
})

test('does not move by itself: a message stays where it is until it is delivered, a write until the disk is told', () => {
  const stage = new Stage()
  stage.timeout('s1')
  const asked = [...stage.inFlight]
  assert.equal(
    asked.map(({ from, to, message }) => `${from}>${to} ${message.type}`),
    ['s1>s2 PreVote', 's1>s3 PreVote'],
  )
  stage.pass(50)
  assert.equal(stage.inFlight, asked)
  stage.deliver()
  stage.deliver()
  assert.is(stage.core('s1').role, 'candidate')
  assert.is(stage.server('s1').disk.pendingTickets, 1)
  assert.equal(stage.inFlight, [], 'its vote for itself is not durable')
  stage.persist('s1')
  assert.is(stage.inFlight.length, 2)
})

test('gives the same story for the same randomness, line by line', () => {
  const story = (): string => {
    const random = randomFrom(7)
    const stage = new Stage({ servers: 5, random: () => random })
    stage.run(3000)
    stage.crash(stage.leader?.id ?? 's1')
    stage.run(3000)
    return stage.trace?.join('\n') ?? ''
  }
  assert.ok(story().length > 1000)
  assert.is(story(), story())
})

test('tells its observers what happens, in that order, and one that comes late what happens from then on', () => {
  const told: string[] = []
  const ear: Observer = {
    booted: ({ id }) => void told.push(`${id} booted`),
    stepped: ({ id }, _core, { type }) => void told.push(`${id} stepped ${type}`),
    decided: ({ id }, _core, { ticket }) => void (ticket !== null && told.push(`${id} decided ${ticket.ticket}`)),
    submitted: ({ id }, ticket) => void told.push(`${id} submitted ${ticket}`),
    sent: ({ id }, to, { type }) => void told.push(`${id} sent ${type} to ${to}`),
    turned: ({ id }) => void told.push(`${id} turned`),
    durable: ({ id }, ticket) => void told.push(`${id} durable ${ticket}`),
    applied: ({ id }, commands, last) => void told.push(`${id} applied ${commands.length} up to ${last}`),
    crashed: ({ id }) => void told.push(`${id} crashed`),
  }
  const early = new Stage({ servers: 1, observers: [ear] })
  assert.equal(told.splice(0), ['s1 booted', 's1 stepped credit'])
  early.timeout('s1')
  assert.equal(told.splice(0), ['s1 stepped turn', 's1 stepped tick', 's1 decided 1', 's1 submitted 1', 's1 turned'])
  early.write('s1')
  early.crash('s1')
  assert.equal(told.splice(0), ['s1 durable 1', 's1 crashed'])

  const late = new Stage({ servers: 1 })
  late.watch(ear)
  late.elect('s1')
  assert.is(told[0], 's1 stepped turn')
  assert.match(told.filter((line) => line.startsWith('s1 applied')).at(-1) ?? '', 'up to 2')
})

/** From now on what this core decides is tampered with before anybody sees it. */
function tamper(core: RaftCore, change: (ready: Ready) => Ready): void {
  core.takeReady = () => change(RaftCore.prototype.takeReady.call(core))
}

function violationOf(run: () => void): Violation {
  try {
    run()
  } catch (error) {
    if (error instanceof Violation) return error
    throw error
  }
  throw new Error('everything held')
}

test('throws the violation, with its number, when a core does what none may do', () => {
  const stage = new Stage()
  const message: Request = { type: 'RequestVote', term: termOf(2), lastIndex: logIndex(1), lastTerm: termOf(1) }
  // Asks for votes in the turn that writes its own.
  tamper(stage.core('s1'), (ready) => {
    if (ready.ticket === null) return ready
    return { ...ready, messages: [{ kind: 'request', to: 's2', session: 1, message }] }
  })
  const { invariant, message: said } = violationOf(() => stage.elect('s1'))
  assert.is(invariant, 10)
  assert.match(said, 's1 sends RequestVote of term 2, durable is term 1')
})

test('watches each server by itself even when messages are made up', () => {
  const stage = new Stage({ madeUp: true })
  const link = stage.network.linkOf(stage.server('s3').sessions.get('s2') ?? 0)
  const message: Response = { type: 'RequestVoteResult', term: termOf(2), granted: true }
  tamper(stage.core('s2'), (ready) => ({ ...ready, messages: [{ kind: 'response', link, message }] }))
  const asked: Request = { type: 'RequestVote', term: termOf(2), lastIndex: logIndex(1), lastTerm: termOf(1) }
  const { invariant, message: said } = violationOf(() => void stage.ask('s3', 's2', asked))
  assert.is(invariant, 10)
  assert.match(said, 's2 sends RequestVoteResult of term 2, durable is term 1')
})

test('finds fault with what clients are told: one outcome each, and a true one', () => {
  const truth = new Truth(new StageEntries())
  for (const command of [5, 6]) truth.commit({ term: 1, fingerprint: command, prevTerm: 1, command }, 1)
  const cases: readonly (readonly [number, string, (clients: StageClients) => void])[] = [
    [14, 'answers read 1 twice', (on) => [1, 1].forEach((id) => on.answered('s1', { id, status: 'notLeader' }))],
    [13, 'confirmed at 1, 2 was committed before', (on) => on.answered('s1', confirmed(1))],
    [13, 'confirmed at 3, not committed', (on) => on.answered('s1', confirmed(3))],
    [14, 'accepted 1 at 7, and applies 9', (on) => on.applied('s1', [{ index: logIndex(7), term: termOf(1), id: 9 }])],
    [14, 'accepts a proposal at 7, where 1 has', (on) => void on.proposed('s1', 7, 1)],
  ]
  for (const [number, says, act] of cases) {
    const clients = new StageClients(truth)
    clients.proposed('s1', 7, 1)
    clients.asked('s1')
    const { invariant, message } = violationOf(() => act(clients))
    assert.match(message, says)
    assert.is(invariant, number)
  }
})

function confirmed(index: number): ReadOutcome {
  return { id: 1, status: 'confirmed', index: logIndex(index) }
}

test.run()
