/** Whoever comes over gRPC with what is not wanted is told why in one line, which is in the log, and leaves nothing. */

import type { ServerHttp2Session } from 'node:http2'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Client, credentials, Server, ServerCredentials, ServerInterceptingCall, status } from '@grpc/grpc-js'
import type { ClientDuplexStream, ServerInterceptor, StatusObject } from '@grpc/grpc-js'
import type { GrpcTransport, GrpcTransportOptions } from '@balsa-raft/grpc'
import { grpcTransport } from '@balsa-raft/grpc'
import {
  decodeFrame,
  encodeClientHello,
  encodeHello,
  FEATURES,
  frameMemory,
  PROTOCOL,
  type RefusalFrame,
} from 'balsa-raft/transport'
import { heartbeat, identityOf, introductionOf, Site } from '#balsa/testing/conformance/site.js'
import { entryBlock } from '#balsa/format/block.js'
import { logIndex, termOf } from '#balsa/types.js'
import { MachineClock } from '../transport/machine-clock.js'
import { until } from '../support/until.js'
import { bind, boundServer, plainTransport } from './grpc-world.js'
import type { Bound } from './grpc-world.js'

const plain = credentials.createInsecure()
const asItIs = (message: Buffer): Buffer => message

/** Sites of one test, and what they stand on. */
class World {
  readonly clock = new MachineClock()
  readonly #sites: Site[] = []
  readonly #bound: Bound[] = []
  readonly #strangers: Stranger[] = []

  async bound(options: ConstructorParameters<typeof Server>[0] = {}): Promise<Bound> {
    const bound = await boundServer(options)
    this.#bound.push(bound)
    return bound
  }

  async site(id: string, bound: Bound, options: Partial<GrpcTransportOptions> = {}): Promise<Site> {
    const site = new Site(id, plainTransport(bound, options))
    this.#sites.push(site)
    await site.start(this.clock)
    return site
  }

  stranger(address: string, deadlineMs?: number): Stranger {
    const stranger = new Stranger(address, deadlineMs)
    this.#strangers.push(stranger)
    return stranger
  }

  async close(): Promise<void> {
    for (const stranger of this.#strangers) stranger.close()
    for (const { transport } of this.#sites) {
      await transport.close()
      const left = Object.entries((transport as GrpcTransport).rooms).filter(([, count]) => count > 0)
      assert.equal(left, [], 'nothing is left in any room')
    }
    for (const { server } of this.#bound) server.forceShutdown()
    assert.is(this.clock.pending.size, 0, 'no timer is left')
  }
}

/** Somebody with a gRPC client, who calls the stream of servers. */
class Stranger {
  readonly heard: Buffer[] = []
  ended: StatusObject | null = null
  readonly stream: ClientDuplexStream<Buffer, Buffer>
  readonly #client: Client

  constructor(address: string, deadlineMs?: number) {
    this.#client = new Client(address, plain, { 'grpc.use_local_subchannel_pool': 1 })
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs }
    this.stream = this.#client.makeBidiStreamRequest('/balsa.transport.v1.Raft/Connect', asItIs, asItIs, options)
    this.stream.on('data', (message: Buffer) => this.heard.push(message))
    this.stream.on('error', () => {})
    this.stream.on('status', (ended: StatusObject) => (this.ended = ended))
  }

  /** As the message that the .proto describes. */
  say(bytes: Uint8Array): void {
    assert.ok(bytes.length < 2 ** 14)
    const [low, high] = [bytes.length & 0x7f, bytes.length >> 7]
    this.stream.write(Buffer.from([0x0a, ...(high === 0 ? [low] : [low | 0x80, high]), ...bytes]))
  }

  /** What was said last, which must be a refusal. */
  async refusal(): Promise<RefusalFrame> {
    await until('it was ended', () => this.ended !== null)
    const message = this.heard.at(-1) ?? Buffer.alloc(0)
    const frame = decodeFrame(frameMemory(message.subarray((message[1] ?? 0) > 0x7f ? 3 : 2)))
    if (frame.type !== 'refusal') throw new Error(`it heard a ${frame.type}, and ended with ${this.ended?.details}`)
    return frame
  }

  close(): void {
    this.stream.cancel()
    this.#client.close()
  }
}

const refusals = (site: Site): readonly string[] =>
  site.lines.filter(({ event }) => event === 'transport.link-refused').map(({ fields }) => String(fields['reason']))

/** What comes from others at a time, by connection. */
const windowsOf = (server: Server): readonly number[] =>
  [...(server as unknown as { readonly sessions: ReadonlyMap<ServerHttp2Session, unknown> }).sessions.keys()].map(
    ({ state }) => state.effectiveLocalWindowSize ?? 0,
  )

/** An application's, which lets everybody pass. */
const asking: ServerInterceptor = (_, call) => new ServerInterceptingCall(call)

const refusing: ServerInterceptor = (_, call) =>
  new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata: () => call.sendStatus({ code: status.PERMISSION_DENIED, details: 'who are you' }),
      }),
  })

