/**
 * What RAFT answers when the library refuses: what it advises must exist here. Each text is made by the library itself;
 * a code that comes new has to be given a place in the list, or nothing compiles.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Raft, RaftError, type RaftErrorCode } from 'balsa-raft'
import { SERVER_HELP } from 'balsa-kv/cli/server-options.js'
import { raftSubcommands } from 'balsa-kv/commands/raft-commands.js'
import { inOwnWords } from 'balsa-kv/commands/remedies.js'
import {
  configurationAfter,
  MEMBERS_MAX,
  type ChangeRefusal,
  type ConfigurationChange,
} from '#balsa/core/configuration-change.js'
import type { RaftCore } from '#balsa/core/raft-core.js'
import type { TransferFailure } from '#balsa/core/ready.js'
import { snapshotFailed } from '#balsa/machine/snapshot-pieces.js'
import {
  checkChangeOptions,
  checkDescription,
  checkLease,
  checkServerId,
  checkTransferOptions,
} from '#balsa/options.js'
import { ChangeCall, ChangeQueue } from '#balsa/server/calls/change-queue.js'
import { replace, type Changing } from '#balsa/server/calls/replacement.js'
import {
  aborted,
  closed,
  halted,
  leadershipLost,
  notLeader,
  overloaded,
  removed,
  timedOut,
  transferFailed,
} from '#balsa/server/refusals.js'
import { corruptError, failedError } from '#balsa/snapshot/snapshot-fault.js'
import { storeFault } from '#balsa/storage/store-fault.js'
import { fullError } from '#balsa/storage/file/writer.js'
import { clusterRefusal } from '#balsa/transport/refusal.js'
import { tcp } from '#balsa/transport/tcp/index.js'
import { logIndex, type Configuration } from '#balsa/types.js'
import { command, withServer } from './kv-fixture.js'

const test = suite('what RAFT advises')

const server = (id: string): { id: string; address: string } => ({ id, address: `127.0.0.1:71${id.slice(1)}` })
const [s1, s2, s4] = [server('s1'), server('s2'), server('s4')]
const two: Configuration = { voters: [s1, s2], outgoing: null, nonvoters: [] }
const withNonvoter: Configuration = { ...two, nonvoters: [{ ...s4, promote: false }] }

async function failureOf(call: () => unknown): Promise<RaftError> {
  try {
    await call()
  } catch (error) {
    assert.instance(error, RaftError)
    return error as RaftError
  }
  throw new Error('it was not refused')
}

/** As the leader answers a change that is not taken. */
function refused(refusal: ChangeRefusal): Promise<RaftError> {
  const queue = new ChangeQueue()
  const call = new ChangeCall({ change: { type: 'remove', id: 's9' }, ifIndex: null, force: false })
  const core = { role: 'leader', leader: null } as unknown as RaftCore
  queue.add(call)
  queue.nextRequest(core, null)
  queue.answered({ id: 1, status: 'refused', refusal }, core)
  return failureOf(() => call.promise)
}

const flaws: readonly (readonly [Configuration, ConfigurationChange])[] = [
  [two, { type: 'promote', id: 's9', atOnce: false }],
  [two, { type: 'promote', id: 's2', atOnce: false }],
  [two, { type: 'demote', id: 's9' }],
  [withNonvoter, { type: 'demote', id: 's4' }],
  [two, { type: 'remove', id: 's9' }],
  [
    { ...two, voters: [s1] },
    { type: 'remove', id: 's1' },
  ],
  [two, { type: 'replace', id: 's1', by: 's9' }],
  [withNonvoter, { type: 'replace', id: 's9', by: 's4' }],
  [two, { type: 'update', server: server('s9') }],
  [two, { type: 'update', server: { ...s2, address: s1.address } }],
  [two, { type: 'add', server: s2, promote: true }],
  [two, { type: 'add', server: { id: 's9', address: s1.address }, promote: false }],
  [
    { ...two, voters: Array.from({ length: MEMBERS_MAX }, (_, at) => server(`s${at + 10}`)) },
    { type: 'add', server: s4, promote: false },
  ],
  [
    { ...two, outgoing: [s1] },
    { type: 'remove', id: 's2' },
  ],
  [two, { type: 'lease', leaseMs: 0 }],
  [
    { ...two, leaseMs: 500 },
    { type: 'lease', leaseMs: 500 },
  ],
]

