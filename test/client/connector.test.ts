/**
 * Which server a client is connected to, and when it dials another: a dialler made by hand, and a clock that stands.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { RaftError } from 'balsa-raft'
import { Connector, LEADERLESS_MS_MAX, LEAVING_EVERY_MS, LEAVING_MS_MAX } from '#balsa/client/connector.js'
import type { ClientDialler } from '#balsa/client/connector.js'
import { RemoteCall } from '#balsa/client/link.js'
import { encodeClientMessage } from '#balsa/server/clients/messages.js'
import type { Channel, ChannelHandlers } from '#balsa/transport/channel.js'
import type { ClientDialling } from '#balsa/transport/tcp/client-dial.js'
import { ManualClock } from '../transport/manual-clock.js'

const CLUSTER = '1'.repeat(32)

/** One dial: a test says what becomes of it. */
class Dialled {
  readonly address: string
  readonly clusterId: string | null
  readonly #dialling: ClientDialling
  #handlers: ChannelHandlers | null = null
  closedFor: string | null = null
  stoppedFor: string | null = null

  constructor(address: string, clusterId: string | null, dialling: ClientDialling) {
    this.address = address
    this.clusterId = clusterId
    this.#dialling = dialling
  }

  open(leader: string | null = null, addresses: readonly string[] = []): this {
    const channel: Channel = { queuedBytes: 0, send: () => {}, close: (reason) => (this.closedFor = reason) }
    const welcome = { protocol: { min: 1, max: 1 }, features: [], clusterId: CLUSTER, serverId: `at ${this.address}` }
    this.#handlers = this.#dialling.opened(channel, { type: 'clientWelcome', ...welcome })
    return this.tell(leader, addresses)
  }

  tell(leader: string | null, addresses: readonly string[] = []): this {
    const hint = leader === null ? null : { id: `at ${leader}`, address: leader }
    for (const frame of encodeClientMessage({ type: 'news', leader: hint, addresses })) this.#handlers?.onFrame(frame)
    return this
  }

  receive(frame: Uint8Array): void {
    this.#handlers?.onFrame(frame)
  }

  break(reason = 'ECONNRESET'): void {
    this.#handlers?.onClosed(reason)
  }

  fail(reason = 'ECONNREFUSED', code: string | null = null): void {
    this.#dialling.failed(reason, code === null ? null : { by: 'peer', code })
  }
}

class World {
  readonly clock = new ManualClock()
  readonly dials: Dialled[] = []
  readonly failures: (readonly [RaftError, boolean])[] = []
  readonly connector: Connector

  constructor(endpoints: readonly string[], { prefersLeader = false, random = 0 } = {}) {
    const dialler: ClientDialler = {
      dial: (address, { clusterId }, dialling) => {
        const dialled = new Dialled(address, clusterId, dialling)
        this.dials.push(dialled)
        return { stop: (reason) => (dialled.stoppedFor = reason), gone: Promise.resolve() }
      },
    }
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    this.connector = new Connector({
      ...{ endpoints, cluster: 'balsa', prefersLeader, backoffMinMs: 100, backoffMaxMs: 300, dialler, logger },
      ...{ clock: this.clock, random: () => random, moved: () => {} },
      failed: (error, isFinal) => this.failures.push([error, isFinal]),
    })
    this.connector.start()
  }

  get last(): Dialled {
    const last = this.dials.at(-1)
    if (last === undefined) throw new Error('nobody was dialled')
    return last
  }

  get addresses(): readonly string[] {
    return this.dials.map(({ address }) => address)
  }

  turn(): void {
    this.connector.turn(this.clock.now())
  }

  get used(): string | null {
    return this.connector.link?.address ?? null
  }
}

function nothingAsked(): RaftError {
  throw new Error('nothing is asked')
}

const test = suite('connections of a client')