const helloOf = (id: string, targetId: string): Uint8Array =>
  encodeHello({
    ...introductionOf(id),
    ...{ protocol: PROTOCOL, features: FEATURES, requires: [], targetId, address: '127.0.0.1:1' },
  })

const test = suite<{ world: World }>('bad input over gRPC')

test.before.each((context) => {
  context.world = new World()
})
test.after.each(({ world }) => world.close())

for (const [what, message] of [
  ['that is no message of the service', Buffer.from('PRI * HTTP/2.0')],
  ['of zeros in a message of the service', Buffer.from([0x0a, 40, ...new Uint8Array(40)])],
  ['that says that it is longer than it is', Buffer.from([0x0a, 0x7f, 1, 2, 3])],
] as const) {
  test(`garbage ${what} is refused as malformed, on both sides`, async ({ world }) => {
    const bound = await world.bound()
    const site = await world.site('a', bound)
    const stranger = world.stranger(bound.address)
    stranger.stream.write(message)
    const { code, reason } = await stranger.refusal()
    assert.is(code, 'MALFORMED')
    assert.match(reason, /malformed frame/)
    assert.is(refusals(site).length, 1)
    assert.match(refusals(site)[0] ?? '', /malformed frame/)
    assert.is(stranger.ended?.code, status.OK)
  })
}

test('a hello that comes byte by byte is understood, and one behind it is a second one', async ({ world }) => {
  const bound = await world.bound()
  const site = await world.site('a', bound)
  const stranger = world.stranger(bound.address)
  for (const byte of helloOf('b', 'a')) stranger.say(Uint8Array.of(byte))
  await until('it is admitted', () => site.admitted.length === 1)
  stranger.say(helloOf('b', 'a'))
  assert.match((await stranger.refusal()).reason, /a second hello/)
})

test('a frame longer than a hello may be is refused before it has come', async ({ world }) => {
  const bound = await world.bound()
  await world.site('a', bound)
  const stranger = world.stranger(bound.address)
  stranger.say(Uint8Array.of(0, 0, 64, 0))
  assert.match((await stranger.refusal()).reason, /its length is out of bounds \(4096 bytes\)/)
})

test('a client of balsa-raft/client is refused, and told that there are none over gRPC', async ({ world }) => {
  const bound = await world.bound()
  await world.site('a', bound)
  const stranger = world.stranger(bound.address)
  stranger.say(
    encodeClientHello({ protocol: PROTOCOL, features: FEATURES, requires: [], cluster: 'x', clusterId: null }),
  )
  const { code, reason } = await stranger.refusal()
  assert.is(code, 'ERR_RAFT_CLIENT_REFUSED')
  assert.match(reason, /server a takes no clients/)
})

test('who says nothing is ended by the timeout of the handshake, and told so', async ({ world }) => {
  const bound = await world.bound()
  const site = await world.site('a', bound, { handshakeTimeoutMs: 10 })
  const stranger = world.stranger(bound.address)
  assert.is((await stranger.refusal()).code, 'HANDSHAKE_TIMEOUT')
  assert.equal(refusals(site), ['no handshake within 10 ms'])
})

test('a deadline and a cancelled stream end a connection, with one line each', async ({ world }) => {
  const bound = await world.bound()
  const site = await world.site('a', bound)
  // So long that the stream has reached the server by then, however busy the machine is.
  const late = world.stranger(bound.address, 1500)
  await until('the deadline has passed', () => late.ended !== null && refusals(site).length === 1)
  assert.is(late.ended?.code, status.DEADLINE_EXCEEDED)
  assert.match(refusals(site)[0] ?? '', /closed by the other side, or by gRPC: .* a deadline/)
  const gone = world.stranger(bound.address)
  gone.say(helloOf('b', 'a'))
  await until('it is admitted', () => site.admitted.length === 1)
  gone.stream.cancel()
  await until('its link is down', () => site.linkEnds.length === 1)
})

