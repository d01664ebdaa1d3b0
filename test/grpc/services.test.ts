/**
 * Three servers over gRPC, each with its health and its admin service, asked by clients that were made of the .proto
 * files: so what this package writes and reads by hand is what others write and read.
 */

import { EventEmitter } from 'node:events'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { credentials, Server, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { addAdmin, addHealth, followLeadership, METADATA_KEYS, OPEN_SERVICE, statusOf } from '@balsa-raft/grpc'
import type { AdminSource, Leadership } from '@balsa-raft/grpc'
import { msgpackCodec, Raft, RaftError } from 'balsa-raft'
import type { RaftOptions, WaitOptions } from 'balsa-raft'
import { memorySnapshotStore, memoryStore } from 'balsa-raft/storage'
import { listMachine } from '../support/list-machine.js'
import type { List } from '../support/list-machine.js'
import { until } from '../support/until.js'
import { boundServer, plainTransport } from './grpc-world.js'
import type { Bound } from './grpc-world.js'
import { ProtoClient } from './proto-client.js'

const plain = credentials.createInsecure()
const ELECTION_TIMEOUT_MS = 1500

interface Members {
  readonly index: number
  readonly isCommitted: boolean
  readonly members: readonly {
    readonly id: string
    readonly address: string
    readonly isVoter: boolean
    readonly promote: boolean
    readonly meta: Readonly<Record<string, string>>
  }[]
  readonly outgoing: readonly unknown[]
}

class Cluster {
  readonly bound: readonly Bound[]
  readonly rafts: List[] = []
  readonly admins: readonly ProtoClient[]
  readonly healths: readonly ProtoClient[]

  constructor(bound: readonly Bound[]) {
    this.bound = bound
    this.admins = bound.map(({ address }) => new ProtoClient('balsa.admin.v1.Admin', address, plain))
    this.healths = bound.map(({ address }) => new ProtoClient('grpc.health.v1.Health', address, plain))
  }

  /** The first one alone, which needs no other's vote; the others are added to it. */
  static async open(): Promise<Cluster> {
    const cluster = new Cluster(await Promise.all([boundServer(), boundServer(), boundServer()]))
    for (const [at, bound] of cluster.bound.entries()) {
      const id = `s${at + 1}`
      const { address } = bound
      const join = cluster.bound.slice(0, 1).map((first) => first.address)
      const raft = await openList(id, bound, at === 0 ? { bootstrap: [{ id, address }] } : { join })
      addAdmin(bound.server, raft)
      addHealth(bound.server, raft, { services: ['', 'app.v1.Orders'] })
      cluster.rafts.push(raft)
      if (at > 0) await cluster.admins[0]?.call('AddMember', { id, address })
      await raft.ready({ timeoutMs: 20_000 })
    }
    return cluster
  }

  get leader(): number {
    return this.rafts.findIndex(({ status: { role } }) => role === 'leader')
  }

  async close(): Promise<void> {
    for (const client of [...this.admins, ...this.healths]) client.close()
    await Promise.all(this.rafts.map((raft) => raft.close({ transferLeadership: false })))
    for (const { server } of this.bound) server.forceShutdown()
  }
}

function openList(id: string, bound: Bound, more: Partial<RaftOptions<number, number>>): Promise<List> {
  return Raft.open<number, number, void, readonly number[]>({
    ...{ id, dir: `/${id}`, logger: false, codec: msgpackCodec<number>() },
    // Longer than the default: no election but those that are asked for, on a busy machine too.
    electionTimeoutMs: ELECTION_TIMEOUT_MS,
    ...{ transport: plainTransport(bound), storage: memoryStore(), snapshotStorage: memorySnapshotStore() },
    ...{ stateMachine: listMachine(), snapshots: { trailingEntries: 1, trailingBytes: 0 } },
    ...(more as object),
  })
}

/** What the admin service takes of a server. */
function sourceOf({ rafts: [raft] }: Cluster): AdminSource {
  if (raft === undefined) throw new Error('no server')
  return {
    ...{ status: raft.status, health: raft.health, configuration: () => raft.configuration() },
    addVoter: (...given) => raft.addVoter(...given),
    addNonvoter: (...given) => raft.addNonvoter(...given),
    removeServer: (...given) => raft.removeServer(...given),
    promote: (...given) => raft.promote(...given),
    demoteVoter: (...given) => raft.demoteVoter(...given),
    transferLeadership: (...given) => raft.transferLeadership(...given),
    snapshot: (...given) => raft.snapshot(...given),
  }
}

async function failureOf(asked: Promise<unknown>): Promise<ServiceError> {
  const error = await asked.then(
    () => null,
    (failed: unknown) => failed as ServiceError,
  )
  if (error === null) throw new Error('it was answered')
  return error
}

const said = (error: ServiceError, key: keyof typeof METADATA_KEYS): string | undefined =>
  error.metadata.get(METADATA_KEYS[key])[0]?.toString()

const test = suite<{ cluster: Cluster }>('services over gRPC')

test.before(async (context) => {
  context.cluster = await Cluster.open()
})
test.before.each(({ cluster }) => until('a server leads', () => cluster.leader >= 0))
test.after(({ cluster }) => cluster.close())

test('health says SERVING on the leader only, and who watches it is told when that changes', async ({ cluster }) => {
  const askAll = async (service: string): Promise<readonly string[]> => {
    const answers = cluster.healths.map((health) => health.call<{ readonly status: string }>('Check', { service }))
    return (await Promise.all(answers)).map((answer) => answer.status)
  }
  const { leader } = cluster
  const expected = cluster.rafts.map((_, at) => (at === leader ? 'SERVING' : 'NOT_SERVING'))
  for (const service of ['', 'app.v1.Orders']) assert.equal(await askAll(service), expected)
  assert.equal(await askAll(OPEN_SERVICE), ['SERVING', 'SERVING', 'SERVING'])
  assert.is((await failureOf(askAll('app.v1.Nothing'))).code, status.NOT_FOUND)

  const heard: string[] = []
  const watch = cluster.healths[leader]?.stream<{ readonly status: string }>('Watch', { service: '' })
  watch?.on('data', (answer: { readonly status: string }) => heard.push(answer.status))
  watch?.on('error', () => {})
  const unknown: string[] = []
  const other = cluster.healths[leader]?.stream<{ readonly status: string }>('Watch', { service: 'app.v1.Nothing' })
  other?.on('data', (answer: { readonly status: string }) => unknown.push(answer.status))
  other?.on('error', () => {})
  await until('both have heard', () => heard.length === 1 && unknown.length === 1)
  const to = `s${((leader + 1) % 3) + 1}`
  const { leaderId } = (await cluster.admins[leader]?.call<{ readonly leaderId: string }>('TransferLeadership', {
    to,
  })) ?? { leaderId: '' }
  assert.is(leaderId, to)
  await until('it is told', () => heard.length === 2)
  assert.equal([heard, unknown], [['SERVING', 'NOT_SERVING'], ['SERVICE_UNKNOWN']])
  watch?.cancel()
  other?.cancel()
  await until('the new leader says so', async () => (await askAll('')).includes('SERVING'))
})

test('watches have a bound, over which the next is told so, and those that end make room', async ({ cluster }) => {
  const [health] = cluster.healths
  const heard: string[] = []
  const watch = (): ReturnType<ProtoClient['stream']> | undefined => {
    const stream = health?.stream<{ readonly status: string }>('Watch', { service: OPEN_SERVICE })
    stream?.on('data', (answer: { readonly status: string }) => heard.push(answer.status))
    stream?.on('error', ({ details }: ServiceError) => heard.push(details))
    return stream
  }
  const open = Array.from({ length: 1024 }, watch)
  await until('all are told', () => heard.length === 1024)
  watch()
  await until('the next is told', () => heard.length === 1025)
  assert.equal(
    heard.filter((text) => text !== 'SERVING'),
    ['there are 1024 watches already: ask by Check'],
  )
  for (const stream of open) stream?.cancel()
  await until('there is room again', async () => {
    const before = heard.length
    const again = watch()
    await until('it is told', () => heard.slice(before).some((text) => !text.startsWith('Cancelled')))
    again?.cancel()
    return heard.slice(before).includes('SERVING')
  })
})

test('a follower refuses what only a leader does, with code, outcome and the way to the leader', async ({
  cluster,
}) => {
  const follower = (cluster.leader + 1) % 3
  const error = await failureOf(cluster.admins[follower]?.call('TransferLeadership') ?? Promise.resolve())
  assert.is(error.code, status.FAILED_PRECONDITION)
  assert.is(said(error, 'code'), 'ERR_RAFT_NOT_LEADER')
  assert.is(said(error, 'outcome'), 'not-applied')
  assert.is(said(error, 'leaderId'), `s${cluster.leader + 1}`)
  assert.is(said(error, 'leaderAddress'), cluster.bound[cluster.leader]?.address)
})

test('members are listed, added, demoted, promoted and removed', async ({ cluster }) => {
  const admin = cluster.admins[cluster.leader]
  const ask = (method: string, request: object = {}): Promise<Members> =>
    admin?.call<Members>(method, request) ?? Promise.reject(new Error('no leader'))
  const before = await ask('ListMembers')
  assert.equal(
    before.members.map(({ id, address, isVoter }) => [id, address, isVoter]),
    cluster.bound.map(({ address }, at) => [`s${at + 1}`, address, true]),
  )
  const refused = await failureOf(ask('RemoveMember', { id: 's1', ifIndex: before.index + 1000 }))
  assert.is(refused.code, status.FAILED_PRECONDITION)
  assert.is(said(refused, 'code'), 'ERR_RAFT_CHANGE_REFUSED')

  const meta = { zone: 'b', 'http.address': 'k4:80' }
  const added = await ask('AddMember', {
    id: 's4',
    address: '127.0.0.1:9',
    meta,
    nonvoter: true,
    ifIndex: before.index,
  })
  const s4 = added.members.find(({ id }) => id === 's4')
  assert.equal(s4, { id: 's4', address: '127.0.0.1:9', isVoter: false, promote: false, meta })
  assert.ok(added.index > before.index && added.isCommitted)
  const late = await failureOf(admin?.call('PromoteMember', { id: 's4' }, 300) ?? Promise.resolve())
  assert.is(late.code, status.DEADLINE_EXCEEDED)
  assert.equal(
    (await ask('RemoveMember', { id: 's4' })).members.map(({ id }) => id),
    ['s1', 's2', 's3'],
  )

  const id = `s${((cluster.leader + 1) % 3) + 1}`
  const isVoter = ({ members }: Members): boolean | undefined => members.find((member) => member.id === id)?.isVoter
  assert.is(isVoter(await ask('DemoteMember', { id })), false)
  assert.is(isVoter(await ask('PromoteMember', { id })), true)
})

test('a server tells its status, and takes a snapshot', async ({ cluster }) => {
  const leader = cluster.rafts[cluster.leader]
  await leader?.apply(1)
  const admin = cluster.admins[cluster.leader]
  const told = await admin?.call<Readonly<Record<string, unknown>>>('Status')
  if (leader === undefined) throw new Error('no leader')
  const { id, clusterId, role, term, firstIndex, lastIndex, commitIndex, appliedIndex, peers } = leader.status
  assert.equal(told, {
    ...{ id, clusterId, role, term, firstIndex, lastIndex, commitIndex, appliedIndex },
    ...{
      leaderId: id,
      leaderAddress: cluster.bound[cluster.leader]?.address,
      isAlive: true,
      isReady: true,
      reason: '',
    },
    peers: peers.map(({ id, address, connected, matchIndex }) => ({
      id,
      address,
      connected,
      matchIndex,
      downReason: '',
    })),
  })
  const taken = await admin?.call<Readonly<Record<string, unknown>>>('TakeSnapshot')
  assert.equal({ ...taken }, { ...leader?.status.snapshot.last })
})

test('a server that joins by an address is answered, added, and given a snapshot, all over gRPC', async ({
  cluster,
}) => {
  const leader = cluster.rafts[cluster.leader]
  for (let number = 0; number < 20; number += 1) await leader?.apply(number)
  await cluster.admins[cluster.leader]?.call('TakeSnapshot')
  await until('the log is compacted', () => (leader?.status.firstIndex ?? 0) > 10)
  const bound = await boundServer()
  const late = await openList('s4', bound, { join: cluster.bound.map(({ address }) => address) })
  const events: string[] = []
  late.on('snapshot', ({ what }) => events.push(what))
  try {
    const { address } = bound
    const added = await cluster.admins[cluster.leader]?.call<Members>('AddMember', { id: 's4', address })
    assert.is(added?.members.find(({ id }) => id === 's4')?.isVoter, true)
    await until('it is ready', () => late.health.isReady)
    assert.equal(await late.query(undefined), await leader?.query(undefined))
    assert.equal(events, ['received', 'restored'])
    await cluster.admins[cluster.leader]?.call('RemoveMember', { id: 's4' })
  } finally {
    await late.close()
    bound.server.forceShutdown()
  }
})

test('a second service of a kind is refused, and what was taken away can be added again', ({ cluster }) => {
  const [raft] = cluster.rafts
  if (raft === undefined) throw new Error('no server')
  const server = new Server()
  const [removeAdmin, removeHealth] = [addAdmin(server, raft), addHealth(server, raft)]
  assert.throws(() => addAdmin(server, raft), /has an admin service already/)
  assert.throws(() => addHealth(server, raft), /has a health service already: tell it by followLeadership/)
  assert.throws(() => addHealth(new Server(), raft, { services: 'x' } as never), /services must be a list of names/)
  removeAdmin()
  removeHealth()
  addAdmin(server, raft)()
  addHealth(server, raft)()
})

test('a deadline bounds the wait, with time left for the answer, and a call that is cancelled waits no more', async ({
  cluster,
}) => {
  type Handler = (call: object, respond: (error: unknown) => void) => void
  let handlers: Readonly<Record<string, Handler>> = {}
  const server = { addService: (_: unknown, given: typeof handlers) => (handlers = given), removeService: () => {} }
  const waits: WaitOptions[] = []
  const promote = async (_: string, options: WaitOptions = {}): Promise<never> => {
    waits.push(options)
    throw new RaftError('ERR_RAFT_TIMEOUT', 'it took too long', { outcome: 'unknown' })
  }
  addAdmin(server as unknown as Server, { ...sourceOf(cluster), promote })
  for (const deadline of [Date.now() + 10_000, new Date(Date.now() + 500), Date.now() - 1, Infinity]) {
    const call = Object.assign(new EventEmitter(), { request: { id: 's1' }, getDeadline: () => deadline })
    const failed = new Promise((resolve) => handlers['PromoteMember']?.(call, resolve))
    const { code, metadata } = (await failed) as ServiceError
    assert.equal([code, metadata.get(METADATA_KEYS.outcome)], [status.DEADLINE_EXCEEDED, ['unknown']])
    assert.is(waits.at(-1)?.signal?.aborted, false)
    call.emit('cancelled')
    assert.is(waits.at(-1)?.signal?.aborted, true)
  }
  const [long = 0, short = 0, over = 0, none] = waits.map(({ timeoutMs }) => timeoutMs)
  assert.ok(long <= 9900 && short <= 450, `${long} ms of 10 s, ${short} ms of 500 ms`)
  assert.equal([over, none], [1, undefined])
})

test('a status carries no words of what is no RaftError, and any id', () => {
  const foreign = statusOf(new Error('the password is xyzzy'))
  assert.is(foreign.code, status.UNKNOWN)
  assert.not.match(foreign.details, /xyzzy/)
  const leader = { id: 'größe 100%', address: '[::1]:7600' }
  const told = statusOf(new RaftError('ERR_RAFT_NOT_LEADER', 'half a pair: \ud800', { leader }))
  assert.is(told.details, 'half a pair: \ufffd')
  assert.is(decodeURIComponent(String(told.metadata.get(METADATA_KEYS.leaderId)[0])), leader.id)
  assert.is(String(told.metadata.get(METADATA_KEYS.leaderAddress)[0]), leader.address)
})

test('who follows leadership is told of its end when the server closes', async ({ cluster }) => {
  const heard: Leadership[] = []
  const [raft] = cluster.rafts
  if (raft === undefined) throw new Error('no server')
  const stop = followLeadership(raft, (leadership) => heard.push(leadership))
  const unheard: Leadership[] = []
  followLeadership(raft, (leadership) => unheard.push(leadership))()
  await raft.close()
  await until('it is told', () => heard.at(-1)?.isOpen === false)
  assert.is(heard.at(-1)?.isLeader, false)
  assert.is(unheard.length, 1)
  stop()
  const health = await cluster.healths[0]?.call<{ readonly status: string }>('Check', { service: OPEN_SERVICE })
  assert.is(health?.status, 'NOT_SERVING')
})

test.run()
