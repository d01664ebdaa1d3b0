/** A `TransportWorld` of gRPC servers on loopback, each bound before its transport is made, behind proxies. */

import { credentials, Server, ServerCredentials } from '@grpc/grpc-js'
import { grpcTransport } from '@balsa-raft/grpc'
import type { GrpcTransport, GrpcTransportOptions } from '@balsa-raft/grpc'
import type { Transport } from 'balsa-raft'
import { TcpWorld } from '../transport/tcp-world.js'

/** More than any case has. */
const SERVERS = 7

export interface Bound {
  readonly server: Server
  readonly address: string
}

/** A gRPC server of an application, bound to a free port. */
export async function boundServer(options: ConstructorParameters<typeof Server>[0] = {}): Promise<Bound> {
  const server = new Server(options)
  const port = await bind(server, '127.0.0.1:0')
  return { server, address: `127.0.0.1:${port}` }
}

export function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port)
      else reject(error)
    })
  })
}

/** Over plain connections. */
export function plainTransport({ server, address }: Bound, options: Partial<GrpcTransportOptions> = {}): GrpcTransport {
  return grpcTransport({ server, address, credentials: credentials.createInsecure(), backoffMinMs: 5, ...options })
}

export class GrpcWorld extends TcpWorld {
  readonly #servers: readonly Bound[]
  readonly #options: Partial<GrpcTransportOptions>
  readonly #taken = new Map<string, Bound>()

  static async make(options: Partial<GrpcTransportOptions>): Promise<GrpcWorld> {
    return new GrpcWorld(await Promise.all(Array.from({ length: SERVERS }, () => boundServer())), options)
  }

  private constructor(servers: readonly Bound[], options: Partial<GrpcTransportOptions>) {
    super(() => {
      throw new Error('a transport over gRPC needs a server')
    })
    this.#servers = servers
    this.#options = options
  }

  override transport(id: string): Transport {
    const bound = this.#taken.get(id) ?? this.#servers[this.#taken.size]
    if (bound === undefined) throw new Error(`more than ${SERVERS} servers`)
    this.#taken.set(id, bound)
    return plainTransport(bound, this.#options)
  }

  override async close(): Promise<void> {
    for (const { server } of this.#servers) server.forceShutdown()
    await super.close()
  }
}