test('strangers beyond the bound of one address make room for each other, and a member still gets in', async ({
  world,
}) => {
  const bound = await world.bound()
  const site = await world.site('a', bound, { acceptedMax: 32, handshakeTimeoutMs: 60_000 })
  const strangers = Array.from({ length: 40 }, () => world.stranger(bound.address))
  await until('the oldest are ended', () => strangers.filter(({ ended }) => ended !== null).length >= 32)
  assert.ok(((site.transport as GrpcTransport).rooms['strangers'] ?? 0) <= 8)
  const peer = await world.site('b', await world.bound())
  peer.transport.setPeers([{ id: 'a', address: bound.address }])
  await peer.up('a')
})

test('a request over the limit of the peer’s gRPC server ends the session, and names limit and remedy', async ({
  world,
}) => {
  const a = await world.site('a', await world.bound())
  const narrow = await world.bound({ 'grpc.max_receive_message_length': 2000 })
  await world.site('b', narrow)
  a.transport.setPeers([{ id: 'b', address: narrow.address }])
  const session = await a.up('b')
  const block = entryBlock('command', logIndex(8), termOf(3), 1_700_000_000_000, new Uint8Array(5000))
  a.ask('b', session, { ...heartbeat(1), blocks: [block] })
  const reason = await a.down('b', session)
  assert.match(reason, /^RESOURCE_EXHAUSTED: Received message larger than max \(\d+ vs 2000\)/)
  assert.match(reason, /let its gRPC server take them \('grpc.max_receive_message_length'\), or lower messageBytesMax/)
})

test('a gRPC server that carries no Balsa is told from one that is down, each with what to do', async ({ world }) => {
  const a = await world.site('a', await world.bound())
  const other = await world.bound()
  const down = await world.bound()
  down.server.forceShutdown()
  a.transport.setPeers([
    { id: 'b', address: other.address },
    { id: 'c', address: down.address },
  ])
  await until('both dials have failed', () => new Set(a.failedDials.map(({ peer }) => peer)).size === 2)
  const reasonOf = (id: string): string => a.failedDials.find(({ peer }) => peer === id)?.reason ?? ''
  assert.match(reasonOf('b'), /^UNIMPLEMENTED: .*carries no server of Balsa now: open one on it/)
  assert.match(reasonOf('c'), /^UNAVAILABLE: .*ECONNREFUSED/)
})

test('an address that gRPC cannot read fails as a dial does', async ({ world }) => {
  const a = await world.site('a', await world.bound())
  a.transport.setPeers([{ id: 'b', address: 'nobody-knows://b' }])
  await until('it has failed', () => a.failedDials.length > 1)
  assert.match(a.failedDials[0]?.reason ?? '', /nobody-knows/)
  await a.refusedChannel('b').then((reason) => assert.match(reason, /nobody-knows/))
})

test('a server that was not bound says so, and is well when it is', async ({ world }) => {
  const [free, bound] = [await boundServer(), { server: new Server(), address: '' }]
  free.server.forceShutdown()
  const site = await world.site('a', { ...bound, address: free.address }, { backoffMaxMs: 20 })
  const has = (event: string): boolean => site.lines.some((line) => line.event === event)
  await until('it says so', () => has('transport.not-reached'))
  assert.is(site.lines.filter(({ event, level }) => event === 'transport.not-reached' && level === 'warn').length, 1)
  await bind(bound.server, free.address)
  await until('it is reached', () => has('transport.reached'))
  await site.transport.close()
  bound.server.forceShutdown()
})

