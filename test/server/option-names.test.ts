/** Whatever takes options refuses those that it does not know, by their name, and names the nearest that it knows. */

import { readFileSync } from 'node:fs'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fileStore, msgpackCodec, nativeStore, Raft, RaftError } from 'balsa-raft'
import { fileSnapshotStore, MemoryDisk, MemorySnapshotDisk, memorySnapshotStore, memoryStore } from 'balsa-raft/storage'
import { assertDeterministic, logStoreConformance, simulate, snapshotStoreConformance } from 'balsa-raft/testing'
import { stateMachineConformance, transportConformance } from 'balsa-raft/testing'
import { Stage } from 'balsa-raft/testing/stage'
import { dump, migrate } from 'balsa-raft/tools'
import { RaftClient } from 'balsa-raft/client'
import { MemoryNetwork } from 'balsa-raft/transport/memory'
import { tcp } from 'balsa-raft/transport/tcp'
import { checkOptionNames, meant } from '#balsa/option-checks.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'
import { openSingle } from '../support/single-raft.js'
import type { AnyRaft } from '../support/single-raft.js'

interface Context {
  raft: AnyRaft
}

type Taker = (options: never, raft: Loose) => unknown
/** What no types hold back. */
type Loose = Readonly<Record<string, (...given: unknown[]) => unknown>>

const test = suite<Context>('names of options')

test.before(async (context) => {
  context.raft = await openSingle({ apply: (batch) => batch.map(() => 1), query: () => 1 })
  await context.raft.ready()
})
test.after(({ raft }) => raft.close())

async function refusalOf(take: () => unknown): Promise<RaftError> {
  try {
    const taken = take()
    // Of what is made piece by piece, the first.
    const pieces = taken as Partial<AsyncGenerator> | undefined
    await (pieces?.next === undefined ? taken : pieces.next())
  } catch (error) {
    if (error instanceof RaftError) return error
    throw error
  }
  throw new Error('taken, and not refused')
}

const joining = { id: 's1', dir: '/x', codec: msgpackCodec(), stateMachine: { apply: () => [] } }
const server = { id: 's9', address: 'a9' }
const plan = drawPlan(1)

/** By the interface that a door exports; each is given what is misspelt, and must name what was meant. */
const takers: Readonly<Record<string, readonly (readonly [misspelt: string, meant: string, take: Taker])[]>> = {
  RaftOptions: [['electionTimeout', 'electionTimeoutMs', (options) => Raft.open(options)]],
  SnapshotOptions: [['retian', 'retain', (snapshots) => openSingle(joining.stateMachine, undefined, { snapshots })]],
  ClientsOptions: [['maximum', 'max', (clients) => openSingle(joining.stateMachine, undefined, { clients })]],
  ClientOptions: [['endpoint', 'endpoints', (options) => RaftClient.connect(options)]],
  BootstrapOptions: [['boostrap', 'bootstrap', (options) => Raft.bootstrap(options)]],
  ImportOptions: [['anyClusters', 'anyCluster', (options) => Raft.importSnapshot(options, (async function* () {})())]],
  FolderOptions: [['store', 'storage', (options) => Raft.hasState('/x', options)]],
  RecoverOptions: [['mayLooseData', 'mayLoseData', (options) => Raft.recover('/x', [server], options)]],
  WaitOptions: [
    ['timeout', 'timeoutMs', (options, raft) => raft['ready']?.(options)],
    ['timeout', 'timeoutMs', (options, raft) => raft['apply']?.(1, options)],
    ['timeout', 'timeoutMs', (options, raft) => raft['applyAll']?.([], options)],
    ['timeout', 'timeoutMs', (options, raft) => raft['barrier']?.(options)],
    ['consistancy', 'consistency', (options, raft) => raft['read']?.(1, options)],
    ['timeout', 'timeoutMs', (options, raft) => raft['readIndex']?.(options)],
    ['signals', 'signal', (options, raft) => raft['verifyLeader']?.(options)],
    ['timeout', 'timeoutMs', (options, raft) => raft['snapshot']?.(options)],
    ['timeout', 'timeoutMs', (options, raft) => raft['exportSnapshot']?.(options)],
  ],
  TransferOptions: [['too', 'to', (options, raft) => raft['transferLeadership']?.(options)]],
  ChangeOptions: [
    ['ifindex', 'ifIndex', (options, raft) => raft['addVoter']?.(server, options)],
    ['ifindex', 'ifIndex', (options, raft) => raft['addNonvoter']?.(server, options)],
    ['ifindex', 'ifIndex', (options, raft) => raft['promote']?.('s1', options)],
    ['ifindex', 'ifIndex', (options, raft) => raft['demoteVoter']?.('s1', options)],
    ['ifindex', 'ifIndex', (options, raft) => raft['removeServer']?.('s1', options)],
    ['forced', 'force', (options, raft) => raft['replace']?.('s1', server, options)],
    ['forced', 'force', (options, raft) => raft['updateServer']?.('s1', { address: 'a' }, options)],
    ['forced', 'force', (options, raft) => raft['changeMembership']?.({ voters: ['s1'] }, options)],
  ],
  SubmitOptions: [
    ['retries', 'retry', (options, raft) => raft['submit']?.(1, options)],
    ['retries', 'retry', (options, raft) => raft['propose']?.(1, options)],
  ],
  QueryOptions: [['consistancy', 'consistency', (options, raft) => raft['query']?.(1, options)]],
  SessionOptions: [['expiresAfter', 'expiresAfterMs', (options, raft) => raft['openSession']?.(options)]],
  WatchOptions: [['event', 'events', (options, raft) => raft['watch']?.(options)]],
  CloseOptions: [['transferLeader', 'transferLeadership', (options, raft) => raft['close']?.(options)]],
  NativeStoreOptions: [['mapbytes', 'mapBytes', (options) => nativeStore(options)]],
  MemoryDiskOptions: [
    ['capacity', 'capacityBytes', (options) => memoryStore(options)],
    ['capacity', 'capacityBytes', (options) => new MemoryDisk(options)],
  ],
  MemorySnapshotDiskOptions: [
    ['completions', 'completion', (options) => memorySnapshotStore(options)],
    ['completions', 'completion', (options) => new MemorySnapshotDisk(options)],
  ],
  TcpOptions: [['listens', 'listen', (options) => tcp(options)]],
  TlsOptions: [['certs', 'cert', (tls) => tcp({ listen: '127.0.0.1:0', tls })]],
  MemoryNetworkOptions: [['manuel', 'manual', (options) => new MemoryNetwork(options)]],
  MigrateOptions: [['engin', 'engine', (options) => migrate('/x', '/y', options)]],
  DumpRange: [['frist', 'first', (range) => dump('/x', range)]],
  DeterminismOptions: [['seeds', 'seed', (options) => assertDeterministic(() => joining.stateMachine, [1], options)]],
  StateMachineConformanceOptions: [['roundtrip', 'roundTrip', (options) => stateMachineConformance(options)]],
  LogStoreConformanceOptions: [['compact', 'compacts', (options) => logStoreConformance(options)]],
  SnapshotStoreConformanceOptions: [['crashes', 'crash', (options) => snapshotStoreConformance(options)]],
  TransportConformanceOptions: [['channel', 'channels', (options) => transportConformance(options)]],
  SimulateOptions: [
    ['step', 'steps', (options) => simulate(Object.assign(options, { seed: 1 }))],
    ['server', 'servers', (options) => simulate({ seed: 1, plan: { ...plan, ...(options as object) } })],
    [
      'write',
      'writeMs',
      (disk) => simulate({ seed: 1, plan: { ...plan, disk: { ...plan.disk, ...(disk as object) } } }),
    ],
  ],
  StageOptions: [['server', 'servers', (options) => new Stage(options)]],
}

