/**
 * What orchestrators, balancers and operators ask of one server over HTTP. It only reads: any number of questions
 * change nothing. The bodies are bounded, and hold no command, no state and no words of a user's error.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'

import type { LeaderHint, RaftErrorCode } from '../errors.js'
import type { LogIndex, Role, ServerId, Term } from '../types.js'
import type { Metric } from './metric.js'
import { PROMETHEUS_CONTENT_TYPE, prometheusText } from './prometheus.js'

/** So much of `Raft` as is needed. */
export interface HealthSource {
  readonly health: {
    readonly isAlive: boolean
    readonly isReady: boolean
    readonly reason: string | null
    readonly fault: RaftErrorCode | null
    readonly stalenessMs: number | null
  }
  readonly status: {
    readonly id: ServerId
    readonly clusterId: string
    readonly role: Role
    readonly term: Term
    readonly leader: LeaderHint | null
    readonly firstIndex: LogIndex
    readonly lastIndex: LogIndex
    readonly durableIndex: LogIndex
    readonly commitIndex: LogIndex
    readonly appliedIndex: LogIndex
    readonly configuration: { readonly voters: readonly Named[]; readonly nonvoters: readonly Named[] }
    readonly peers: readonly PeerSource[]
    readonly snapshot: { readonly last: { readonly index: LogIndex; readonly bytes: number } | null }
  }
  /** What `/metrics` tells. */
  metrics(): readonly Metric[]
}

interface Named {
  readonly id: ServerId
}

interface PeerSource {
  readonly id: ServerId
  readonly address: string
  readonly connected: boolean
  readonly downReason: string | null
  readonly matchIndex: LogIndex
  readonly refusal: { readonly code: string } | null
}

/** For `http.createServer`, or for a route of an application. */
export type HealthHandler = (request: IncomingMessage, response: ServerResponse) => void

/** Members that `/v1/status` lists; `membersOmitted` says how many there are besides. */
const MEMBERS_MAX = 64
/** Of the reason why a peer is down. */
const REASON_LENGTH_MAX = 256

interface Answer {
  readonly status: 200 | 503
  readonly body: string
  readonly type: string
}

const ROUTES: Readonly<Record<string, (server: HealthSource) => Answer>> = {
  '/livez': live,
  '/readyz': ready,
  '/leader': leader,
  '/metrics': metrics,
  '/v1/status': status,
}

const PATHS = Object.keys(ROUTES)

/**
 * Answers GET and HEAD of `/livez`, `/readyz`, `/leader`, `/metrics` and `/v1/status` (docs/watching.md), whatever has
 * become of the server. It has no passwords: whoever reaches the port may read.
 */
export function healthHandler(server: HealthSource): HealthHandler {
  return (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0] ?? ''
    const route = Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined
    if (route === undefined) return send(response, 404, json({ error: 'there is no such path', paths: PATHS }))
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      return send(response, 405, json({ error: 'only GET and HEAD are answered' }))
    }
    const answer = route(server)
    send(response, answer.status, answer)
  }
}

function live({ health: { isAlive, fault, reason } }: HealthSource): Answer {
  if (isAlive) return { status: 200, ...json({ alive: true }) }
  return { status: 503, ...json({ alive: false, reason, fault }) }
}

function ready({ health: { isReady, reason, stalenessMs } }: HealthSource): Answer {
  const body = json({ ready: isReady, reason, stalenessMs })
  return { status: isReady ? 200 : 503, ...body }
}

function leader({ health, status: { role, term, leader: hint } }: HealthSource): Answer {
  const isLeader = health.isAlive && role === 'leader'
  const body = json({ isLeader, term, leader: hint, reason: health.isAlive ? null : health.reason })
  return { status: isLeader ? 200 : 503, ...body }
}

function metrics(server: HealthSource): Answer {
  return { status: 200, body: prometheusText(server.metrics()), type: PROMETHEUS_CONTENT_TYPE }
}

function status({ health, status }: HealthSource): Answer {
  const { id, clusterId, role, term, configuration, snapshot } = status
  const { firstIndex, lastIndex, durableIndex, commitIndex, appliedIndex } = status
  const idsOf = (members: readonly Named[]): readonly ServerId[] => members.slice(0, MEMBERS_MAX).map((each) => each.id)
  const peers = status.peers.slice(0, MEMBERS_MAX).map((peer) => ({
    ...{ id: peer.id, address: peer.address, connected: peer.connected, matchIndex: peer.matchIndex },
    downReason: peer.downReason?.slice(0, REASON_LENGTH_MAX) ?? null,
    refusal: peer.refusal?.code ?? null,
  }))
  const body = json({
    ...{ id, clusterId, role, term, leader: status.leader, health },
    ...{ firstIndex, lastIndex, durableIndex, commitIndex, appliedIndex },
    ...{ voters: idsOf(configuration.voters), nonvoters: idsOf(configuration.nonvoters), peers },
    membersOmitted: Math.max(0, status.peers.length - MEMBERS_MAX),
    snapshot: snapshot.last === null ? null : { index: snapshot.last.index, bytes: snapshot.last.bytes },
  })
  return { status: 200, ...body }
}

function json(value: object): Omit<Answer, 'status'> {
  return { body: `${JSON.stringify(value)}\n`, type: 'application/json; charset=utf-8' }
}

/** Node.js leaves out the body where it is a HEAD. */
function send(response: ServerResponse, code: number, { body, type }: Omit<Answer, 'status'>): void {
  response.writeHead(code, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  })
  response.end(body)
}
