/**
 * One server of a job queue. Every server answers every request, whoever leads.
 *
 *     POST   /sessions     200 { id, sequence }
 *     POST   /jobs?session=<session>&payload=<text>
 *                          adds a job: 200 { id, ... }, or 409 when there are too many
 *     PUT    /jobs?session=<session>
 *                          takes the job that waits for longest: 200 { id, payload, lease, until }, or 409 for none
 *     DELETE /jobs?session=<session>&id=<id>&lease=<lease>
 *                          has finished it: 200, or 409 when its lease was over
 *     GET    /jobs         200 { waiting, taken }
 *
 * What changes something is sent with a session, as it was answered, and a `sequence` one higher for each request
 * that was answered. After 503 or 504, or no answer, the same request is sent again, to any server. Other paths are
 * health endpoints.
 */

import { createServer } from 'node:http'
import { httpStatusOf, Raft, RaftError } from 'balsa-raft'
import { healthHandler } from 'balsa-raft/observe'
import { tcp } from 'balsa-raft/transport/tcp'
import { codec, makeQueue } from './machine.js'
import type { Command } from './machine.js'

const [number = '', port = '', dir = '', ...addresses] = process.argv.slice(2)

const raft = await Raft.open({
  id: `s${number}`,
  dir,
  bootstrap: addresses.map((address, at) => ({ id: `s${at + 1}`, address })),
  transport: tcp({ listen: addresses[Number(number) - 1] ?? '' }),
  codec,
  stateMachine: makeQueue(),
  snapshots: { entries: 1000, trailingEntries: 100 },
})

const wait = { timeoutMs: 2000 }
const health = healthHandler(raft)
const server = createServer((request, response) => {
  if (!/^\/(?:sessions|jobs)\b/.test(request.url ?? '')) return health(request, response)
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
  if (method === 'GET') return [200, await raft.query(undefined, wait)]
  const job = await send(commandOf(method, Object.fromEntries(url.searchParams)), url)
  return [job === null ? 409 : 200, job]
}

function commandOf(method: string | undefined, { payload = '', id, lease }: Record<string, string>): Command {
  if (method === 'POST') return { type: 'add', payload }
  return method === 'PUT' ? { type: 'take' } : { type: 'finish', id: Number(id), lease: Number(lease) }
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
