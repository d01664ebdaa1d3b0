/** A client as others have it: made of a .proto of the package by `@grpc/proto-loader`. */

import { loadPackageDefinition, Metadata } from '@grpc/grpc-js'
import type { ChannelCredentials, ChannelOptions, ClientReadableStream, ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { TLS_NAME } from './certificates.js'

const FOLDER = 'packages/grpc/proto'
const DEADLINE_MS = 20_000

interface Methods {
  [name: string]: (...given: unknown[]) => unknown
  close(): void
}
type Tree = { readonly [name: string]: Tree } & (new (
  address: string,
  credentials: ChannelCredentials,
  options: ChannelOptions,
) => Methods)

export class ProtoClient {
  readonly #methods: Methods

  /** `service` such as `grpc.health.v1.Health`, of `grpc/health/v1/health.proto`. */
  constructor(service: string, address: string, credentials: ChannelCredentials) {
    const names = service.split('.')
    const file = `${[...names.slice(0, -1), names.at(-1)?.toLowerCase()].join('/')}.proto`
    const loaded = loadPackageDefinition(
      loadSync(`${FOLDER}/${file}`, { longs: Number, enums: String, defaults: true }),
    )
    const made = names.reduce((tree, name) => tree[name] as Tree, loaded as unknown as Tree)
    this.#methods = new made(address, credentials, TLS_NAME)
  }

  /** Rejects with the ServiceError. */
  call<Response>(method: string, request: unknown = {}, deadlineMs = DEADLINE_MS): Promise<Response> {
    return new Promise((resolve, reject) => {
      const answered = (error: ServiceError | null, response: Response): void => {
        if (error === null) resolve(response)
        else reject(error)
      }
      this.#methods[method]?.(request, new Metadata(), { deadline: Date.now() + deadlineMs }, answered)
    })
  }

  stream<Response>(method: string, request: unknown): ClientReadableStream<Response> {
    return this.#methods[method]?.(request) as ClientReadableStream<Response>
  }

  close(): void {
    this.#methods.close()
  }
}
