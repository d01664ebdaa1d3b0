/** Clients that do what no client does: a server refuses or ends them, keeps its bounds, and serves the others. */

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec } from 'balsa-raft'
import {
  CHANNEL_FRAME_BYTES_MAX,
  CHANNEL_WIRE_BYTES_MAX,
  decodeFrame,
  encodeChannelFrame,
  encodeClientHello,
  encodeHello,
  encodePing,
  encodeWelcome,
  frameMemory,
  PROTOCOL,
} from 'balsa-raft/transport'
import type { ClientHello, Frame, Malformed } from 'balsa-raft/transport'
import { viewOf } from '#balsa/format/little-endian.js'
import { SESSION_HEADER_BYTES, writeSessionHeader } from '#balsa/format/session.js'
import { newFrame, sealFrame } from '#balsa/format/channel-frame.js'
import { CLIENTS_BYTES_MAX } from '#balsa/server/clients/clients.js'
import { decodeClientMessage, encodeClientMessage } from '#balsa/server/clients/messages.js'
import type { ClientMessage } from '#balsa/server/clients/messages.js'
import { QUERIES_SERVED_MAX } from '#balsa/server/clients/seat.js'
import { PartReader } from '#balsa/server/forward/messages.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { helloOf, messageFrame } from '../transport/raw-peer.js'
import { heartbeat } from '#balsa/testing/conformance/site.js'
import { until } from '../support/until.js'
import { Site } from './site.js'

const LATE = { timeoutMs: 20_000 }
/** A busy machine is no reason for an election. */
const PATIENT = { electionTimeoutMs: 20_000 }

/** Speaks as a client, and says what a test tells it. */
class RawClient {
  readonly socket: Socket
  readonly #reader = new PartReader(decodeClientMessage)
  #bytes = Buffer.alloc(0)
  #hasMagic = false
  isClosed = false
  readonly frames: (Frame | Malformed)[] = []
  readonly messages: ClientMessage[] = []