test('endpoints are dialled in turn, at once until all have failed, and then with pauses that grow to their bound', () => {
  const world = new World(['a:1', 'b:1'])
  const pauses: number[] = []
  for (let round = 0; round < 4; round += 1) {
    world.last.fail()
    assert.equal(world.clock.delays(), [])
    world.last.fail('silence')
    pauses.push(world.clock.delays()[0] ?? 0)
    world.clock.advance(world.clock.delays()[0] ?? 0)
  }
  assert.equal(world.addresses, ['b:1', 'a:1', 'b:1', 'a:1', 'b:1', 'a:1', 'b:1', 'a:1', 'b:1'])
  assert.equal(pauses, [50, 100, 150, 150])
  const [error, isFinal] = world.failures[0] ?? []
  assert.equal([error?.code, isFinal], ['ERR_RAFT_UNREACHABLE', false])
  assert.match(error?.message ?? '', 'b:1: ECONNREFUSED; a:1: silence')
})

test('where the first one is, chance decides', () => {
  const firsts = [0, 0.4, 0.9].map((random) => new World(['a:1', 'b:1', 'c:1'], { random }).last.address)
  assert.is(new Set(firsts).size, 3)
})

test('whom every endpoint refuses is told so with its code, and of several codes with the general one', () => {
  const world = new World(['a:1', 'b:1'])
  world.last.fail('another cluster', 'ERR_RAFT_CLUSTER_MISMATCH')
  world.last.fail('another cluster', 'ERR_RAFT_CLUSTER_MISMATCH')
  world.clock.advance(50)
  world.last.fail('no clients', 'ERR_RAFT_CLIENT_REFUSED')
  world.last.fail('version 9', 'PROTOCOL')
  world.clock.advance(100)
  world.last.fail('no clients', 'ERR_RAFT_CLIENT_REFUSED')
  world.last.fail('full', 'ERR_RAFT_OVERLOADED')
  assert.equal(
    world.failures.map(([{ code, retryable }, isFinal]) => [code, retryable, isFinal]),
    [
      ['ERR_RAFT_CLUSTER_MISMATCH', false, true],
      ['ERR_RAFT_CLIENT_REFUSED', false, true],
      ['ERR_RAFT_UNREACHABLE', true, false],
    ],
  )
})

test('a link that breaks is followed by the next endpoint, within the least pause, and known addresses are dialled', () => {
  const world = new World(['a:1'], { random: 0.5 })
  world.last.open('b:1', ['a:1', 'b:1', 'c:1']).break()
  assert.equal([world.used, world.clock.delays()], [null, [50]])
  world.clock.advance(50)
  assert.is(world.last.clusterId, CLUSTER, 'it says which cluster it has talked to')
  const tried = [world.last.address]
  for (let at = 0; at < 2; at += 1) {
    world.last.fail()
    tried.push(world.last.address)
  }
  assert.equal([...tried].sort(), ['a:1', 'b:1', 'c:1'])
  world.last.open('b:1')
  assert.equal([world.used, world.connector.failures.size], [world.last.address, 0])
})

test('the leader is dialled beside the link, and used once it is connected; answers of the other one still come', async () => {
  const world = new World(['a:1'], { prefersLeader: true })
  const first = world.last.open('b:1', ['a:1', 'b:1'])
  const call = new RemoteCall({ kind: 'command', bytes: new Uint8Array(1) }, null)
  world.connector.link?.send([call], 0)
  world.turn()
  assert.equal([world.addresses, world.used], [['a:1', 'b:1'], 'a:1'])
  world.last.open('b:1', ['a:1', 'b:1'])
  world.turn()
  assert.equal([world.used, first.closedFor, call.settled], ['b:1', null, false])
  for (const frame of encodeClientMessage({
    type: 'answers',
    answers: [{ id: 1, index: 4, term: 2, result: new Uint8Array(1) } as never],
  })) {
    first.receive(frame)
  }
  world.turn()
  assert.equal([call.settled, first.closedFor, world.dials.length], [true, 'another server is asked', 2])
  await world.connector.close('over', nothingAsked)
  assert.is(world.clock.pending, 0)
})

