/** The application of the tests: numbers are appended to a list that is replicated, and the list is read. */

import { Client, Metadata, status } from '@grpc/grpc-js'
import type { ChannelCredentials, MethodDefinition, ServiceError } from '@grpc/grpc-js'
import { METADATA_KEYS } from '@balsa-raft/grpc'
import { TLS_NAME } from './certificates.js'

const pack = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const unpack = <Value>(bytes: Buffer): Value => JSON.parse(bytes.toString()) as Value

function method<Request, Response>(path: string): MethodDefinition<Request, Response> {
  return {
    ...{ path, requestStream: false, responseStream: false },
    ...{ requestSerialize: pack, requestDeserialize: unpack<Request> },
    ...{ responseSerialize: pack, responseDeserialize: unpack<Response> },
  }
}

export const listService = {
  Append: method<number, number>('/test.List/Append'),
  Read: method<'all', readonly number[]>('/test.List/Read'),
} as const

/** Unknown unless the server has said what became of it. */
export function outcomeOf(error: ServiceError): string {
  return String(error.metadata?.get(METADATA_KEYS.outcome)[0] ?? 'unknown')
}

export class ListClient {
  readonly #client: Client

  constructor(address: string, credentials: ChannelCredentials) {
    this.#client = new Client(address, credentials, { ...TLS_NAME, 'grpc.initial_reconnect_backoff_ms': 20 })
  }

  append(number: number): Promise<number> {
    return this.#call(listService.Append, number)
  }

  read(): Promise<readonly number[]> {
    return this.#call(listService.Read, 'all')
  }

  close(): void {
    this.#client.close()
  }

  #call<Request, Response>(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>,
    request: Request,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + 20_000
      this.#client.makeUnaryRequest(
        ...([path, requestSerialize, responseDeserialize, request, new Metadata(), { deadline }] as const),
        (error, response) => {
          if (error !== null) reject(error)
          else if (response === undefined) reject(new Error(`no answer, and status ${status.OK}`))
          else resolve(response)
        },
      )
    })
  }
}