function flaw([current, change]: (typeof flaws)[number]): Promise<RaftError> {
  const changed = configurationAfter(current, change)
  assert.ok('flaw' in changed)
  return refused({ kind: 'flaw', reason: changed.flaw })
}

/** As the leader s1 answers a replacement that is not taken. */
function replacing(oldId: string, by: { id: string; address: string }, now: Configuration): Promise<RaftError> {
  const configuration = { configuration: now, index: logIndex(7), isCommitted: true }
  const changing: Changing = {
    id: 's1',
    configuration,
    isWell: () => false,
    change: () => Promise.resolve(configuration),
    settled: () => Promise.resolve(configuration),
  }
  return failureOf(() => replace(changing, { oldId, server: by, ifIndex: null, force: false }, () => undefined))
}

/** One whose change is in the log already. */
function givenUp(error: RaftError, voter: string | null, isCommitted: boolean): Promise<RaftError> {
  const call = new ChangeCall(
    { change: { type: 'promote', id: 's4', atOnce: false }, ifIndex: null, force: false },
    voter,
  )
  call.index = logIndex(7)
  call.isCommitted = isCommitted
  call.reject(error)
  return failureOf(() => call.promise)
}

const transferFailures: readonly TransferFailure[] = [
  ...(['noTarget', 'notVoter', 'notHeard', 'targetGone', 'timedOut', 'leadershipLost'] as const),
  ...(['otherElected', 'notLeader'] as const),
  'inProgress',
]
const poisoned = storeFault('write', new Error('EIO'))
const transport = tcp({ listen: '127.0.0.1:0' })
const identity = (clusterId: string) => ({
  ...{ serverId: clusterId, clusterId, incarnation: '0'.repeat(32), bootCounter: 1, bootNonce: '0'.repeat(32) },
  clusterName: 'x',
})

