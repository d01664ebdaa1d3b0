/**
 * Carries out operations of clients and writes down what they saw, as the history rules want it: an answer that is a
 * definite refusal is `failed`, no answer is `unknown`, and after an unknown outcome that client is never heard of
 * again.
 */

import type { History, Operation, Result, Step } from '../linearizability/history.js'
import type { RespClient, RespReply } from './resp-client.js'
import { RespError } from './resp-client.js'

/** How it ended for the caller; `movedTo` is the port where a refusal sends it. */
export interface Ending {
  readonly outcome: Operation['outcome']
  readonly movedTo: number | null
}

/** A sequence of operations, one after the other: one client of the history, until an outcome is unknown. */
export class Lane {
  readonly #name: string
  #lives = 0

  constructor(name: string) {
    this.#name = name
  }

  get client(): string {
    return this.#lives === 0 ? this.#name : `${this.#name}#${this.#lives}`
  }

  bury(): void {
    this.#lives += 1
  }
}

interface Judgement extends Ending {
  readonly results: readonly Result[] | null
  /** Why the outcome is unknown. */
  readonly reason?: string
}

interface Lost {
  readonly reason: string
}

/** A write of which its client does not know what became of it. */
export interface UnknownWrite {
  /** Who was asked. */
  readonly port: number
  /** The answer, or why there is none. */
  readonly reason: string
}

/** How many of the last acknowledged writes are kept in mind. */
const LATEST_WRITES = 3
/** Clients that are at work do something far sooner. */
const EVENT_MS_MAX = 60_000

export class HistoryRecorder {
  readonly #operations: Operation[] = []
  readonly #open = new Set<{ readonly port: number; readonly call: number }>()
  readonly #latestKeys: string[] = []
  readonly #onWrite: (() => void)[] = []
  #onCall: { readonly name: string; readonly resolve: () => void }[] = []
  #completed = 0
  #completedAt = performance.now()
  readonly #unknownWrites: UnknownWrite[] = []
  #leaderPort = 0
  #leaderSince = 0
  #changes = 0
  #moved = 0

  /** What has ended; one that is still under way is not in it. */
  get history(): History {
    return this.#operations
  }

  get completed(): number {
    return this.#completed
  }

  get unknownWrites(): readonly UnknownWrite[] {
    return this.#unknownWrites
  }

  /** Where operations are completed: only the leader completes any. */
  get leaderPort(): number {
    return this.#leaderPort
  }

  /** How often that became another server. */
  get leaderChanges(): number {
    return this.#changes
  }

  /** Operations of which a server said where to go. */
  get moved(): number {
    return this.#moved
  }

  /** For how long nothing has been completed. */
  get idleMs(): number {
    return performance.now() - this.#completedAt
  }

  /** Keys of the latest acknowledged writes. */
  get latestKeys(): readonly string[] {
    return this.#latestKeys
  }

