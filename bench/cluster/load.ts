/**
 * Load on one server, made in its own process. Latency in a closed loop runs from the call; in an open loop from the
 * moment at which the schedule wanted the call, so that a stall is charged to everything that it held up (no
 * coordinated omission).
 */

import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import type { Raft } from 'balsa-raft'
import { RaftError } from 'balsa-raft'
import { prometheusText } from 'balsa-raft/observe'
import { quantile } from '../statistics.js'
import type { Latencies, Load, Loaded, Work } from './messages.js'

export type MeasuredRaft = Raft<Uint8Array, number, null, number>

/** Reads that are answered at once never let the event loop run by themselves: after so many of them it runs. */
const READS_PER_TURN = 64
/** Half an election timeout of the default. */
const LEASE_MS = 500
/** Half of what a session takes, so that none of it is ever refused. */
const SESSION_IN_FLIGHT = 256
/** Far more often than anybody collects metrics. */
const METRICS_READ_EVERY_MS = 100
/** An open loop that is further behind than this gives up on what is due, and counts it as refused. */
const OPEN_LOOP_WAITING_MAX = 16_384

/** How often the schedule is looked at; asking all the time would take a core from those who are measured. */
const OPEN_LOOP_TICK_MS = 1

/** Latencies of one load, in order of completion. */
export class Recorder {
  #values = new Float64Array(65_536)
  #count = 0

  get count(): number {
    return this.#count
  }

