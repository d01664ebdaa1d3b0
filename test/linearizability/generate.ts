/**
 * Makes up histories: of a store that is linearizable by construction (every operation takes effect at one instant
 * between call and return), and then of broken ones, by changing what a client saw.
 */

import { below, pick } from '../support/seed.js'
import type { Random } from '../support/seed.js'
import type { History, Operation, Result, Step } from './history.js'
import { runSteps } from './model.js'

export interface Shape {
  readonly operations: number
  readonly clients: number
  /** Each MULTI touches keys of one of these lists; every other operation touches one key. */
  readonly keyGroups: readonly (readonly string[])[]
  /** 0 .. 1: how many of the operations get no answer; half of those take effect, sooner or later. */
  readonly unknownShare: number
  /** Nothing but reads and writes, most of which tell what was there before, as the clients of simulated worlds do. */
  readonly isRegisters?: boolean
}

interface Draft {
  readonly operation: Operation
  /** When it takes effect; null for never. */
  readonly effect: number | null
}

export function linearizableHistory(random: Random, shape: Shape): History {
  const drafts: Draft[] = []
  const clients = Array.from({ length: shape.clients }, (_, at) => ({ id: `c${at}`, free: random(), lives: 0 }))
  for (let count = 0; count < shape.operations; count++) {
    const client = clients.toSorted((a, b) => a.free - b.free)[0]
    if (client === undefined) break
    const call = client.free + random()
    // A few calls are slow, as at a pause of the leader.
    const returned = call + random() * (random() < 0.01 ? 60 : 3)
    const unknown = random() < shape.unknownShare
    const operation = { client: `${client.id}.${client.lives}`, steps: drawSteps(random, shape, count), call }
    if (unknown) {
      const effect = random() < 0.5 ? null : call + random() * 30
      drafts.push({ operation: { ...operation, return: null, outcome: 'unknown', results: null }, effect })
      client.lives += 1
    } else {
      const effect = call + random() * (returned - call)
      drafts.push({ operation: { ...operation, return: returned, outcome: 'ok', results: [] }, effect })
    }
    client.free = returned
  }
  return answer(drafts)
}

/** The same history with one answer changed to another one that the same client might have been given. */
export function withOneAnswerChanged(random: Random, history: History): History {
  const answered = history.filter((operation) => operation.results !== null)
  if (answered.length === 0) return history
  const victim = pick(random, answered)
  const at = below(random, victim.steps.length)
  const old = victim.results?.[at] ?? null
  const others = answered.flatMap((operation) =>
    operation.steps.flatMap((step, index) =>
      step.op === victim.steps[at]?.op ? [operation.results?.[index] ?? null] : [],
    ),
  )
  const result: Result = typeof old === 'number' ? old + pick(random, [-1, 1, 2]) : pick(random, [...others, null])
  const results = victim.results?.with(at, result) ?? null
  return history.map((operation) => (operation === victim ? { ...victim, results } : operation))
}

/** The same history with one operation moved in time, which keeps its client sequential only if it is alone there. */
export function withOneMoved(random: Random, history: History): History {
  const victim = pick(random, history)
  const shift = (random() - 0.5) * 12
  const moved = { ...victim, client: `${victim.client}.moved`, call: victim.call + shift }
  const returned = victim.return === null ? null : victim.return + shift
  return history.map((operation) => (operation === victim ? { ...moved, return: returned } : operation))
}

function answer(drafts: readonly Draft[]): History {
  const values = new Map<string, string>()
  const results = new Map<Draft, readonly Result[]>()
  const effective = drafts.filter((draft) => draft.effect !== null)
  for (const draft of effective.toSorted((a, b) => (a.effect ?? 0) - (b.effect ?? 0))) {
    results.set(draft, runSteps(values, draft.operation.steps))
  }
  return drafts.map((draft) => {
    const { operation } = draft
    return operation.outcome === 'ok' ? { ...operation, results: results.get(draft) ?? [] } : operation
  })
}

function drawSteps(random: Random, shape: Shape, count: number): readonly Step[] {
  const group = pick(random, shape.keyGroups)
  const draw = shape.isRegisters === true ? drawRegisterStep : drawStep
  if (random() > 0.1) return [draw(random, pick(random, group), count * 4)]
  return Array.from({ length: 2 + below(random, 2) }, (_, at) => draw(random, pick(random, group), count * 4 + at + 1))
}

function drawRegisterStep(random: Random, key: string, unique: number): Step {
  const kind = random()
  if (kind < 0.25) return { op: 'get', key }
  return { op: kind < 0.7 ? 'getset' : 'set', key, value: `v${unique};` }
}

/** Values that are set are numbers now and then, so that INCR has something to count; all are unique. */
function drawStep(random: Random, key: string, unique: number): Step {
  const kind = random()
  if (kind < 0.3) return { op: 'get', key }
  if (kind < 0.35) return { op: 'getset', key, value: `g${unique};` }
  // Now and then what it expects is there.
  const expected = random() < 0.5 ? null : `g${Math.max(0, unique - 4 * below(random, 4))};`
  if (kind < 0.4) return { op: 'cas', key, expected, value: `g${unique}c` }
  if (kind < 0.65) return { op: 'set', key, value: random() < 0.5 ? `v${unique};` : `${unique}000` }
  if (kind < 0.8) return { op: 'incr', key }
  if (kind < 0.95) return { op: 'append', key, value: `a${unique};` }
  return { op: 'del', key }
}