  /** Resolves in the moment in which the next write is acknowledged. */
  nextWrite(): Promise<void> {
    return within('a write is acknowledged', (resolve) => this.#onWrite.push(resolve))
  }

  /** Resolves in the moment in which the client named `name` sends its next write. */
  nextWriteOf(name: string): Promise<void> {
    return within(`${name} sends a write`, (resolve) => this.#onCall.push({ name, resolve }))
  }

  /** Operations that were sent to `port` after `time` and still wait. */
  waitingAt(port: number, time: number): number {
    return [...this.#open].filter((open) => open.port === port && open.call > time).length
  }

  /** Sends the operations in one write, the first by the first lane and so on; resolves when all have ended. */
  perform(
    connection: RespClient,
    port: number,
    operations: readonly { readonly lane: Lane; readonly steps: readonly Step[] }[],
    timeoutMs: number,
  ): Promise<readonly Ending[]> {
    const call = performance.now()
    const answers = connection.send(operations.map(({ steps }) => commandsOf(steps)))
    return Promise.all(
      operations.map(({ lane, steps }, at) => this.#record({ lane, steps, port, call }, answers[at], timeoutMs)),
    )
  }

  async #record(
    operation: { readonly lane: Lane; readonly steps: readonly Step[]; readonly port: number; readonly call: number },
    answer: Promise<readonly RespReply[]> | undefined,
    timeoutMs: number,
  ): Promise<Ending> {
    const { lane, steps, port, call } = operation
    const open = { port, call }
    this.#open.add(open)
    if (isWrite(steps)) this.#called(lane.client)
    const replies = await inTime(answer, timeoutMs)
    this.#open.delete(open)
    const judgement = 'reason' in replies ? unknownOutcome(replies.reason) : judge(steps, replies)
    const { outcome, movedTo, results, reason = '' } = judgement
    const returned = outcome === 'unknown' ? null : performance.now()
    this.#operations.push({ client: lane.client, steps, call, return: returned, outcome, results })
    if (movedTo !== null) this.#moved += 1
    if (outcome === 'ok') this.#complete({ port, steps, call })
    if (outcome === 'unknown') {
      lane.bury()
      if (isWrite(steps)) this.#unknownWrites.push({ port, reason })
    }
    return { outcome, movedTo }
  }

  #called(client: string): void {
    const isMeant = ({ name }: { readonly name: string }): boolean => client.startsWith(name)
    for (const { resolve } of this.#onCall.filter(isMeant)) resolve()
    this.#onCall = this.#onCall.filter((waiting) => !isMeant(waiting))
  }

  #complete(operation: { readonly port: number; readonly steps: readonly Step[]; readonly call: number }): void {
    const { port, steps, call } = operation
    this.#completed += 1
    this.#completedAt = performance.now()
    // A leader that was deposed answers late what it was asked before.
    if (port !== this.#leaderPort && call > this.#leaderSince) {
      this.#changes += 1
      this.#leaderPort = port
      this.#leaderSince = performance.now()
    }
    const written = steps.find(({ op }) => op !== 'get')
    if (written === undefined) return
    this.#latestKeys.push(written.key)
    if (this.#latestKeys.length > LATEST_WRITES) this.#latestKeys.shift()
    for (const resolve of this.#onWrite.splice(0)) resolve()
  }
}

const unknownOutcome = (reason: string): Judgement => ({ outcome: 'unknown', movedTo: null, results: null, reason })

/** Several steps are one transaction. */
function commandsOf(steps: readonly Step[]): readonly (readonly string[])[] {
  const commands = steps.map((step) => ('value' in step ? [step.op, step.key, step.value] : [step.op, step.key]))
  return commands.length === 1 ? commands : [['multi'], ...commands, ['exec']]
}

function isWrite(steps: readonly Step[]): boolean {
  return steps.some(({ op }) => op !== 'get')
}

function within(what: string, subscribe: (resolve: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`still not so after ${EVENT_MS_MAX} ms: ${what}`)), EVENT_MS_MAX)
    subscribe(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

async function inTime(
  answer: Promise<readonly RespReply[]> | undefined,
  timeoutMs: number,
): Promise<readonly RespReply[] | Lost> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<Lost>((resolve) => {
    timer = setTimeout(() => resolve({ reason: 'late' }), timeoutMs)
  })
  try {
    return await Promise.race([answer ?? { reason: 'not sent' }, late])
  } catch {
    return { reason: 'connection lost' }
  } finally {
    clearTimeout(timer)
  }
}

/** Throws on an answer that no client should ever see. */
function judge(steps: readonly Step[], replies: readonly RespReply[]): Judgement {
  const reply = replies.at(-1)
  if (reply instanceof RespError) {
    const refusal = judgeError(reply, replies)
    if (refusal !== null) return refusal
  }
  const results = steps.length === 1 ? [reply] : reply
  if (Array.isArray(results) && results.length === steps.length) {
    return { outcome: 'ok', movedTo: null, results: (results as readonly RespReply[]).map(resultOf) }
  }
  throw new Error(`${JSON.stringify(steps)} was answered ${JSON.stringify(replies)}`)
}

/** Null: the error is the command's own answer. */
function judgeError({ message }: RespError, replies: readonly RespReply[]): Judgement | null {
  if (message.startsWith('ERR value is not an integer')) return null
  // Applied, but with which answer is not known: the same to a history.
  if (/^ERR RAFT_(UNKNOWN|APPLIED) /.test(message)) return unknownOutcome(message)
  if (/^(MOVED|CLUSTERDOWN|TRYAGAIN|EXECABORT) /.test(message)) {
    return { outcome: 'failed', movedTo: movedTo(replies), results: null }
  }
  throw new Error(`an answer that no client should see: ${message}`)
}

function movedTo(replies: readonly RespReply[]): number | null {
  for (const reply of replies) {
    const port = reply instanceof RespError ? /^MOVED \d+ [^ ]*:(\d+)$/.exec(reply.message)?.[1] : undefined
    if (port !== undefined) return Number(port)
  }
  return null
}

function resultOf(reply: RespReply): Result {
  if (reply instanceof RespError) return { error: reply.message }
  if (reply === null || typeof reply === 'string' || typeof reply === 'number') return reply
  throw new Error(`not an answer of a step: ${JSON.stringify(reply)}`)
}