test('a server that dials in the clear where TLS is spoken fails with a reason, as does the reverse', async ({
  world,
}) => {
  const a = await world.site('a', await world.bound(), { dialTimeoutMs: 500 })
  const clear = await world.bound()
  await world.site('b', clear)
  const secured = new Server()
  // No certificate at all: no hello of TLS is answered.
  const port = await new Promise<number>((resolve, reject) => {
    const made = ServerCredentials.createSsl(null, [], false)
    secured.bindAsync('127.0.0.1:0', made, (error, at) => (error === null ? resolve(at) : reject(error)))
  })
  a.transport.setPeers([{ id: 'c', address: `127.0.0.1:${port}` }])
  await until('the dial in the clear has failed', () => a.failedDials.some(({ peer }) => peer === 'c'))
  const t = new Site(
    't',
    grpcTransport({ ...(await world.bound()), credentials: credentials.createSsl(), dialTimeoutMs: 500 }),
  )
  await t.start(world.clock)
  t.transport.setPeers([{ id: 'b', address: clear.address }])
  await until('the dial with TLS has failed', () => t.failedDials.some(({ peer }) => peer === 'b'))
  await t.transport.close()
  secured.forceShutdown()
})

for (const interceptors of [[], [asking], [asking, asking]]) {
  test(`a peer may send 4 MiB at a time once it is admitted, behind ${interceptors.length} interceptors`, async ({
    world,
  }) => {
    const bound = await world.bound({ interceptors })
    const stranger = world.stranger(bound.address)
    await world.site('a', bound)
    stranger.say(Uint8Array.of(1))
    await until('its connection is there', () => windowsOf(bound.server).length === 1)
    const peer = await world.site('b', await world.bound())
    peer.transport.setPeers([{ id: 'a', address: bound.address }])
    await peer.up('a')
    await until('it may', () => windowsOf(bound.server).filter((bytes) => bytes >= 4 * 2 ** 20).length === 1)
    // Of the stranger, and of the transport that asks for itself.
    assert.ok(windowsOf(bound.server).filter((bytes) => bytes < 2 ** 17).length >= 1)
  })
}

test('a session and a channel to one peer have an HTTP/2 connection each', async ({ world }) => {
  const bound = await world.bound()
  const site = await world.site('a', bound)
  const peer = await world.site('b', await world.bound())
  await until('it has reached itself', () => site.lines.some(({ event }) => event === 'transport.reached'))
  await until('that is over', () => windowsOf(bound.server).length === 0)
  peer.transport.setPeers([{ id: 'a', address: bound.address }])
  await peer.up('a')
  assert.is(windowsOf(bound.server).length, 1)
  await peer.open('a')
  assert.is(windowsOf(bound.server).length, 2)
})

test('who is turned away by an interceptor of the application never reaches the transport', async ({ world }) => {
  const bound = await world.bound({ interceptors: [refusing] })
  const site = await world.site('a', bound)
  const peer = await world.site('b', await world.bound())
  peer.transport.setPeers([{ id: 'a', address: bound.address }])
  await until('its dial has failed', () => peer.failedDials.length > 0)
  const reason = 'PERMISSION_DENIED: who are you; let its gRPC server accept the credentials of this one'
  assert.is(peer.failedDials[0]?.reason, reason)
  assert.equal([site.calls, refusals(site)], [0, []])
})

test('each option out of bounds is refused by its name', async ({ world }) => {
  const bound = await world.bound()
  const good = { ...bound, credentials: plain }
  const refused = (options: object, says: RegExp): void => {
    assert.throws(() => grpcTransport({ ...good, ...options }), says)
  }
  refused({ server: {} }, /server must be a Server of @grpc\/grpc-js/)
  refused({ address: 'kv-1' }, /address is not one/)
  refused({ credentials: {} }, /credentials must be channel credentials/)
  refused({ credentials: ServerCredentials.createInsecure() }, /credentials must be channel credentials/)
  refused({ channelOptions: 1 }, /channelOptions must be an object/)
  refused({ messageBytesMax: 1 }, /messageBytesMax is 1; it must be in 16384 \.\. 2097152/)
  refused({ dialTimeoutMs: 'x' }, /dialTimeoutMs is of type string; it must be in 10 \.\. 60000/)
  refused({ random: 1 }, /random must be a function/)
  refused({ dialTimeout: 1 }, /there is no option dialTimeout/)
})

test('who closes while everybody talks leaves nothing, and its gRPC server may carry another', async ({ world }) => {
  const bound = await world.bound()
  const first = await world.site('a', bound)
  const peer = await world.site('b', await world.bound())
  peer.transport.setPeers([{ id: 'a', address: bound.address }])
  const session = await peer.up('a')
  await first.transport.close()
  await peer.down('a', session)
  const second = await world.site('a', bound)
  assert.equal(second.sessions, [])
  assert.is(identityOf('a').serverId, 'a')
  await peer.up('a', session)
})

test.run()