  add(milliseconds: number): void {
    if (this.#count === this.#values.length) {
      const grown = new Float64Array(2 * this.#count)
      grown.set(this.#values)
      this.#values = grown
    }
    this.#values[this.#count] = milliseconds
    this.#count += 1
  }

  summary(): Latencies {
    const sorted = this.#values.slice(0, this.#count).sort()
    const at = (share: number): number => quantile(sorted, share)
    return { type: 'latencies', p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) }
  }
}

/** `ended`: ends an open loop before its time. */
export async function runLoad(raft: MeasuredRaft, load: Load, recorder: Recorder, ended: AbortSignal): Promise<Loaded> {
  const { operation, end } = await begin(raft, load)
  const { pace, milliseconds } = load
  try {
    if ('perSecond' in pace) return await openLoop(operation, pace.perSecond, milliseconds, recorder, ended)
    const isAtOnce = load.work === 'staleRead' || load.work === 'leaseRead'
    const turnAfter = isAtOnce ? READS_PER_TURN : Infinity
    return await closedLoop(operation, pace.inFlight, milliseconds, turnAfter, recorder)
  } finally {
    await end()
  }
}

/** What a load consists of, and what stands beside it until it has ended. */
interface Begun {
  readonly operation: () => Promise<unknown>
  readonly end: () => Promise<void>
}

async function begin(raft: MeasuredRaft, { work, pace, payloadBytes }: Load): Promise<Begun> {
  const command = new Uint8Array(payloadBytes).fill(0x62)
  if (work === 'session') return inSessions(raft, command, 'inFlight' in pace ? pace.inFlight : SESSION_IN_FLIGHT)
  const operation = operationOf(raft, work, command)
  if (work === 'observedApply') return { operation, end: observe(raft) }
  if (work === 'tracedApply') return { operation, end: trace() }
  // Once: other loads do not ask by leases.
  const hasLeases = raft.configuration().configuration.leaseMs !== undefined
  if (work === 'leaseRead' && !hasLeases) await raft.setLease(LEASE_MS)
  return { operation, end: () => Promise.resolve() }
}

async function inSessions(raft: MeasuredRaft, command: Uint8Array, inFlight: number): Promise<Begun> {
  const count = Math.ceil(inFlight / SESSION_IN_FLIGHT)
  const sessions = await Promise.all(Array.from({ length: count }, () => raft.openSession()))
  let next = 0
  const operation = (): Promise<unknown> => {
    next += 1
    return (sessions[next % count] as (typeof sessions)[number]).apply(command)
  }
  return { operation, end: async () => void (await Promise.all(sessions.map((session) => session.close()))) }
}

/** Returns what ends it. */
function observe(raft: MeasuredRaft): () => Promise<void> {
  const reading = setInterval(() => prometheusText(raft.metrics()), METRICS_READ_EVERY_MS)
  const channels = ['leader', 'role', 'configuration', 'snapshot', 'peer', 'stall', 'fault'].map(
    (event) => `balsa:${event}`,
  )
  for (const channel of channels) subscribe(channel, ignore)
  return () => {
    clearInterval(reading)
    for (const channel of channels) unsubscribe(channel, ignore)
    return Promise.resolve()
  }
}

/** Returns what ends it. */
function trace(): () => Promise<void> {
  const calls = tracingChannel('balsa:apply')
  const ears = { start: ignore, end: ignore, asyncStart: ignore, asyncEnd: ignore, error: ignore }
  calls.subscribe(ears)
  return () => {
    calls.unsubscribe(ears)
    return Promise.resolve()
  }
}

function ignore(): void {}

function operationOf(raft: MeasuredRaft, work: Exclude<Work, 'session'>, command: Uint8Array): () => Promise<unknown> {
  switch (work) {
    case 'apply':
    case 'observedApply':
    case 'tracedApply':
      return () => raft.apply(command)
    case 'submit':
      return () => raft.submit(command)
    case 'query':
      return () => raft.query(null)
    case 'linearizableRead':
      return () => raft.read(null)
    case 'leaseRead':
      return () => raft.read(null, { consistency: 'lease' })
    case 'staleRead':
      return () => raft.read(null, { consistency: 'stale' })
  }
}

/** `turnAfter`: after so many operations of one caller the event loop runs. */
export async function closedLoop(
  operation: () => Promise<unknown>,
  inFlight: number,
  milliseconds: number,
  turnAfter: number,
  recorder: Recorder,
): Promise<Loaded> {
  const start = performance.now()
  const end = start + milliseconds
  let refused = 0
  // Each answer makes room for one of them: asking all the time would keep the server from its work.
  const refusedCallers: (() => void)[] = []
  const caller = async (): Promise<void> => {
    let done = 0
    for (let begin = performance.now(); begin < end; begin = performance.now()) {
      // Refused is not over: the caller goes on waiting, and so does its latency.
      while (!(await accepted(operation))) {
        refused += 1
        await new Promise<void>((resolve) => refusedCallers.push(resolve))
      }
      recorder.add(performance.now() - begin)
      refusedCallers.shift()?.()
      done += 1
      if (done % turnAfter === 0) await new Promise(setImmediate)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  return loadedOf(recorder, refused, start, end)
}

/** False when too much waits in the server. */
async function accepted(operation: () => Promise<unknown>): Promise<boolean> {
  try {
    await operation()
    return true
  } catch (error) {
    if (error instanceof RaftError && error.code === 'ERR_RAFT_OVERLOADED') return false
    throw error
  }
}

function loadedOf(recorder: Recorder, refused: number, start: number, end: number): Loaded {
  const now = performance.now()
  const drainMilliseconds = Math.max(0, now - end)
  return { type: 'loaded', operations: recorder.count, refused, milliseconds: now - start, drainMilliseconds }
}

async function openLoop(
  operation: () => Promise<unknown>,
  perSecond: number,
  milliseconds: number,
  recorder: Recorder,
  ended: AbortSignal,
): Promise<Loaded> {
  const start = performance.now()
  const total = Math.floor((milliseconds / 1000) * perSecond)
  const waiting = new Set<Promise<void>>()
  const failures: unknown[] = []
  let refused = 0
  const one = async (due: number): Promise<void> => {
    try {
      if (await accepted(operation)) recorder.add(performance.now() - due)
      else refused += 1
    } catch (error) {
      failures.push(error)
    }
  }
  for (let begun = 0; begun < total && failures.length === 0 && !ended.aborted;) {
    const due = Math.min(total, Math.floor(((performance.now() - start) / 1000) * perSecond))
    for (; begun < due; begun += 1) {
      if (waiting.size >= OPEN_LOOP_WAITING_MAX) {
        refused += 1
        continue
      }
      const call = one(start + (begun / perSecond) * 1000)
      waiting.add(call)
      void call.then(() => waiting.delete(call))
    }
    await new Promise((resolve) => setTimeout(resolve, OPEN_LOOP_TICK_MS))
  }
  const end = Math.min(performance.now(), start + milliseconds)
  await Promise.all(waiting)
  if (failures.length > 0) throw failures[0]
  return loadedOf(recorder, refused, start, end)
}
