/**
 * Clients that work on a cluster until they are told to stop, and what they do: reads, writes and transactions on pairs
 * of keys, a text and a number. The pairs change as the work goes on, so that no group of operations grows too large to
 * be searched; the pairs of the last turn stay in use for a while.
 */

import type { Step } from '../linearizability/history.js'
import type { HistoryRecorder } from './history-recorder.js'
import { Lane } from './history-recorder.js'
import { RespClient } from './resp-client.js'
import type { Random } from './seed.js'
import { below, pick } from './seed.js'
import { pause } from './until.js'

const PAIRS_AT_ONCE = 3
const OPERATIONS_PER_TURN = 300
const THINK_MS_MAX = 3
/** After a refusal, and when nobody listens. */
const BACKOFF_MS = 20
/**
 * While no server answers: an election takes a few milliseconds, and what the next leader says in its first ones,
 * before it knows what is committed (6.4), is what reads must not see.
 */
const ELECTION_BACKOFF_MS = 1
const ELECTION_AFTER_MS = 100
/** How long a client waits for an answer. Long for a healthy server on a busy machine, short beside a pause. */
const IMPATIENT_MS = 1500
/** Longer than any pause, so that it hears what became of its operation. */
const PATIENT_MS = 20_000

/** Draws what clients do. Every written value is unique. */
export class Workload {
  readonly #random: Random
  readonly #recorder: HistoryRecorder
  #values = 0

  constructor(random: Random, recorder: HistoryRecorder) {
    this.#random = random
    this.#recorder = recorder
  }

  /** Two of them are sent in one write. */
  next(): readonly (readonly Step[])[] {
    const { text, number } = this.#pair()
    const value = this.#value()
    const drawn = below(this.#random, 100)
    if (drawn < 30) return [[{ op: 'get', key: pick(this.#random, [text, number]) }]]
    if (drawn < 40) return [[{ op: 'set', key: text, value }]]
    if (drawn < 44) return [[{ op: 'set', key: number, value: String(this.#values * 1000) }]]
    if (drawn < 57) return [[{ op: 'append', key: text, value }]]
    if (drawn < 69) return [[{ op: 'incr', key: number }]]
    if (drawn < 71) return [[{ op: 'incr', key: text }]]
    if (drawn < 88) return [pick(this.#random, transactions(text, number, value))]
    return pick(this.#random, pipelines(text, number, value))
  }

  /** A read of what was written last: the first thing that a server with old data would get wrong. */
  nextWatch(): readonly (readonly Step[])[] {
    const { latestKeys } = this.#recorder
    return latestKeys.length === 0 ? this.next() : [[{ op: 'get', key: pick(this.#random, latestKeys) }]]
  }

  /** Every key that was ever drawn. */
  get keys(): readonly string[] {
    const turns = Array.from({ length: this.#turn + 1 }, (_, turn) => turn)
    return turns.flatMap((turn) =>
      Array.from({ length: PAIRS_AT_ONCE }, (_, at) => keysOf(turn, at)).flatMap(({ text, number }) => [text, number]),
    )
  }

  think(): Promise<void> {
    return pause(this.#random() * THINK_MS_MAX)
  }

  backOff(): Promise<void> {
    return pause(this.#recorder.idleMs > ELECTION_AFTER_MS ? ELECTION_BACKOFF_MS : BACKOFF_MS)
  }

  get #turn(): number {
    return Math.floor(this.#recorder.completed / OPERATIONS_PER_TURN)
  }

  #pair(): { readonly text: string; readonly number: string } {
    const turn = Math.max(0, this.#turn - below(this.#random, 2))
    return keysOf(turn, below(this.#random, PAIRS_AT_ONCE))
  }

  #value(): string {
    this.#values += 1
    return `v${this.#values}.`
  }
}

function keysOf(turn: number, at: number): { readonly text: string; readonly number: string } {
  return { text: `text-${turn}-${at}`, number: `number-${turn}-${at}` }
}

function transactions(text: string, number: string, value: string): readonly (readonly Step[])[] {
  return [
    [
      { op: 'set', key: text, value },
      { op: 'incr', key: number },
    ],
    [
      { op: 'append', key: text, value },
      { op: 'get', key: number },
    ],
    [
      { op: 'get', key: text },
      { op: 'get', key: number },
    ],
    [
      { op: 'incr', key: number },
      { op: 'incr', key: text },
      { op: 'append', key: text, value },
      { op: 'get', key: text },
    ],
  ]
}

function pipelines(text: string, number: string, value: string): readonly (readonly (readonly Step[])[])[] {
  return [
    [[{ op: 'append', key: text, value }], [{ op: 'get', key: text }]],
    [[{ op: 'get', key: number }], [{ op: 'incr', key: number }]],
    [[{ op: 'incr', key: number }], [{ op: 'get', key: number }]],
  ]
}

/** Where a client sends its next operation. */
export interface Route {
  readonly port: number
  /** Called with what a refusal said, or null when there was no answer at all. */
  readonly refused: (movedTo: number | null) => void
}

/** Always the same server, whatever it answers. */
export function pinnedTo(port: number): Route {
  return { port, refused: () => undefined }
}

/** Follows redirections, and tries the servers in turn when there is none: also those that have come meanwhile. */
export class Roaming implements Route {
  readonly #servers: { readonly ports: readonly number[] }
  #port: number

  constructor(servers: { readonly ports: readonly number[] }, start: number) {
    this.#servers = servers
    this.#port = servers.ports[start] ?? 0
  }

  get port(): number {
    return this.#port
  }

  refused(movedTo: number | null): void {
    const { ports } = this.#servers
    this.#port = movedTo ?? ports[(ports.indexOf(this.#port) + 1) % ports.length] ?? 0
  }
}

/**
 * Works until `stopped` says so. A pipeline of two operations is the work of two clients of the history, since they
 * overlap. A connection on which an answer is late is kept: what is sent on it next waits at the server behind what
 * came before, as it would on any connection to a process that is paused.
 */
export async function runClient(
  client: {
    readonly name: string
    readonly route: Route
    readonly work: 'everything' | 'watch'
    readonly isPatient: boolean
  },
  parts: { readonly workload: Workload; readonly recorder: HistoryRecorder; readonly stopped: () => boolean },
): Promise<void> {
  const { name, route, work, isPatient } = client
  const { workload, recorder, stopped } = parts
  const lanes = [new Lane(`${name}.1`), new Lane(`${name}.2`)] as const
  const connections = new Map<number, RespClient>()
  while (!stopped()) {
    const { port } = route
    const connection = await connectTo(port, connections)
    if (connection === null) {
      route.refused(null)
      await workload.backOff()
      continue
    }
    const drawn = work === 'watch' ? workload.nextWatch() : workload.next()
    const operations = drawn.map((steps, at) => ({ lane: lanes[at === 0 ? 0 : 1], steps }))
    const endings = await recorder.perform(connection, port, operations, isPatient ? PATIENT_MS : IMPATIENT_MS)
    const refusal = endings.find(({ outcome }) => outcome !== 'ok')
    if (refusal === undefined) {
      await workload.think()
    } else {
      route.refused(refusal.movedTo)
      if (refusal.outcome === 'failed') await workload.backOff()
    }
  }
  for (const connection of connections.values()) connection.close()
}

/** Null: nobody listens there. */
async function connectTo(port: number, connections: Map<number, RespClient>): Promise<RespClient | null> {
  const known = connections.get(port)
  if (known !== undefined && !known.isClosed) return known
  try {
    const connection = await RespClient.connect(port)
    connections.set(port, connection)
    return connection
  } catch {
    return null
  }
}
