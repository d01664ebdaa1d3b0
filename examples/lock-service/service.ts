/**
 * One server of a lock service. Every server answers every request, whoever leads.
 *
 *     POST   /sessions       200 { id, sequence }
 *     PUT    /locks/<name>?session=<session>
 *                            acquires it: 200 { token, until }, or 409
 *     PUT    /locks/<name>?session=<session>&token=<token>
 *                            holds it for longer: 200 { token, until }, or 409 when it is lost
 *     DELETE /locks/<name>?session=<session>&token=<token>
 *                            releases it: 200
 *     GET    /locks/<name>   200 { token, until }, or 404
 *
 * What changes something is sent with a session, as it was answered, and a `sequence` one higher for each request
 * that was answered. After 503 or 504, or no answer, the same request is sent again, to any server. Other paths are
 * health endpoints.
 */

import { createServer } from 'node:http'
import { httpStatusOf, Raft, RaftError } from 'balsa-raft'
import { healthHandler } from 'balsa-raft/observe'
import { tcp } from 'balsa-raft/transport/tcp'
import { codec, makeLocks } from './machine.js'
import type { Command } from './machine.js'

const [number = '', port = '', dir = '', ...addresses] = process.argv.slice(2)

const raft = await Raft.open({
  id: `s${number}`,
  dir,
  bootstrap: addresses.map((address, at) => ({ id: `s${at + 1}`, address })),
  transport: tcp({ listen: addresses[Number(number) - 1] ?? '' }),
  codec,
  stateMachine: makeLocks(),
  snapshots: { entries: 1000, trailingEntries: 100 },
})

const wait = { timeoutMs: 2000 }
const health = healthHandler(raft)
const server = createServer((request, response) => {
  if (!/^\/(?:sessions|locks)\b/.test(request.url ?? '')) return health(request, response)
  void answer(request.method, new URL(request.url ?? '', 'http://server'))
    .catch(refusal)
    .then(([status, body]) => response.writeHead(status).end(JSON.stringify(body)))
})
server.listen(Number(port), '127.0.0.1')

process.once('SIGTERM', () => void raft.close())
process.exit((await raft.closed) === null ? 0 : 1)

type Answer = readonly [status: number, body: unknown]

async function answer(method: string | undefined, url: URL): Promise<Answer> {
  if (url.pathname === '/sessions') return [200, (await raft.openSession(wait)).token]
  const name = decodeURIComponent(url.pathname.slice('/locks/'.length))
  const token = Number(url.searchParams.get('token'))
  if (method === 'DELETE') return [200, await send({ type: 'release', name, token }, url)]
  if (method === 'PUT') {
    const lock = await send({ type: 'acquire', name, token }, url)
    return [lock === null ? 409 : 200, lock]
  }
  const lock = await raft.query(name, wait)
  return lock === null || lock.until <= raft.entryTime ? [404, null] : [200, lock]
}

/** In a session a command that comes again is applied once. */
function send(command: Command, { searchParams }: URL) {
  return raft.resumeSession(JSON.parse(searchParams.get('session') ?? '')).apply(command, wait)
}

function refusal(error: unknown): Answer {
  if (!(error instanceof RaftError)) return [400, { message: String(error) }]
  const { code, outcome, message } = error
  return [httpStatusOf(error), { code, outcome, message }]
}
