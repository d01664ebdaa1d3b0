/**
 * How a server that belongs to no cluster yet learns of one from addresses alone: it asks whoever listens there which
 * cluster that is, and is told the first entry of it. Both sides of that question.
 *
 * Invariants: what is told is believed only if the id of the cluster is the hash of the first entry that comes with it,
 * and its name the one in the options; nothing is written before. Whoever answers changes nothing, and says nothing
 * that a hello does not say.
 */

import { isBytes, textOf } from '../../foreign-values.js'
import { RaftError } from '../../errors.js'
import { decodeConfiguration } from '../../format/configuration.js'
import { QuietLog } from '../../transport/quiet-log.js'
import { ANSWER_BYTES_MAX } from '../../transport/transport.js'
import type { CancelTimer, Identity, ServerId } from '../../types.js'
import { aborted } from '../refusals.js'
import { clusterIdOfPayload } from './bootstrap.js'
import type { Host } from './host.js'

const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 2000

export interface Joining {
  readonly id: ServerId
  readonly cluster: string
  /** In the order in which they are asked. */
  readonly addresses: readonly string[]
  readonly timeoutMs: number
  readonly signal: AbortSignal | null
}

interface Question {
  readonly id: ServerId
  readonly incarnation: string
}

/** What a member says of its cluster; a refusal says why not. */
type Told =
  { readonly cluster: string; readonly clusterId: string; readonly first: string | null } | { readonly refusal: string }

/** Asks the addresses in turn, again and again; resolves with the payload of the first entry of their cluster. */
export async function learnCluster(host: Host, incarnation: string, joining: Joining): Promise<Uint8Array> {
  const { clock, logger } = host
  const quiet = new QuietLog(logger)
  const reasons = new Map<string, string>()
  const question = encode({ id: joining.id, incarnation } satisfies Question)
  const end = endOf(host, joining, reasons)
  let backoffMs = BACKOFF_MIN_MS
  let cancelPause: CancelTimer = () => {}
  try {
    for (;;) {
      for (const address of joining.addresses) {
        const answer = await Promise.race([end.reached, asked(host, address, question)])
        const told = isBytes(answer) ? payloadOf(answer, address, joining) : answer
        if (typeof told !== 'string') return told
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

/** What a member answers; null where that is no question. `first`: the first entry's payload, where it is known. */
export function answerTo(
  question: Uint8Array,
  self: Identity,
  cluster: string,
  first: Uint8Array | null,
  isTaken: (id: ServerId) => boolean,
): Uint8Array | null {
  const asking = decode(question)
  if (typeof asking['id'] !== 'string' || typeof asking['incarnation'] !== 'string') return null
  const { clusterId, serverId } = self
  const { id } = asking
  if (isTaken(id)) {
    const refusal = `the id ${id.slice(0, 255)} is that of a member with another store: choose another id, or if that store is lost, replace it: raft.replace('${id.slice(0, 255)}', ...)`
    return encode({ refusal } satisfies Told)
  }
  const told = encode({ cluster, clusterId, first: first === null ? null : Buffer.from(first).toString('base64') })
  if (first !== null && told.byteLength <= ANSWER_BYTES_MAX) return told
  const refusal = `server ${serverId} cannot tell the first members of its cluster: set join to true, and bootstrap to their list`
  return encode({ refusal } satisfies Told)
}

/** An answer, or why there is none. */
async function asked({ transport, clock }: Host, address: string, question: Uint8Array): Promise<Uint8Array | string> {
  try {
    return (await transport.ask?.(address, question, clock)) ?? 'this transport cannot ask'
  } catch (error) {
    return textOf(error)
  }
}

/** The first entry, or why what was told is not believed. Throws when another cluster is meant. */
function payloadOf(answer: Uint8Array, address: string, { cluster }: Joining): Uint8Array | string {
  const told = decode(answer)
  if (typeof told['refusal'] === 'string') return told['refusal'].slice(0, 1000)
  const { cluster: name, clusterId, first } = told
  if (typeof name !== 'string' || typeof clusterId !== 'string' || typeof first !== 'string') {
    return 'its answer says no cluster'
  }
  if (name !== cluster) {
    throw new RaftError(
      'ERR_RAFT_CLUSTER_MISMATCH',
      `at ${address} is the cluster '${name.slice(0, 255)}', and option cluster is '${cluster}': correct one of them`,
    )
  }
  const payload = new Uint8Array(Buffer.from(first, 'base64'))
  try {
    if (clusterIdOfPayload(payload) === clusterId && decodeConfiguration(payload).clusterName === name) return payload
  } catch (error) {
    return `the first entry that it tells cannot be read: ${textOf(error)}`
  }
  return 'the id of the cluster that it tells is not that of the first entry that it tells'
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

function encode(value: object): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

/** Total: what is no object has no fields. */
function decode(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    // Whatever it throws is about these bytes.
    return {}
  }
}