/** A text is one that ends no call here, with the reason why not. */
const told: Readonly<Record<RaftErrorCode, string | (() => readonly (RaftError | Promise<RaftError>)[])>> = {
  ERR_RAFT_NOT_LEADER: () => [notLeader(s2)],
  ERR_RAFT_NO_LEADER: () => [notLeader(null)],
  ERR_RAFT_OVERLOADED: () => [overloaded('64 changes of the members wait')],
  ERR_RAFT_TOO_LARGE: 'RAFT proposes no commands',
  ERR_RAFT_ENCODE: 'RAFT proposes no commands',
  ERR_RAFT_INVALID: 'RAFT proposes no commands',
  ERR_RAFT_LEADERSHIP_LOST: () => [
    ...(['unknown', 'applied'] as const).map(leadershipLost),
    givenUp(leadershipLost('unknown'), null, false),
  ],
  ERR_RAFT_TRANSFER_IN_PROGRESS: () => [
    transferFailed({ id: 1, status: 'failed', reason: 'inProgress', to: null }, null),
  ],
  ERR_RAFT_TRANSFER_FAILED: () =>
    transferFailures.map((reason) => transferFailed({ id: 1, status: 'failed', reason, to: 's2' }, s1)),
  ERR_RAFT_TIMEOUT: () => [
    ...(['unknown', 'applied', 'not-applied'] as const).map(timedOut),
    givenUp(timedOut('applied'), 's4', true),
    givenUp(timedOut('applied'), null, true),
  ],
  ERR_RAFT_ABORTED: () => [aborted('not-applied', null)],
  ERR_RAFT_CLOSED: () => [closed('unknown')],
  ERR_RAFT_APPLY_FAILED: () => [halted(new RaftError('ERR_RAFT_APPLY_FAILED', 'it threw'))('unknown')],
  ERR_RAFT_STORE_CORRUPT: 'told by what opens a folder',
  ERR_RAFT_STORE_FULL: () => [fullError('/data/log', null)],
  ERR_RAFT_STORE_POISONED: () => [poisoned, halted(poisoned)('unknown')],
  ERR_RAFT_STORE_FORMAT: 'told by what opens a folder',
  ERR_RAFT_SNAPSHOT_CORRUPT: () => [corruptError('/data/1', 'a checksum is wrong')],
  ERR_RAFT_SNAPSHOT_FAILED: () => [
    failedError('/data/1', 'could not be written'),
    snapshotFailed('this server is closing'),
  ],
  ERR_RAFT_NATIVE_UNAVAILABLE: 'told by what opens a folder',
  ERR_RAFT_DIR_LOCKED: 'told by what opens a folder',
  ERR_RAFT_DIR_UNUSABLE: 'told by what opens a folder',
  ERR_RAFT_CLUSTER_MISMATCH: () => [refusedPeer('a', 'b')],
  ERR_RAFT_CLUSTER_RECOVERED: () => [refusedPeer('a', 'former')],
  ERR_RAFT_WRONG_FOLDER: 'told by what opens a folder',
  ERR_RAFT_COPIED_FOLDER: 'told by what opens a folder',
  ERR_RAFT_PEER_REPLACED: 'told by test/server/peer-pins.test.ts, and below',
  ERR_RAFT_BOOT_UNPROVEN: 'told by test/server/peer-pins.test.ts, and below',
  ERR_RAFT_LISTEN: 'told by what opens a folder',
  ERR_RAFT_UNREACHABLE: 'told by a RaftClient',
  ERR_RAFT_CLIENT_REFUSED: 'told by a RaftClient',
  ERR_RAFT_UNAUTHENTICATED: 'told by a transport, or a RaftClient',
  ERR_RAFT_QUERY_FAILED: 'told by a RaftClient',
  ERR_RAFT_CHANGE_REFUSED: () => [
    ...flaws.map(flaw),
    refused({ kind: 'otherIndex', expected: logIndex(3), index: logIndex(7) }),
    refused({ kind: 'noQuorum', unheard: ['s2', 's3'] }),
    replacing('s1', s1, two),
    replacing('s8', server('s9'), two),
    replacing('s1', s2, two),
    replacing('s1', { ...s2, address: '127.0.0.1:9' }, two),
    replacing('s2', s4, two),
  ],
  ERR_RAFT_REMOVED: () => [removed('s2')],
  ERR_RAFT_SESSION_LOST: 'RAFT opens no session',
  ERR_RAFT_SESSION_SEQUENCE: 'RAFT opens no session',
  ERR_RAFT_ANSWER_LOST: 'RAFT opens no session',
  ERR_RAFT_THREAD_LOST: 'its servers run in no worker thread',
  ERR_RAFT_OPTIONS: () => [
    ...['promote', 'demoteVoter', 'removeServer', 'updateServer', 'replace'].map((call) =>
      failureOf(() => checkServerId(call, '')),
    ),
    ...['addVoter', 'addNonvoter', 'replace', 'updateServer'].flatMap((call) => [
      failureOf(() => checkDescription(call, { id: '', address: 'x:1' }, transport, ['id', 'address', 'meta'])),
      failureOf(() => checkDescription(call, { id: 's1', address: 'x' }, transport, ['id', 'address', 'meta'])),
      failureOf(() =>
        checkDescription(call, { id: 's1', address: 'x:1', meta: { redis: 'x'.repeat(2000) } }, transport, [
          'id',
          'address',
          'meta',
        ]),
      ),
    ]),
    failureOf(() => checkChangeOptions('addVoter', { ifIndex: 2 ** 60 })),
    failureOf(() => checkTransferOptions('transferLeadership', { to: '' })),
    ...[199, 1001].map((leaseMs) =>
      failureOf(() => checkLease(leaseMs, { heartbeatMs: 100, electionTimeoutMs: 1000 })),
    ),
  ],
}

function refusedPeer(self: string, peer: string): RaftError {
  const { code, reason } = clusterRefusal({ ...identity(self), formerClusterIds: ['former'] }, identity(peer))
  return new RaftError(code, reason)
}

const calls = Object.getOwnPropertyNames(Raft.prototype).filter((name) => name !== 'constructor')

