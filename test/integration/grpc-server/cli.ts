/**
 * A server in a process of its own, for `grpc-kills.test.ts`, which kills it: an application's gRPC server under mutual
 * TLS, with its own service, the transport of Balsa, and the services for health and administration.
 *
 * node cli.js ID DIR ADDRESS BOOTSTRAP CERTIFICATES
 *
 * BOOTSTRAP is JSON. Its state machine keeps every command, in order. Prints a line when it is open.
 */

import { Server, status } from '@grpc/grpc-js'
import type { sendUnaryData, ServerUnaryCall } from '@grpc/grpc-js'
import { addAdmin, addHealth, grpcTransport, statusOf } from '@balsa-raft/grpc'
import { msgpackCodec, Raft } from 'balsa-raft'
import type { Server as Member } from 'balsa-raft'
import { TLS_NAME, tlsCredentials } from '../../grpc/certificates.js'
import { listService } from '../../grpc/list-service.js'

const [id = '', dir = '', address = '', bootstrap = '[]', certificates = ''] = process.argv.slice(2)
const list: number[] = []

const credentials = tlsCredentials(certificates)
const server = new Server()
await new Promise<void>((resolve, reject) => {
  server.bindAsync(address, credentials.server, (error) => (error === null ? resolve() : reject(error)))
})

const raft = await Raft.open<number, number, null, readonly number[]>({
  ...{ id, dir, logger: false, codec: msgpackCodec<number>() },
  transport: grpcTransport({ server, address, credentials: credentials.channel, channelOptions: TLS_NAME }),
  bootstrap: JSON.parse(bootstrap) as readonly Member[],
  stateMachine: {
    apply: (batch) => batch.map(({ command }) => list.push(command)),
    query: () => list,
  },
})

const answered =
  <Request, Response>(answer: (request: Request) => Promise<Response>) =>
  ({ request }: ServerUnaryCall<Request, Response>, respond: sendUnaryData<Response>): void => {
    answer(request).then(
      (response) => respond(null, response),
      (error: unknown) => respond(statusOf(error)),
    )
  }

server.addService(listService, {
  Append: answered((number: number) => raft.submit(number, { timeoutMs: 15_000 })),
  Read: answered(() => raft.query(null, { timeoutMs: 15_000 })),
})
addHealth(server, raft)
addAdmin(server, raft)
process.stdout.write(`open ${status.OK}\n`)
// It goes with whoever has started it.
process.stdin.resume().on('end', () => process.exit())
