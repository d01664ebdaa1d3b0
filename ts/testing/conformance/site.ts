/** One server in a transport's case: records everything that its transport tells it, and waits for what should come. */

import type { AppendEntries, AppendEntriesResult, Request, Response } from '../../core/messages.js'
import type { ConnectionRefusal } from '../../transport/refusal.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import type { ConnectionEnd, LinkId, Session, Transport, TransportHandlers } from '../../transport/transport.js'
import {
  type Clock,
  type Identity,
  type Introduction,
  logIndex,
  type Logger,
  type ServerId,
  termOf,
} from '../../types.js'
import { until } from './case.js'

/** What a site waits for a session to come or go, unless told otherwise. */
const WAIT_DEADLINE_MS = 60_000

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

export type SessionEvent =
  | { readonly type: 'up'; readonly peer: ServerId; readonly session: Session }
  | {
      readonly type: 'down'
      readonly peer: ServerId
      readonly session: Session
      readonly reason: string
      /** Absent of a transport that cannot tell. */
      readonly end?: ConnectionEnd
    }

/** One end of a channel, and everything that has come on it. */
export class SiteChannel implements ChannelHandlers {
  readonly frames: Uint8Array[] = []
  /** Why it has ended, each time that it was told: once, if all is well. */
  readonly ends: string[] = []
  /** Null while nobody has the channel, on the side that opens it. */
  channel: Channel | null = null
  /** Calls of any handler. */
  calls = 0
  /** Cases replace it; the frame is lent. */
  answer: (frame: Uint8Array) => void = () => {}

  onFrame(frame: Uint8Array): void {
    this.calls++
    this.frames.push(Uint8Array.from(frame))
    this.answer(frame)
  }

  onClosed(reason: string): void {
    this.calls++
    this.ends.push(reason)
  }

  send(frame: Uint8Array): void {
    this.channel?.send(frame)
  }
}

export class Site implements TransportHandlers, Logger {
  readonly id: ServerId
  readonly transport: Transport
  readonly admitted: Introduction[] = []
  readonly sessions: SessionEvent[] = []
  readonly requests: { readonly from: ServerId; readonly link: LinkId; readonly message: Request }[] = []
  readonly arrivals: { readonly from: ServerId; readonly link: LinkId }[] = []
  readonly responses: { readonly from: ServerId; readonly session: Session; readonly message: Response }[] = []
  readonly refusals: ({ readonly peer: ServerId } & ConnectionRefusal)[] = []
  /** Those that peers have opened. */
  readonly channels: (SiteChannel & { readonly from: ServerId })[] = []
  readonly questions: Uint8Array[] = []
  readonly failedDials: { readonly peer: ServerId; readonly reason: string }[] = []
  readonly linkEnds: { readonly from: ServerId; readonly link: LinkId; readonly end: ConnectionEnd }[] = []
  readonly lines: LogLine[] = []
  /** Calls of any handler that tells something. */
  calls = 0
  /** What `admit` answers; cases replace it. */
  onAdmit: (peer: Introduction) => Promise<void> = async () => {}

  /** What it says of itself besides who it is; cases replace it. */
  onIntroduce: (peer: ServerId) => Partial<Introduction> = () => ({})

  /** Whether it takes the channels of its peers; cases replace it. */
  takesChannels = true

  /** What it answers to a question; cases replace it. */
  onAsked: (question: Uint8Array) => Uint8Array | null = () => null

  readonly #deadlineMs: number
  #identity: Partial<Identity> = {}

  constructor(id: ServerId, transport: Transport, deadlineMs = WAIT_DEADLINE_MS) {
    this.id = id
    this.transport = transport
    this.#deadlineMs = deadlineMs
  }

  async start(clock: Clock, identity: Partial<Identity> = {}): Promise<string> {
    this.#identity = identity
    return this.transport.start(identityOf(this.id, identity), this, clock, this)
  }