/** What a text names that is not there in this server. */
function strangeWords(text: string): readonly string[] {
  const commands = [...text.matchAll(/\bRAFT ([A-Z-]+)/g)].map(([, name = '']) => name.toLowerCase())
  const options = [...text.matchAll(/(?<!\w)--[a-z-]+/g)].map(([name]) => name)
  return [
    ...(text.match(/\b[a-z]+[A-Z]\w*|\w+\(\)|\b(?:raft|Raft|status)\.\w+|\boptions?\b/g) ?? []),
    ...calls.filter((name) => new RegExp(`\\b${name}\\(`).test(text)),
    ...commands.filter((name) => !raftSubcommands.has(name)),
    ...options.filter((name) => !SERVER_HELP.includes(`${name} `)),
  ]
}

test('whatever RAFT can be answered with names commands and options that there are here, and nothing of the library', async () => {
  for (const [code, texts] of Object.entries(told)) {
    if (typeof texts === 'string') continue
    const errors = await Promise.all(texts().map((error) => Promise.resolve(error)))
    assert.ok(errors.length > 0, code)
    for (const { message } of errors) assert.equal(strangeWords(inOwnWords(message)), [], inOwnWords(message))
  }
})

test('what helps is said with what is to be typed', async () => {
  const remedies: readonly (readonly [RaftError, string])[] = [
    [await flaw([two, { type: 'remove', id: 's9' }]), 'server s9 is not a member. Members are s1, s2'],
    [
      await flaw([two, { type: 'promote', id: 's9', atOnce: false }]),
      'server s9 is not a member: add it first as a nonvoter (RAFT ADD-NONVOTER id peer-host:port client-host:port). Members are s1, s2',
    ],
    [
      await replacing('s8', server('s9'), two),
      'neither s8 nor s9 is a member: add s9 with RAFT ADD id peer-host:port client-host:port',
    ],
    [
      await refused({ kind: 'otherIndex', expected: logIndex(3), index: logIndex(7) }),
      'IFINDEX is 3, and the configuration in force is that of entry 7: look at RAFT STATUS (configuration-index) and ask again',
    ],
    [timedOut('not-applied'), 'the call took longer than 60000 ms; nothing was appended'],
    [await failureOf(() => checkServerId('promote', '')), 'id of RAFT PROMOTE must be a string of 1 .. 255 bytes'],
  ]
  for (const [{ message }, text] of remedies) assert.is(inOwnWords(message), text)
  assert.is(
    inOwnWords("replace it: raft.replace('s4', ...), or removeServer and addVoter"),
    'replace it: RAFT REPLACE old-id id peer-host:port client-host:port, or RAFT REMOVE id and RAFT ADD id peer-host:port client-host:port',
  )
  assert.is(
    inOwnWords('start this one once with the option acceptPeerBoot of Raft.open (balsa-kv: --accept-peer-boot s2)'),
    'start this one once with --accept-peer-boot s2',
  )
})

test('a client is told so, by the call that fails and by what RAFT MEMBERS and INFO say of a peer', () =>
  withServer(async ({ raft }, client) => {
    const error = await flaw([two, { type: 'add', server: s2, promote: true }])
    Object.assign(raft, { addVoter: () => Promise.reject(error) })
    const answer = await client.ask(command('RAFT', 'ADD', 's2', 'x:1', 'x:2'), '\r\n')
    assert.match(answer, /\(RAFT UPDATE id peer-host:port client-host:port\)\r\n$/)
    const reason =
      'replace the server (raft.replace, or removeServer and addVoter): the id may then come with an empty folder, and option join with the addresses of members'
    raft.peer('s2', false)
    raft.refusals.set('s2', { code: 'ERR_RAFT_PEER_REPLACED', reason, by: 'self', since: 0, count: 1 })
    raft.reconfigure(two)
    const said =
      /replace the server \(RAFT REPLACE old-id id peer-host:port client-host:port.? or RAFT REMOVE id and RAFT ADD.*with an empty folder.? and --join with the peer addresses of members/
    for (const words of [['RAFT', 'MEMBERS'], ['INFO']]) {
      assert.match(await client.ask(command(...words) + command('PING'), '+PONG\r\n'), said)
    }
  }))

test.run()