test('a server that was left and does not answer is waited for within its bound', async () => {
  const world = new World(['a:1'], { prefersLeader: true })
  const first = world.last.open('b:1', ['a:1', 'b:1'])
  const call = new RemoteCall({ kind: 'command', bytes: new Uint8Array(1) }, null)
  world.connector.link?.send([call], 0)
  world.turn()
  world.last.open('b:1', ['a:1', 'b:1'])
  world.clock.advance(LEAVING_MS_MAX)
  assert.is(first.closedFor, 'another server is asked')
  const error = await call.promise.then(
    () => null,
    (thrown: unknown) => thrown as RaftError,
  )
  assert.equal([error?.code, error?.outcome], ['ERR_RAFT_LEADERSHIP_LOST', 'unknown'])
})

test('two servers of which each names the other are not dialled in turn without a pause', () => {
  const world = new World(['a:1'], { prefersLeader: true })
  world.last.open('b:1', ['a:1', 'b:1'])
  world.turn()
  world.last.open('a:1', ['a:1', 'b:1'])
  world.turn()
  world.clock.advance(LEAVING_EVERY_MS - 1)
  world.turn()
  assert.equal([world.addresses, world.used], [['a:1', 'b:1'], 'b:1'])
  world.clock.advance(1)
  world.turn()
  assert.equal(world.addresses, ['a:1', 'b:1', 'a:1'])
})

test('a leader that is not reached is not dialled again until another one leads', () => {
  const world = new World(['a:1'], { prefersLeader: true })
  const link = world.last.open('b:1', ['a:1', 'b:1', 'c:1'])
  world.turn()
  world.last.fail()
  world.turn()
  world.turn()
  assert.equal([world.addresses, world.used], [['a:1', 'b:1'], 'a:1'])
  link.tell('c:1', ['a:1', 'b:1', 'c:1'])
  world.turn()
  assert.equal(world.addresses, ['a:1', 'b:1', 'c:1'])
})

test('a server that knows no leader for too long is left for another one, and one alone is kept', () => {
  const world = new World(['a:1', 'b:1'])
  world.last.open(null)
  world.turn()
  world.clock.advance(LEADERLESS_MS_MAX - 1)
  world.turn()
  assert.is(world.dials.length, 1)
  world.clock.advance(1)
  world.turn()
  assert.equal([world.addresses, world.used], [['b:1', 'a:1'], 'b:1'])
  world.last.open('a:1')
  assert.is(world.used, 'a:1')

  const alone = new World(['a:1'])
  alone.last.open(null, ['a:1'])
  alone.turn()
  alone.clock.advance(LEADERLESS_MS_MAX)
  alone.turn()
  assert.equal([alone.dials.length, alone.used], [1, 'a:1'])
})

test('close ends the dial and the links, and nothing is dialled any more', async () => {
  const world = new World(['a:1', 'b:1'])
  const first = world.last.open('a:1')
  world.clock.advance(LEADERLESS_MS_MAX)
  await world.connector.close('over', nothingAsked)
  assert.equal([first.closedFor, world.used, world.clock.pending], ['over', null, 0])
  const dialling = new World(['a:1'])
  await dialling.connector.close('over', nothingAsked)
  assert.is(dialling.last.stoppedFor, 'over')
  assert.is(dialling.clock.pending, 0)
})

test('a connection that is renewed goes to the same server, and what is asked for meanwhile is done after that', () => {
  const world = new World(['a:1', 'b:1'])
  world.connector.renew()
  assert.equal(world.addresses, ['b:1'], 'there is nothing to renew')
  const first = world.last.open()
  world.connector.renew()
  assert.equal(world.addresses, ['b:1', 'b:1'])
  const second = world.last
  world.connector.renew()
  world.connector.renew()
  assert.is(world.dials.length, 2)
  assert.is(first.closedFor, null)
  second.open()
  assert.equal(world.addresses, ['b:1', 'b:1', 'b:1'])
  world.turn()
  assert.is(first.closedFor, 'another server is asked')
  world.connector.renew()
  world.last.fail('reloaded meanwhile')
  assert.is(world.dials.length, 4)
  world.last.fail()
  assert.is(world.dials.length, 4, 'it was tried, and what there is stays')
  assert.is(second.closedFor, null)
  assert.is(world.used, 'b:1')
})

test.run()