for (const [name, rows] of Object.entries(takers)) {
  test(`${name}: what is misspelt is refused by its name, with what was meant`, async ({ raft }) => {
    for (const [misspelt, known, take] of rows) {
      const given = { [misspelt]: 1 }
      const error = await refusalOf(() => take(given as never, raft as unknown as Loose))
      assert.is(error.code, 'ERR_RAFT_OPTIONS', misspelt)
      assert.match(error.message, `option ${misspelt} is unknown: did you mean ${known}? It takes `)
    }
  })
}

test('what takes no options refuses all of them', async () => {
  for (const make of [fileStore, fileSnapshotStore] as readonly ((options: unknown) => unknown)[]) {
    assert.match(
      (await refusalOf(() => make({ mode: 'fast' }))).message,
      /option mode is unknown: \w+ takes no options/,
    )
  }
})

test('every interface of options that a door exports is in this table', () => {
  const { exports: doors } = JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, string> }
  const found = Object.values(doors).flatMap((door) => {
    const text = readFileSync(door.replace(/\.js$/, '.d.ts'), 'utf8')
    return [...text.matchAll(/\b\w+Options\b/g)].map(([name]) => name)
  })
  // The core is plain data, which only its shell makes: it checks nothing of it.
  const missing = [...new Set(found)].filter((name) => !(name in takers) && name !== 'CoreOptions')
  assert.equal(missing, [])
})

test('the nearest known name is told, and of a name that is long no more than its beginning is looked at', () => {
  assert.is(meant('ELECTIONTIMEOUT', ['heartbeatMs', 'electionTimeoutMs']), 'did you mean electionTimeoutMs?')
  assert.is(meant('dri', ['id', 'dir']), 'did you mean dir?')
  const [begin, rest] = ['a'.repeat(64), 'b'.repeat(200)]
  assert.is(meant(begin + rest, [rest, begin]), `did you mean ${begin}?`)
  const long = 'x'.repeat(2 ** 24)
  let message = ''
  try {
    checkOptionNames('it', { [long]: 1 }, ['id', 'dir'])
  } catch (error) {
    message = String(error)
  }
  assert.match(message, /option x{64}\.\.\. is unknown: did you mean \w+\? It takes id, dir$/)
})

test.run()
