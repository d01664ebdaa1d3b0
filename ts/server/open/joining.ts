/**
 * How a server that belongs to no cluster yet learns of one from addresses alone: it asks whoever listens there which
 * cluster that is, and is told the first entry of it and its recoveries (teller.ts has the other side).
 *
 * Invariants: what is told is believed only if the id of the cluster is what the first entry and the recoveries that
 * come with it make, and its name the one in the options; nothing is written before.
 */

import { isBytes, onRejection, textOf } from '../../foreign-values.js'
import { assert, RaftError } from '../../errors.js'
import { decodeConfiguration } from '../../format/configuration.js'
import { areRecoveries } from '../../format/recovery.js'
import type { JoinAs } from '../../options.js'
import { QuietLog } from '../../transport/quiet-log.js'
import type { CancelTimer, JoinStatus, ServerId } from '../../types.js'
import { aborted } from '../refusals.js'
import { decodeTold, encodeTold } from '../told.js'
import { clusterIds } from './cluster-id.js'
import type { Host } from './host.js'

/** Of one that asks nobody, as it need not, or knows all. */
export const waitsToBeAdded: JoinStatus = { waitsFor: 'operator', asking: null, answers: [], nextAt: null }

const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 2000
/** Of what another server says. */
const REASON_LENGTH_MAX = 1000

export interface Joining {
  readonly id: ServerId
  readonly cluster: string
  /** Where this server will be found, if it asks to be made a nonvoter; null: it waits for an operator. */
  readonly joinAs: JoinAs | null
  /** In the order in which they are asked. */
  readonly addresses: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal | null
  readonly onJoin: ((status: JoinStatus) => void) | null
}

/** What a server that asked knows of its cluster. */
export interface Learned {
  /** The payload of the first entry. */
  readonly first: Uint8Array
  readonly recoveries: readonly string[]
  /** What it waits for from now on, with what it was told. */
  readonly waits: JoinStatus
  /** For the log: nobody has checked it. */
  readonly says: Readonly<Record<'address' | 'clusterId', string>> &
    Readonly<Record<'leader' | 'admission' | 'remedy', string | null>>
}

/**
 * Asks the addresses in turn, again and again; resolves with what one of them tells. Who asks to be made a nonvoter
 * asks on, at the leader, until it is one or has to wait for an operator, but not beyond the deadline.
 */
export async function learnCluster(host: Host, incarnation: string, joining: Joining): Promise<Learned> {
  const { clock, logger } = host
  const inquiry = new Inquiry(host, incarnation, joining)
  const end = endOf(host, joining, inquiry.reasons)
  let backoffMs = BACKOFF_MIN_MS
  let cancelPause: CancelTimer = () => {}
  try {
    while (!(await Promise.race([end.reached, inquiry.askAround()]))) {
      inquiry.pauses(backoffMs)
      const pause = new Promise<void>((resolve) => (cancelPause = clock.setTimer(backoffMs, resolve)))
      await Promise.race([end.reached, pause])
      backoffMs = Math.min(2 * backoffMs, BACKOFF_MAX_MS)
    }
  } catch (error) {
    const isLate = error instanceof RaftError && error.code === 'ERR_RAFT_TIMEOUT'
    if (inquiry.known === null || !isLate) throw error
  } finally {
    inquiry.isOver = true
    cancelPause()
    end.cancel()
  }
  const { known } = inquiry
  assert(known !== null, 'it was asked for until something was known')
  logger.info('join.learned', known.says)
  return { ...known, waits: { ...inquiry.status, waitsFor: 'operator' } }
}

/** What an address has told. */
type Told = Omit<Learned, 'waits'>

class Inquiry {
  /** By address, why what came there was of no use. */
  readonly reasons = new Map<string, string>()
  known: Told | null = null
  /** Nobody waits for what is still asked. */
  isOver = false
  readonly #host: Host
  readonly #joining: Joining
  readonly #question: Uint8Array
  readonly #quiet: QuietLog
  #asking: string | null = null
  /** By address, what came of the last question there. */
  readonly #answers = new Map<string, string>()
  #nextAt: number | null = null

  constructor(host: Host, incarnation: string, joining: Joining) {
    this.#host = host
    this.#joining = joining
    this.#question = encodeTold({ id: joining.id, incarnation, ...joining.joinAs })
    this.#quiet = new QuietLog(host.logger)
  }

