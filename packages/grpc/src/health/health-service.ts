/**
 * `grpc.health.v1.Health` (proto/grpc/health/v1/health.proto): balancers and clients that ask it find the leader, and
 * no other server.
 */

import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  type MethodDefinition,
  type Server,
  type ServerWritableStream,
  status,
} from '@grpc/grpc-js'
import { checkNames, optionsError } from '../options.js'
import { codecOf } from '../protobuf.js'
import { unaryMethod } from '../unary.js'
import { followLeadership, type Leadership, type LeadershipSource } from './leadership.js'

/** What `addHealth` takes. */
export interface HealthOptions {
  /**
   * The names under which it is asked whether this server leads: those of the application's services. Default `['']`,
   * the name of a gRPC server as a whole.
   */
  readonly services?: readonly string[]
}

/** The name under which it is asked whether this server is open, whoever leads: for a probe that restarts it. */
export const OPEN_SERVICE = 'balsa.Server'

/** Watches at a time; each holds a stream. */
const WATCHES_MAX = 1024

const ServingStatus = { serving: 1, notServing: 2, serviceUnknown: 3 } as const

interface CheckRequest {
  readonly service: string
}
interface CheckResponse {
  readonly status: number
}

const requestCodec = codecOf<CheckRequest>({ service: { number: 1, type: 'string' } })
const responseCodec = codecOf<CheckResponse>({ status: { number: 1, type: 'uint64' } })

const watchMethod: MethodDefinition<CheckRequest, CheckResponse> = {
  ...unaryMethod('/grpc.health.v1.Health/Watch', requestCodec, responseCodec),
  responseStream: true,
}

const healthService = {
  Check: unaryMethod('/grpc.health.v1.Health/Check', requestCodec, responseCodec),
  Watch: watchMethod,
} as const

/**
 * Adds the health service to a gRPC server that has none: SERVING under the names of `services` while this server of
 * Balsa leads, and under OPEN_SERVICE while it is open. Returns what takes it away. Throws ERR_RAFT_OPTIONS where there
 * is one already: `followLeadership` is for that.
 */
export function addHealth(server: Server, raft: LeadershipSource, options: HealthOptions = {}): () => void {
  checkNames('addHealth', options, ['services'])
  const { services = [''] } = options
  if (!Array.isArray(services) || !services.every((name) => typeof name === 'string')) {
    throw optionsError('addHealth: services must be a list of names')
  }
  const health = new HealthService(services)
  try {
    server.addService(healthService, { Check: health.check, Watch: health.watch })
  } catch {
    throw optionsError('addHealth: this gRPC server has a health service already: tell it by followLeadership')
  }
  const stop = followLeadership(raft, (leadership) => health.set(leadership))
  return () => {
    stop()
    server.removeService(healthService)
    health.close()
  }
}

type WatchCall = ServerWritableStream<CheckRequest, CheckResponse>

class HealthService {
  readonly #services: ReadonlySet<string>
  #leadership: Leadership = { isLeader: false, isOpen: false }
  /** What each was told last. */
  readonly #watches = new Map<WatchCall, number>()

  constructor(services: readonly string[]) {
    this.#services = new Set(services)
  }

  readonly check: handleUnaryCall<CheckRequest, CheckResponse> = ({ request }, respond) => {
    const answer = this.#statusOf(request.service)
    if (answer !== ServingStatus.serviceUnknown) return respond(null, { status: answer })
    respond({ code: status.NOT_FOUND, details: 'there is no service of that name' })
  }

  readonly watch: handleServerStreamingCall<CheckRequest, CheckResponse> = (call) => {
    if (this.#watches.size >= WATCHES_MAX) {
      const details = `there are ${WATCHES_MAX} watches already: ask by Check`
      call.emit('error', { code: status.RESOURCE_EXHAUSTED, details })
      return
    }
    call.on('cancelled', () => this.#watches.delete(call))
    call.on('close', () => this.#watches.delete(call))
    this.#tell(call)
  }

  set(leadership: Leadership): void {
    this.#leadership = leadership
    for (const call of this.#watches.keys()) this.#tell(call)
  }

  close(): void {
    for (const call of this.#watches.keys()) call.end()
    this.#watches.clear()
  }

  #tell(call: WatchCall): void {
    const now = this.#statusOf(call.request.service)
    if (this.#watches.get(call) === now) return
    this.#watches.set(call, now)
    if (call.write({ status: now })) return
    // It does not read, and what it would read is old.
    this.#watches.delete(call)
    call.emit('error', { code: status.RESOURCE_EXHAUSTED, details: 'this watch does not read' })
  }

  #statusOf(service: string): number {
    const { isLeader, isOpen } = this.#leadership
    if (this.#services.has(service)) return isLeader ? ServingStatus.serving : ServingStatus.notServing
    if (service === OPEN_SERVICE) return isOpen ? ServingStatus.serving : ServingStatus.notServing
    return ServingStatus.serviceUnknown
  }
}