  introduce(peer: ServerId): Introduction {
    return introductionOf(this.id, { ...this.#identity, ...this.onIntroduce(peer) })
  }

  async admit(peer: Introduction): Promise<void> {
    this.calls++
    this.admitted.push(peer)
    await this.onAdmit(peer)
  }

  onRequest(from: ServerId, link: LinkId, message: Request): void {
    this.calls++
    this.requests.push({ from, link, message })
  }

  onArriving(from: ServerId, link: LinkId): void {
    this.calls++
    this.arrivals.push({ from, link })
  }

  onResponse(from: ServerId, session: Session, message: Response): void {
    this.calls++
    this.responses.push({ from, session, message })
  }

  onPeerUp(peer: ServerId, session: Session): void {
    this.calls++
    this.sessions.push({ type: 'up', peer, session })
  }

  onPeerDown(peer: ServerId, session: Session, reason: string, end?: ConnectionEnd): void {
    this.calls++
    this.sessions.push({ type: 'down', peer, session, reason, ...(end === undefined ? {} : { end }) })
  }

  onLinkDown(from: ServerId, link: LinkId, end: ConnectionEnd): void {
    this.calls++
    this.linkEnds.push({ from, link, end })
  }

  /** How the sessions with that peer have ended, one after the other. */
  endsWith(peer: ServerId): readonly (ConnectionEnd | undefined)[] {
    return this.sessions.flatMap((event) => (event.type === 'down' && event.peer === peer ? [event.end] : []))
  }

  onRefused(peer: ServerId, refusal: ConnectionRefusal): void {
    this.refusals.push({ peer, ...refusal })
  }

  onDialFailed(peer: ServerId, reason: string): void {
    this.failedDials.push({ peer, reason })
  }

  onChannel(from: ServerId, channel: Channel): ChannelHandlers | null {
    this.calls++
    if (!this.takesChannels) return null
    const taken = Object.assign(new SiteChannel(), { from, channel })
    this.channels.push(taken)
    return taken
  }

  onQuestion(question: Uint8Array): Uint8Array | null {
    this.questions.push(question)
    return this.onAsked(question)
  }

  debug(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: 'debug', event, fields })
  }

  info(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: 'info', event, fields })
  }

  warn(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: 'warn', event, fields })
  }

  error(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: 'error', event, fields })
  }

  /** The session with a peer that is up now, or null. */
  sessionWith(peer: ServerId): Session | null {
    const last = this.sessions.findLast((event) => event.peer === peer)
    return last?.type === 'up' ? last.session : null
  }

  /** Waits until a session with that peer is up whose number is above `after`. */
  async up(peer: ServerId, after: Session = 0): Promise<Session> {
    await until(
      `${this.id} has a session with ${peer} after ${after}`,
      this.#deadlineMs,
      () => (this.sessionWith(peer) ?? 0) > after,
    )
    return this.sessionWith(peer) ?? 0
  }

  async down(peer: ServerId, session: Session): Promise<string> {
    const find = () => this.sessions.find((event) => event.type === 'down' && event.session === session)
    await until(`${this.id} has lost session ${session} with ${peer}`, this.#deadlineMs, () => find() !== undefined)
    const event = find()
    return event?.type === 'down' ? event.reason : ''
  }

  /** Opens a channel to a peer. */
  async open(to: ServerId): Promise<SiteChannel> {
    if (this.transport.openChannel === undefined)
      throw new Error('the transport has no openChannel: say channels: false')
    const opened = new SiteChannel()
    opened.channel = await this.transport.openChannel(to, opened)
    return opened
  }

  /** Why a channel to that peer is refused. */
  async refusedChannel(to: ServerId): Promise<string> {
    const error: unknown = await this.open(to).then(
      () => null,
      (reason: unknown) => reason,
    )
    if (!(error instanceof Error)) throw new Error(`a channel from ${this.id} to ${to} was opened`)
    return error.message
  }

  /** Sends at once. */
  ask(to: ServerId, session: Session, message: Request): void {
    this.transport.send(to, session, message)
    this.transport.flush()
  }

  answer(link: LinkId, message: Response): void {
    this.transport.respond(link, message)
    this.transport.flush()
  }

  /** The warnings whose reason holds that text. */
  warnings(text: string): readonly LogLine[] {
    return this.lines.filter((line) => line.level === 'warn' && String(line.fields['reason']).includes(text))
  }
}

export function identityOf(serverId: ServerId, differing: Partial<Identity> = {}): Identity {
  return {
    clusterId: 'c0'.repeat(16),
    serverId,
    incarnation: Buffer.from(serverId).toString('hex').padEnd(32, '0').slice(0, 32),
    bootCounter: 1,
    bootNonce: 'b0'.repeat(16),
    ...differing,
  }
}

export function introductionOf(serverId: ServerId, differing: Partial<Introduction> = {}): Introduction {
  const log = { term: termOf(1), lastIndex: logIndex(1) }
  return { ...identityOf(serverId), boots: [], knownBoot: 0, ...log, ...differing }
}

export function heartbeat(round: number): AppendEntries {
  return {
    type: 'AppendEntries',
    term: termOf(3),
    prevIndex: logIndex(7),
    prevTerm: termOf(2),
    blocks: [],
    commitIndex: logIndex(5),
    round,
  }
}

export function acknowledgement(round: number): AppendEntriesResult {
  return {
    type: 'AppendEntriesResult',
    term: termOf(3),
    status: 'matched',
    matchIndex: logIndex(7),
    hintIndex: logIndex(0),
    hintTerm: termOf(0),
    round,
  }
}

/** The round of a message that has one, else -1. */
export function roundOf(message: Request | Response): number {
  return 'round' in message ? message.round : -1
}
