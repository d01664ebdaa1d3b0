/**
 * The history of simulated clients, from the lines of a simulation's trace that tell of calls: `invoked` and
 * `returned`, in the order in which they happened. Their store is a set of registers: a write answers what the register
 * held before.
 */

import type { CheckOptions, Verdict } from './check.js'
import { checkHistory } from './check.js'
import type { History, Operation, Step } from './history.js'

export interface ClientCall {
  readonly event: 'invoked'
  /** Of the call. */
  readonly id: number
  /** `writes`: several, one after the other, of which only the last is answered. A barrier is not of interest here. */
  readonly kind: 'write' | 'writes' | 'submit' | 'read' | 'query' | 'barrier'
  readonly client: number
  readonly key: number
  /** The values that it writes; unique. */
  readonly commands: readonly number[]
}

export interface ClientAnswer {
  readonly event: 'returned'
  readonly id: number
  /** `not-applied` is certain; whatever is neither that nor `ok` may have happened. */
  readonly status: string
  /** What the register held before, or holds; 0 for nothing. */
  readonly value: number
}

/** Any other line is passed over. */
export type ClientEvent = ClientCall | ClientAnswer | { readonly event: string }

/** Judges what simulated clients saw. Only `linearizable` is a success. */
export function checkClients(events: Iterable<ClientEvent>, options: CheckOptions): Verdict {
  return checkHistory(historyOfClients(events), options)
}

export function historyOfClients(events: Iterable<ClientEvent>): History {
  const open = new Map<number, { readonly call: ClientCall; readonly at: number; readonly client: string }>()
  const history: Operation[] = []
  const lives = new Map<number, number>()
  // The order of the lines is the clock: two of them never stand at the same place.
  let now = 0
  for (const event of events) {
    now += 1
    if (isCall(event)) {
      const client = `${event.client}.${lives.get(event.client) ?? 0}`
      open.set(event.id, { call: event, at: now, client })
    } else if (isAnswer(event)) {
      const begun = open.get(event.id)
      if (begun === undefined) throw new RangeError(`call ${event.id} returns and was not open`)
      open.delete(event.id)
      history.push(...operationsOf(begun, event, now))
      // A client whose outcome is unknown is never heard of again; whoever goes on in its place is another one.
      const isCertain = event.status === 'ok' || event.status === 'not-applied'
      if (!isCertain) lives.set(begun.call.client, (lives.get(begun.call.client) ?? 0) + 1)
    }
  }
  for (const begun of open.values()) history.push(...operationsOf(begun, null, Infinity))
  return history
}

function operationsOf(
  { call, at, client }: { readonly call: ClientCall; readonly at: number; readonly client: string },
  answer: ClientAnswer | null,
  now: number,
): readonly Operation[] {
  const status = answer?.status ?? 'unknown'
  const outcome = status === 'ok' ? 'ok' : status === 'not-applied' ? 'failed' : 'unknown'
  const steps = stepsOf(call)
  return steps.map((step, place) => {
    if (outcome === 'ok') {
      const results = [step.op === 'set' ? 'OK' : valueOf(answer?.value ?? 0)]
      const operation = { client, steps: [step], call: at, return: now, outcome, results } as const
      return place === 0 ? operation : { ...operation, isPipelined: true }
    }
    // Without an answer, each may have happened by itself.
    const who = place === 0 ? client : `${client}/${place}`
    return { client: who, steps: [step], call: at, outcome, return: null, results: null }
  })
}

function stepsOf({ kind, key, commands }: ClientCall): readonly Step[] {
  const register = `r${key}`
  if (kind === 'read' || kind === 'query') return [{ op: 'get', key: register }]
  return commands.map((value, at) => {
    return { op: at === commands.length - 1 ? 'getset' : 'set', key: register, value: String(value) }
  })
}

function valueOf(value: number): string | null {
  return value === 0 ? null : String(value)
}

function isCall(event: ClientEvent): event is ClientCall {
  return event.event === 'invoked'
}

function isAnswer(event: ClientEvent): event is ClientAnswer {
  return event.event === 'returned'
}
