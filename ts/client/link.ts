/**
 * One connection of a client to a server: what is asked on it, until it is answered.
 *
 * Invariants: each answer goes to the call that it names, and to nobody once that call has ended. What was sent and not
 * answered when the connection ends is `unknown` if it was a command, since it may be in the log.
 */

import { RaftError } from '../errors.js'
import type { LeaderHint } from '../errors.js'
import type { CommandKind } from '../server/calls/apply-queue.js'
import { PendingCall } from '../server/calls/pending-call.js'
import type { Member } from '../server/calls/waiting-list.js'
import { decodeClientMessage, encodeClientMessage } from '../server/clients/messages.js'
import type { ClientMessage, ClientQuery } from '../server/clients/messages.js'
import type { Consistency } from '../server/forward/any-server.js'
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, PartReader } from '../server/forward/messages.js'
import type { ForwardAnswer } from '../server/forward/messages.js'
import type { Channel, ChannelHandlers } from '../transport/channel.js'
import type { LogIndex, ServerId, Term } from '../types.js'

/** What has come back for one call; of a query the place is 0. Null: nothing came of it but that it is in the log. */
export interface RemoteAnswer {
  readonly index: LogIndex
  readonly term: Term
  readonly result: Uint8Array | null
}

/** What a server is asked. */
export type Asked =
  | { readonly kind: CommandKind; readonly bytes: Uint8Array }
  | { readonly kind: 'query'; readonly bytes: Uint8Array; readonly consistency: Consistency }

/** One try to have a server do something. */
export class RemoteCall extends PendingCall<RemoteAnswer> implements Member {
  place = -1
  readonly asked: Asked
  /** When its caller gives up; null for never. */
  readonly endsAt: number | null
  /** What it is called on the link on which it was sent; 0 before. */
  id = 0

  constructor(asked: Asked, endsAt: number | null) {
    super()
    this.asked = asked
    this.endsAt = endsAt
  }
}

export interface LinkParts {
  readonly address: string
  readonly serverId: ServerId
  readonly channel: Channel
  /** The server has told who leads, or something was answered. */
  readonly moved: () => void
  /** Called once, when the connection has ended by itself. */
  readonly ended: (reason: string) => void
}

export class Link implements ChannelHandlers {
  readonly address: string
  readonly serverId: ServerId
  /** As the server has told it last. */
  leader: LeaderHint | null = null
  /** Where the members are, as it has told last. */
  addresses: readonly string[] = []
  readonly #channel: Channel
  readonly #moved: () => void
  readonly #ended: (reason: string) => void
  readonly #reader = new PartReader(decodeClientMessage)
  /** By id: what was sent and has no outcome. */
  readonly #sent = new Map<number, RemoteCall>()
  #lastId = 0

  constructor(parts: LinkParts) {
    this.address = parts.address
    this.serverId = parts.serverId
    this.#channel = parts.channel
    this.#moved = parts.moved
    this.#ended = parts.ended
  }

  get isIdle(): boolean {
    return this.#sent.size === 0
  }

  /** In their order, in as few messages as their kinds and sizes allow. Hot path: once per turn. */
  send(calls: readonly RemoteCall[], now: number): void {
    for (let from = 0; from < calls.length;) {
      const to = endOfBatch(calls, from)
      const batch = calls.slice(from, to)
      const firstId = this.#lastId + 1
      for (const call of batch) {
        this.#lastId += 1
        call.id = this.#lastId
        this.#sent.set(call.id, call)
      }
      this.#say(messageOf(batch, firstId, now))
      from = to
    }
  }

  /** Whether it was sent here. */
  forget(call: RemoteCall): boolean {
    return this.#sent.get(call.id) === call && this.#sent.delete(call.id)
  }

  /** Nothing is told to the parts any more; what has no outcome ends with one of these. */
  close(reason: string, errorOf: (kind: Asked['kind']) => RaftError = (kind) => this.#lost(kind, reason)): void {
    this.#channel.close(reason)
    this.#failAll(errorOf)
  }

  onFrame(frame: Uint8Array): void {
    // It is lent, and users may keep what `decode` is given. No Buffer, whose `slice` is no copy.
    const message = this.#reader.read(new Uint8Array(frame))
    if (message === 'more') return
    if (message?.type === 'answers') for (const answer of message.answers) this.#answered(answer)
    else if (message?.type === 'news') [this.leader, this.addresses] = [message.leader, message.addresses]
    else {
      this.#channel.close('what it says makes no sense, or came damaged')
      return this.onClosed('what the server says makes no sense, or came damaged')
    }
    this.#moved()
  }

  onClosed(reason: string): void {
    this.#failAll((kind) => this.#lost(kind, reason))
    this.#ended(reason)
  }

  // Hot path: once per call.
  #answered(answer: ForwardAnswer): void {
    const call = this.#sent.get(answer.id)
    if (call === undefined) return
    this.#sent.delete(answer.id)
    if ('error' in answer) call.reject(answer.error)
    else call.resolve(answer)
  }

  #failAll(errorOf: (kind: Asked['kind']) => RaftError): void {
    const calls = [...this.#sent.values()]
    this.#sent.clear()
    for (const call of calls) call.reject(errorOf(call.asked.kind))
  }

  #say(message: ClientMessage): void {
    for (const frame of encodeClientMessage(message)) this.#channel.send(frame)
  }

  #lost(kind: Asked['kind'], reason: string): RaftError {
    const way = `the connection to server ${this.serverId} at ${this.address} was lost before it had answered: ${reason}`
    if (kind === 'query') return new RaftError('ERR_RAFT_UNREACHABLE', way, { retryable: true })
    const message = `${way}; the command may or may not be applied`
    return new RaftError('ERR_RAFT_LEADERSHIP_LOST', message, { outcome: 'unknown' })
  }
}

/** Behind the last one that goes into one message with that at `from`. */
function endOfBatch(calls: readonly RemoteCall[], from: number): number {
  const kind = calls[from]?.asked.kind
  let bytes = 0
  let at = from
  for (; at < calls.length && at - from < BATCH_COUNT_MAX && bytes < BATCH_BYTES_MAX; at += 1) {
    const { asked } = calls[at] as RemoteCall
    if (asked.kind !== kind) break
    bytes += asked.bytes.length
  }
  return at
}

function messageOf(calls: readonly RemoteCall[], firstId: number, now: number): ClientMessage {
  const kind = calls[0]?.asked.kind ?? 'query'
  if (kind !== 'query') return { type: 'commands', kind, firstId, commands: calls.map(({ asked }) => asked.bytes) }
  const queries: ClientQuery[] = []
  for (const { asked, endsAt } of calls) {
    if (asked.kind !== 'query') continue
    const { bytes, consistency } = asked
    // At least one: a caller who has just given up is told so here, and the server need not know.
    queries.push({ bytes, consistency, timeoutMs: endsAt === null ? null : Math.max(1, Math.round(endsAt - now)) })
  }
  return { type: 'queries', firstId, asked: queries }
}
