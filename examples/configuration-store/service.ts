/**
 * One server of a configuration store. Every server answers every request, whoever leads.
 *
 *     POST /sessions          200 { id, sequence }
 *     PUT  /settings/<key>?session=<session>&value=<text>&from=<version>
 *                             sets it, if that is its version (0: there is none): 200 { key, value, version, from },
 *                             or 409
 *     GET  /settings/<key>    200 [{ key, value, version, from }], or [] when there is none
 *     GET  /settings          200: all of them
 *     GET  /settings?since=<version>
 *                             what was set behind that version: 200 [{ key, value, version, from }] as soon as there
 *                             is any, [] when there is none for 2 seconds; 410: read all, and go on from the highest
 *                             version
 *
 * What changes something is sent with a session, as it was answered, and a `sequence` one higher for each request
 * that was answered. After 503 or 504, or no answer, the same request is sent again, to any server. Other paths are
 * health endpoints.
 */

import { createServer } from 'node:http'
import { httpStatusOf, Raft, RaftError } from 'balsa-raft'
import { healthHandler } from 'balsa-raft/observe'
import { tcp } from 'balsa-raft/transport/tcp'
import { codec, makeSettings } from './machine.js'
import type { Command } from './machine.js'

const [number = '', port = '', dir = '', ...addresses] = process.argv.slice(2)

const raft = await Raft.open({
  id: `s${number}`,
  dir,
  bootstrap: addresses.map((address, at) => ({ id: `s${at + 1}`, address })),
  transport: tcp({ listen: addresses[Number(number) - 1] ?? '' }),
  codec,
  stateMachine: makeSettings(),
  snapshots: { entries: 1000, trailingEntries: 100 },
})

const wait = { timeoutMs: 2000 }
const health = healthHandler(raft)
const server = createServer((request, response) => {
  if (!/^\/(?:sessions|settings)\b/.test(request.url ?? '')) return health(request, response)
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
  const key = decodeURIComponent(url.pathname.slice('/settings/'.length))
  const { value = '', from, since } = Object.fromEntries(url.searchParams)
  if (method === 'PUT') {
    const setting = await send({ key, value, from: Number(from) }, url)
    return [setting === null ? 409 : 200, setting]
  }
  if (since === undefined) return [200, await raft.query(key === '' ? 'all' : { key }, wait)]
  const events = await watch(Number(since))
  return [events === null ? 410 : 200, events]
}

/** Versions are places in the log: waits for the next place to be applied here, until what is there is an event. */
async function watch(since: number) {
  try {
    for (let minIndex = since + 1; ; minIndex += 1) {
      const events = await raft.query({ since }, { ...wait, consistency: { minIndex } })
      if (events?.length !== 0) return events
    }
  } catch (error) {
    if (error instanceof RaftError && error.code === 'ERR_RAFT_TIMEOUT') return []
    throw error
  }
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