  get status(): JoinStatus {
    return {
      waitsFor: this.known === null || this.#joining.joinAs === null ? 'cluster' : 'leader',
      asking: this.#asking,
      answers: [...this.#answers].map(([address, text]) => ({ address, text })),
      nextAt: this.#nextAt,
    }
  }

  /** Until the next round. */
  pauses(forMs: number): void {
    this.#nextAt = this.#host.clock.wallNow() + forMs
    this.#tell()
  }

  /** One round, at each address and at the leader that somebody names; true: there is nothing more to ask. */
  async askAround(): Promise<boolean> {
    const { addresses, joinAs } = this.#joining
    const round = [...addresses]
    for (const address of round) {
      const told = await this.#ask(address)
      if (this.isOver) return false
      if (told === null) continue
      this.known = told
      const { admission, leader } = told.says
      if (joinAs === null || (admission !== 'again' && admission !== 'elsewhere')) return true
      if (admission === 'again') return false
      const isNew = leader !== null && !round.includes(leader) && round.length < 2 * addresses.length
      if (isNew && (this.#host.transport.addressFlaw?.(leader) ?? null) === null) round.push(leader)
    }
    return false
  }

  async #ask(address: string): Promise<Told | null> {
    this.#asking = address
    this.#nextAt = null
    this.#tell()
    const answer = await asked(this.#host, address, this.#question)
    this.#asking = null
    const told = isBytes(answer) ? learned(answer, address, this.#joining) : answer
    this.#answers.set(address, typeof told === 'string' ? told : summary(told))
    if (typeof told !== 'string') return told
    this.reasons.set(address, told)
    this.#quiet.warn('join.not-answered', address, told, { address })
    return null
  }

  #tell(): void {
    const { onJoin } = this.#joining
    if (onJoin === null || this.isOver) return
    try {
      onRejection(onJoin(this.status), (cause) => this.#failed(cause))
    } catch (cause) {
      this.#failed(cause)
    }
  }

  #failed(cause: unknown): void {
    this.#host.logger.error('join.callback-failed', { error: textOf(cause) })
  }
}

/** What was told at an address, in words. */
function summary({ says: { leader, remedy } }: Told): string {
  const led = leader === null ? 'no leader is known there' : `led from ${leader}`
  return remedy === null || remedy === '' ? `it tells its cluster, ${led}` : `it tells its cluster, ${led}: ${remedy}`
}

/** An answer, or why there is none. */
async function asked({ transport, clock }: Host, address: string, question: Uint8Array): Promise<Uint8Array | string> {
  try {
    return (await transport.ask?.(address, question, clock)) ?? 'this transport cannot ask'
  } catch (error) {
    return textOf(error)
  }
}

/** What was told, or why it is not believed. Throws when another cluster is meant. */
function learned(answer: Uint8Array, address: string, { cluster }: Joining): Told | string {
  const told = decodeTold(answer)
  if (typeof told['refusal'] === 'string') return told['refusal'].slice(0, REASON_LENGTH_MAX)
  const { cluster: name, clusterId, first: text, recoveries } = told
  if (
    typeof name !== 'string' ||
    typeof clusterId !== 'string' ||
    typeof text !== 'string' ||
    !areRecoveries(recoveries)
  )
    return 'its answer says no cluster'
  if (name !== cluster) {
    throw new RaftError(
      'ERR_RAFT_CLUSTER_MISMATCH',
      `at ${address} is the cluster '${name.slice(0, 255)}', and option cluster is '${cluster}': correct one of them`,
    )
  }
  const first = new Uint8Array(Buffer.from(text, 'base64'))
  try {
    const isThat = clusterIds(first, recoveries).at(-1) === clusterId
    if (isThat && decodeConfiguration(first).clusterName === name) {
      return { first, recoveries, says: { address, clusterId, ...hintsOf(told) } }
    }
  } catch (error) {
    return `the first entry that it tells cannot be read: ${textOf(error)}`
  }
  return 'the id of the cluster that it tells is not that of the first entry and the recoveries that it tells'
}

/** What else a member says, as far as it can be read. */
function hintsOf({ leader, admission, remedy }: Readonly<Record<string, unknown>>): {
  readonly leader: string | null
  readonly admission: string | null
  readonly remedy: string | null
} {
  const text = (value: unknown): string | null => (typeof value === 'string' ? value.slice(0, REASON_LENGTH_MAX) : null)
  const at = (leader as { readonly address?: unknown } | null | undefined)?.address
  return { leader: text(at), admission: text(admission), remedy: text(remedy) }
}

/** Rejects when the caller has given up, or has waited for long enough. */
function endOf({ clock }: Host, { timeoutMs, signal, addresses }: Joining, reasons: ReadonlyMap<string, string>) {
  let fail: (error: RaftError) => void = () => {}
  const reached = new Promise<never>((_, reject) => (fail = reject))
  const onAbort = (): void => fail(aborted('not-applied', signal?.reason))
  const cancelTimer = clock.setTimer(timeoutMs, () => {
    const why = addresses.map((address) => `${address}: ${reasons.get(address) ?? 'it has not answered'}`).join('; ')
    const message = `no member has told its cluster within joinTimeoutMs, ${timeoutMs} ms. ${why}. Start the members, or correct join`
    fail(new RaftError('ERR_RAFT_TIMEOUT', message, { retryable: true }))
  })
  if (signal?.aborted === true) onAbort()
  signal?.addEventListener('abort', onAbort)
  // It may come while nobody waits.
  reached.catch(() => {})
  const cancel = (): void => {
    cancelTimer()
    signal?.removeEventListener('abort', onAbort)
  }
  return { reached, cancel }
}