  constructor(address: string) {
    const [host, port] = address.split(':')
    this.socket = connect({ host: host ?? '', port: Number(port) })
    this.socket.on('data', (chunk) => this.#took(chunk))
    this.socket.on('error', () => {})
    this.socket.on('close', () => (this.isClosed = true))
  }

  static async letIn(address: string): Promise<RawClient> {
    const client = new RawClient(address)
    client.hello()
    await until('it is let in', () => client.frames.some(({ type }) => type === 'clientWelcome'))
    return client
  }

  hello(part: Partial<ClientHello> = {}): void {
    const hello = { protocol: PROTOCOL, features: ['goodbye'], requires: [], cluster: 'balsa', clusterId: null }
    this.socket.write(Buffer.concat([MAGIC, encodeClientHello({ ...hello, ...part })]))
  }

  send(frame: Uint8Array): void {
    for (const piece of encodeChannelFrame(frame)) this.socket.write(piece)
  }

  /** Else it would be ended for its silence. */
  ping(): void {
    this.socket.write(encodePing())
  }

  say(message: ClientMessage): void {
    for (const frame of encodeClientMessage(message)) this.send(frame)
  }

  get answers() {
    return this.messages.flatMap((message) => (message.type === 'answers' ? message.answers : []))
  }

  /** Why the server has ended it. */
  async ending(): Promise<string> {
    await until('the connection is closed', () => this.isClosed)
    const last = this.frames.find(({ type }) => type === 'refusal' || type === 'goodbye')
    if (last?.type === 'refusal') return `${last.code}: ${last.reason}`
    return last?.type === 'goodbye' ? last.reason : ''
  }

  #took(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    if (!this.#hasMagic && this.#bytes.length >= MAGIC.length) {
      this.#hasMagic = true
      this.#bytes = this.#bytes.subarray(MAGIC.length)
    }
    while (this.#hasMagic && this.#bytes.length >= 4) {
      const length = this.#bytes.readUInt32LE()
      if (this.#bytes.length < length) return
      const frame = decodeFrame(frameMemory(new Uint8Array(this.#bytes.subarray(0, length))))
      this.#bytes = this.#bytes.subarray(length)
      this.frames.push(frame)
      const message = frame.type === 'channelFrame' ? this.#reader.read(frame.data) : 'more'
      if (message !== 'more' && message !== null) this.messages.push(message)
    }
  }
}

interface Context {
  site: Site
  raw: RawClient[]
}

const test = suite<Context>('hostile clients')

test.before.each(async (context) => {
  context.site = await new Site(PATIENT).openAll()
  context.raw = []
})
test.after.each(async ({ site, raw }) => {
  for (const { socket } of raw) socket.destroy()
  await site.closeAll()
})

async function letIn({ site, raw }: Context, id = site.leader.status.id): Promise<RawClient> {
  const client = await RawClient.letIn(site.address(id))
  raw.push(client)
  return client
}

/** No election, and an honest client is served by every server. */
async function assertLivesOn({ site }: Context, term: number): Promise<void> {
  for (const id of site.addresses.keys()) {
    const client = await site.connectTo(id)
    assert.is(await client.submit(id, LATE), id)
    await client.close()
  }
  for (const { status } of site.servers.values()) assert.is(status.term, term)
}

const query = { bytes: msgpackCodec().encode(null), consistency: 'stale', timeoutMs: null } as const

test('commands that nobody can decode are refused one by one, by leader and follower, and halt nobody', async (context) => {
  const { site } = context
  const { term } = site.leader.status
  for (const { status } of [site.leader, site.follower]) {
    const client = await letIn(context, status.id)
    const [good, bad] = [msgpackCodec().encode(`good at ${status.id}`).slice(), Uint8Array.of(0xc1)]
    client.say({
      type: 'commands',
      kind: 'command',
      firstId: 1,
      commands: [bad, good, bad, bad, good, new Uint8Array(0)],
    })
    await until('all are answered', () => client.answers.length === 6)
    const byId = [...client.answers].sort((a, b) => a.id - b.id)
    const codes = byId.map((answer) => ('error' in answer ? `${answer.error.code} ${answer.error.outcome}` : 'applied'))
    const refused = 'ERR_RAFT_INVALID not-applied'
    assert.equal(codes, [refused, 'applied', refused, refused, 'applied', refused])
  }
  assert.is((await site.applied()).length, 4)
  await assertLivesOn(context, term)
})

test('headers of sessions that no client writes are refused, and so is a command behind one that nobody can decode', async (context) => {
  const { site } = context
  const { term } = site.leader.status
  const client = await letIn(context, site.follower.status.id)
  const most = 2 ** 53 - 1
  const rows: readonly (readonly [session: number, sequence: number, third: number, body: Uint8Array])[] = [
    [0, 0, 999, new Uint8Array(0)],
    [0, 0, most, new Uint8Array(0)],
    [0, 1, 60_000, new Uint8Array(0)],
    [1, most, 1, Uint8Array.of(0)],
    [1, 1, most, Uint8Array.of(0)],
    [1, 1, 1, new Uint8Array(0)],
    [1, 1, 1, Uint8Array.of(0xc1)],
  ]
  const commands = rows.map(([session, sequence, third, body]) => {
    const bytes = new Uint8Array(SESSION_HEADER_BYTES + body.length)
    writeSessionHeader(viewOf(bytes), 0, session, sequence, third)
    bytes.set(body, SESSION_HEADER_BYTES)
    return bytes
  })
  client.say({ type: 'commands', kind: 'session', firstId: 1, commands })
  await until('all are answered', () => client.answers.length === rows.length)
  for (const answer of client.answers) assert.is('error' in answer ? answer.error.code : answer.id, 'ERR_RAFT_INVALID')
  await assertLivesOn(context, term)
})

test('queries that nobody can decode are refused, and so are those that are too many', async (context) => {
  const client = await letIn(context)
  client.say({ type: 'queries', firstId: 1, asked: [{ ...query, bytes: Uint8Array.of(0xc1) }] })
  await until('it is answered', () => client.answers.length === 1)
  const [answer] = client.answers
  assert.is(answer !== undefined && 'error' in answer ? answer.error.code : '', 'ERR_RAFT_ENCODE')
  const never = { ...query, bytes: msgpackCodec().encode('never').slice() }
  client.say({ type: 'queries', firstId: 2, asked: Array.from({ length: 1024 }, () => never) })
  client.say({ type: 'queries', firstId: 2000, asked: [never, query] })
  await until('two are refused', () => client.answers.length === 3)
  assert.equal(
    client.answers.slice(1).map((each) => ('error' in each ? each.error.code : 'answered')),
    ['ERR_RAFT_OVERLOADED', 'ERR_RAFT_OVERLOADED'],
  )
  assert.is(QUERIES_SERVED_MAX, 1024)
})

test('a client of another version, or that requires what is not there, is told so', async ({ site, raw }) => {
  const rows: readonly (readonly [Partial<ClientHello>, string])[] = [
    [{ protocol: { min: 7, max: 9 } }, 'PROTOCOL: the peer speaks protocol versions 7 .. 9'],
    [{ requires: ['time-travel'] }, 'UNKNOWN_FEATURE: the peer requires time-travel'],
    [{ clusterId: '0'.repeat(32) }, 'ERR_RAFT_CLUSTER_MISMATCH: server s1 belongs to cluster'],
  ]
  for (const [part, words] of rows) {
    const client = new RawClient(site.address('s1'))
    raw.push(client)
    client.hello(part)
    assert.match(await client.ending(), words)
  }
})

const long = { ...query, bytes: msgpackCodec().encode('long').slice() }

test('a client that does not read is refused more, and is ended when its answers are over the bound of its queue', async (context) => {
  const { site } = context
  const { id, term } = site.leader.status
  const transport = site.transports.get(id)
  const client = await letIn(context)
  client.socket.pause()
  const ask = (firstId: number, count: number): void =>
    client.say({ type: 'queries', firstId, asked: Array.from({ length: count }, () => long) })
  ask(1, 8)
  await until('answers wait', () => (transport?.rooms['unsent'] ?? 0) > 4 * 2 ** 20)
  for (let at = 0; at < 50; at += 1) ask(9 + at * 8, 8)
  const honest = await site.connectTo(id)
  assert.is(await honest.query('count', LATE), 0)
  assert.ok((transport?.rooms['unsent'] ?? Infinity) < 9 * 2 ** 20, 'no more than the first eight, and refusals')
  const greedy = await letIn(context)
  greedy.socket.pause()
  greedy.say({ type: 'queries', firstId: 1, asked: Array.from({ length: 40 }, () => long) })
  await until('it is ended', () => transport?.rooms['channels'] === 2 && (transport.rooms['unsent'] ?? 0) < 9 * 2 ** 20)
  await assertLivesOn(context, term)
})

test('clients that do not read are ended, the greatest first, before they hold more than all of them may', async (context) => {
  const { site } = context
  const { id, term } = site.leader.status
  const transport = site.transports.get(id)
  const clients: RawClient[] = []
  for (let at = 0; at < 8; at += 1) {
    const client = await letIn(context)
    clients.push(client)
    client.socket.pause()
    client.say({ type: 'queries', firstId: 1, asked: Array.from({ length: 13 }, () => long) })
  }
  await until('some are ended', () => {
    for (const client of clients) client.ping()
    return (transport?.rooms['channels'] ?? 8) < 8
  })
  await until('what is left is within the bound', () => (transport?.rooms['unsent'] ?? Infinity) <= CLIENTS_BYTES_MAX)
  assert.ok((transport?.rooms['channels'] ?? 0) >= 4, 'and no more than had to be')
  await assertLivesOn(context, term)
})

test('thousands of connections that say nothing keep no client out, and clients no server', async (context) => {
  const { site, raw } = context
  const { term } = site.leader.status
  const address = site.address(site.leader.status.id)
  for (let at = 0; at < 2000; at += 1) raw.push(new RawClient(address))
  await assertLivesOn(context, term)
})

test('clients that fill all places keep no server out', async (context) => {
  const { site } = context
  const { id, term } = site.leader.status
  for (let at = 0; at < 256; at += 1) await letIn(context, id)
  const full = new RawClient(site.address(id))
  context.raw.push(full)
  full.hello()
  assert.match(await full.ending(), 'ERR_RAFT_OVERLOADED: server')
  const other = site.follower.status.id
  await site.close(other)
  const again = await site.open(other)
  await again.ready(LATE)
  assert.is(await again.submit('by a server', LATE), 'by a server')
  assert.is(site.leader.status.term, term)
})

test('commands in parts that never end are held within the bound of all clients together', async (context) => {
  const { site } = context
  const { id, term } = site.leader.status
  const part = sealFrame(newFrame(37, CHANNEL_FRAME_BYTES_MAX - 8))
  const count = Math.ceil(CLIENTS_BYTES_MAX / part.length) + 8
  const clients: RawClient[] = []
  for (let at = 0; at < count; at += 1) clients.push(await letIn(context, id))
  for (const client of clients) client.send(part)
  await until('one is ended for what all hold', () => clients.some(({ isClosed }) => isClosed))
  const reason = await (clients.find(({ isClosed }) => isClosed) as RawClient).ending()
  assert.match(reason, `clients hold more than ${CLIENTS_BYTES_MAX} bytes of this server`)
  await assertLivesOn(context, term)
})

test.run()

/** Each of these ends one client, and costs the servers nothing: one cluster serves all. */
const oneSite = suite<Context>('hostile clients: one word')

oneSite.before(async (context) => {
  context.site = await new Site(PATIENT).openAll()
  context.raw = []
})
oneSite.after(async ({ site, raw }) => {
  for (const { socket } of raw) socket.destroy()
  await site.closeAll()
})

const garbage: readonly (readonly [string, Uint8Array, string])[] = [
  ['a message of servers', messageFrame(heartbeat(1)), 'MALFORMED: malformed frame: a AppendEntries on a channel'],
  ['the hello of a server', encodeHello(helloOf('s2', 's1')), 'MALFORMED: malformed frame: a second hello'],
  ['a welcome', encodeWelcome(), 'MALFORMED: malformed frame: a welcome out of place'],
  [
    'a second hello',
    encodeClientHello({ protocol: PROTOCOL, features: [], requires: [], cluster: 'balsa', clusterId: null }),
    'a hello of a client out of place',
  ],
  [
    'a length of 4 GiB',
    Buffer.from('ffffffff', 'hex'),
    `its length is out of bounds (${CHANNEL_WIRE_BYTES_MAX} bytes)`,
  ],
  [
    'a word that there is not',
    Buffer.concat(encodeChannelFrame(sealFrame(newFrame(99, 8)))),
    'what it asks makes no sense',
  ],
  [
    'news',
    Buffer.concat(
      encodeChannelFrame(encodeClientMessage({ type: 'news', leader: null, addresses: [] })[0] ?? new Uint8Array(1)),
    ),
    'what it asks makes no sense',
  ],
  ['a damaged frame', Buffer.concat(encodeChannelFrame(newFrame(32, 24))), 'what it asks makes no sense'],
  [
    'a question of a server',
    Buffer.concat(encodeChannelFrame(sealFrame(newFrame(34, 8)))),
    'what it asks makes no sense',
  ],
]

for (const [what, bytes, reason] of garbage) {
  oneSite(`${what} ends the client that says it, with the reason, and nobody else`, async (context) => {
    const { term } = context.site.leader.status
    const client = await letIn(context)
    client.socket.write(bytes)
    assert.match(await client.ending(), reason)
    await assertLivesOn(context, term)
  })
}

oneSite.run()
