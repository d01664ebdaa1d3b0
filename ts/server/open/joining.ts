/**
 * How a server that belongs to no cluster yet learns of one from addresses alone: it asks whoever listens there which
 * cluster that is, and is told the first entry of it and its recoveries (teller.ts has the other side).
 *
 * Invariants: what is told is believed only if the id of the cluster is what the first entry and the recoveries that
 * come with it make, and its name the one in the options; nothing is written before.
 */

import { isBytes, textOf } from '../../foreign-values.js'
import { RaftError } from '../../errors.js'
import { decodeConfiguration } from '../../format/configuration.js'
import { areRecoveries } from '../../format/recovery.js'
import { QuietLog } from '../../transport/quiet-log.js'
import type { CancelTimer, ServerId } from '../../types.js'
import { aborted } from '../refusals.js'
import { decodeTold, encodeTold } from '../told.js'
import { clusterIds } from './cluster-id.js'
import type { Host } from './host.js'

const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 2000
/** Of what another server says. */
const REASON_LENGTH_MAX = 1000

export interface Joining {
  readonly id: ServerId
  readonly cluster: string
  /** In the order in which they are asked. */
  readonly addresses: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal | null
}

/** What a server that asked knows of its cluster. */
export interface Learned {
  /** The payload of the first entry. */
  readonly first: Uint8Array
  readonly recoveries: readonly string[]
  /** For the log: nobody has checked it. */
  readonly says: { readonly clusterId: string; readonly leader: unknown }
}

/** Asks the addresses in turn, again and again; resolves with what one of them tells. */
export async function learnCluster(host: Host, incarnation: string, joining: Joining): Promise<Learned> {
  const { clock, logger } = host
  const quiet = new QuietLog(logger)
  const reasons = new Map<string, string>()
  const question = encodeTold({ id: joining.id, incarnation })
  const end = endOf(host, joining, reasons)
  let backoffMs = BACKOFF_MIN_MS
  let cancelPause: CancelTimer = () => {}
  try {
    for (;;) {
      for (const address of joining.addresses) {
        const answer = await Promise.race([end.reached, asked(host, address, question)])
        const told = isBytes(answer) ? learned(answer, address, joining) : answer
        if (typeof told !== 'string') {
          logger.info('join.learned', { address, ...told.says, remedy: 'it waits until the leader adds it' })
          return told
        }
        reasons.set(address, told)
        quiet.warn('join: no answer', address, told, { address })
      }
      const pause = new Promise<void>((resolve) => (cancelPause = clock.setTimer(backoffMs, resolve)))
      await Promise.race([end.reached, pause])
      backoffMs = Math.min(2 * backoffMs, BACKOFF_MAX_MS)
    }
  } finally {
    cancelPause()
    end.cancel()
  }
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
function learned(answer: Uint8Array, address: string, { cluster }: Joining): Learned | string {
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
      return { first, recoveries, says: { clusterId, leader: told['leader'] ?? null } }
    }
  } catch (error) {
    return `the first entry that it tells cannot be read: ${textOf(error)}`
  }
  return 'the id of the cluster that it tells is not that of the first entry and the recoveries that it tells'
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
