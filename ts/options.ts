/**
 * What `Raft.open` takes, the check of it (every refusal names the option, the bound and the reason), and the settings
 * that come of it. A default stands here and nowhere else.
 */

import { CALL_OPTION_NAMES, checkWait, isSignal } from './call-options.js'
import { guardedClock, systemClock } from './clock.js'
import { isOurs } from './errors.js'
import { textOf } from './foreign-values.js'
import { encodeBootstrap } from './format/configuration.js'
import { areRecoveries, RECOVERIES_MAX } from './format/recovery.js'
import { metaFlaw } from './format/server-meta.js'
import { msgpackCodec } from './machine/msgpack-codec.js'
import type { Codec, StateMachine } from './machine/state-machine.js'
import { GuardedQueryCodec } from './machine/query-codec.js'
import { GuardedCodec, GuardedMachine, GuardedResultCodec } from './machine/user-code.js'
import { guardedLogger } from './observe/guarded-logger.js'
import { loggerOf } from './observe/loggers.js'
import { checkNumber, checkOptionNames, fail, has, optionsError, shown } from './option-checks.js'
import { fileSnapshotStore } from './snapshot/file-snapshot-store.js'
import type { SnapshotStoreFactory } from './snapshot/snapshot-store.js'
import { nativeStore } from './storage/index.js'
import { bootNow } from './storage/native/boot-clock.js'
import type { StoreFactory } from './storage/log-store.js'
import { QUESTION_BYTES_MAX } from './transport/transport.js'
import type { Transport } from './transport/transport.js'
import { ELECTION_PRIORITY_MAX, isPosition } from './types.js'
import type { Clock, JoinStatus, Logger, Recipe, Server, ServerId, ServerMeta } from './types.js'

/** What `Raft.open` takes. What is not given has its default; an unknown name is refused. */
export interface RaftOptions<Command, Result, Query = never, Answer = never> {
  /** One of the ids in `bootstrap`; with `join`, none of them. */
  readonly id: ServerId
  /** The folder of this server's log; made when missing. */
  readonly dir: string
  readonly transport: Transport
  /**
   * The first members; the same list, in any order, on every one of them, at every start. Left out where `join` names
   * addresses.
   */
  readonly bootstrap?: readonly Server[]
  /**
   * This server is none of the first members: it waits, without a vote, until `addVoter` or `addNonvoter` of the leader
   * makes it one (docs/membership.md). true: of the cluster that `bootstrap` describes; addresses of members, in any
   * order: of the cluster that they say. Stays in its options from then on. Default false.
   */
  readonly join?: boolean | readonly string[]
  /**
   * With addresses in `join`: where the others find this server, and what is to be said of it, for a leader with
   * `allowJoin`, which then makes it a nonvoter by itself. Default null: an operator adds it.
   */
  readonly joinAs?: JoinAs | null
  /**
   * Whether this server, while it leads, makes a nonvoter of any server that joins by an address and says `joinAs`: one
   * at a time, and none while a nonvoter is not reached. Whoever reaches the address of a member can fill the cluster
   * up so, but gets no vote. Default false.
   */
  readonly allowJoin?: boolean
  /**
   * With addresses in `join`: `Raft.open` rejects when none of them has told its cluster by then. 1 .. 2^31 - 1,
   * default 60000.
   */
  readonly joinTimeoutMs?: number
  /**
   * With addresses in `join`: told whenever it changes what this server waits for and whom it asks, as long as
   * `Raft.open` asks; afterwards `status.join` says it. What it throws or rejects with is logged. Default null.
   */
  readonly onJoin?: ((status: JoinStatus) => void) | null
  /** Ends the wait for those addresses; `Raft.open` then rejects with ERR_RAFT_ABORTED. */
  readonly signal?: AbortSignal | null
  /**
   * Of a cluster that was recovered from a lost quorum: what `Raft.recover` told, or `status.recoveries` of a member.
   * For a server that comes new; with it, one of the first members may join, too. Default none: a folder with state
   * knows its own.
   */
  readonly recoveries?: readonly string[]
  /** Names the cluster; part of its identity. 1 .. 255 bytes, default 'balsa'. */
  readonly cluster?: string
  readonly stateMachine: StateMachine<Command, Result, Query, Answer>
  readonly codec: Codec<Command>
  /**
   * Turns the state machine's results into bytes and back, where they travel to another server or are kept: at most 1
   * MiB each. The same on every server. A result that it cannot turn rejects the call that waits for it, with
   * ERR_RAFT_ENCODE or ERR_RAFT_TOO_LARGE and the outcome `applied`; nobody halts. Default `msgpackCodec()`.
   */
  readonly resultCodec?: Codec<Result>
  /**
   * Whether this server takes clients (`balsa-raft/client`) where its peers dial it: processes that are no members,
   * without a vote or a name. true: up to 256 at a time. Whoever reaches the address may be one. Default false: they
   * are refused with ERR_RAFT_CLIENT_REFUSED.
   */
  readonly clients?: boolean | ClientsOptions
  /** Turns queries into bytes and back, where clients ask them; at most 1 MiB each. Default `msgpackCodec()`. */
  readonly queryCodec?: Codec<Query>
  /** The same of what queries are answered with. Default `msgpackCodec()`. */
  readonly answerCodec?: Codec<Answer>
  /**
   * Takes a folder that was copied or restored for the one that this server left, once: nobody can tell whether it is
   * older than what the server acknowledged. Default false: such a folder is refused (ERR_RAFT_COPIED_FOLDER).
   */
  readonly acceptCopiedFolder?: boolean
  /**
   * Peers whose boot is believed once, as they come next with the same store, whatever was known here: the way back
   * after a forged or damaged hello, or a copy of its folder, was believed (SECURITY.md). Never for a peer that was
   * restored. Default none.
   */
  readonly acceptPeerBoot?: readonly ServerId[]
  /**
   * What this server does when it learns that it was removed from the cluster: `observe` (the default) stays open and
   * answers stale reads, `close` closes it. Either way the event `removed` is told.
   */
  readonly onRemoved?: 'observe' | 'close'
  /** Default `nativeStore()`; `fileStore()` needs no addon. */
  readonly storage?: StoreFactory
  /** Where snapshots lie. Default `fileSnapshotStore()`, in a folder of its own below `dir`. */
  readonly snapshotStorage?: SnapshotStoreFactory
  /**
   * When a snapshot is taken, and what of the log stays behind it. false: only when `snapshot()` is called,
   * or in place of one that was found damaged. Without effect on a state machine that has no `snapshot` and `restore`.
   */
  readonly snapshots?: SnapshotOptions | false
  /**
   * Who hears what the server logs; a logger of pino is taken as it is. false: nobody. Default: the console, of
   * warnings and errors alone, one line each.
   */
  readonly logger?: Logger | false
  /** 10 .. 60000, default 100. `heartbeatMs * 3 <= electionTimeoutMs`. */
  readonly heartbeatMs?: number
  /** Timeouts are drawn from this up to twice this. 30 .. 600000, default 1000. */
  readonly electionTimeoutMs?: number
  /**
   * 0 .. 4, default 4: with each step less this server waits one election timeout more before it calls for an election,
   * so that those with more come first. With 0 it never does by itself, and leads only when leadership is handed to it:
   * a cluster whose quorum is made up of such servers finds no leader.
   */
  readonly electionPriority?: number
  /**
   * Where this server runs: `worker`, in a thread of its own, with its log, its transport and its timers, so that what
   * blocks the thread of the caller costs no leadership; state machine and codecs stay there. docs/threads.md says what
   * it costs, and what cannot cross: then `Raft.open` rejects with ERR_RAFT_OPTIONS. Default `main`.
   */
  readonly thread?: 'main' | 'worker'
  /** Default: the machine's clocks and timers. */
  readonly clock?: Clock
  /** In [0, 1). Default `Math.random`. */
  readonly random?: () => number
}

/** Where a server that joins is found, and what is to be said of it. */
export interface JoinAs {
  readonly address: string
  readonly meta?: ServerMeta
}

/** Which clients a server takes. */
export interface ClientsOptions {
  /** So many at a time: each takes up to some 300 KiB here, and what it has under way. 1 .. 4096, default 256. */
  readonly max?: number
}

/** When a snapshot is taken, what stays of the log behind it, and how many are kept. */
export interface SnapshotOptions {
  /** Taken after so many entries. 1 .. 2^40, default 250000. */
  readonly entries?: number
  /** Taken after so many bytes of entries. 1 .. 2^50, default 64 MiB. */
  readonly bytes?: number
  /** Taken so long after the last one, if anything was applied. 1000 .. 2^31 - 1, default an hour. */
  readonly intervalMs?: number
  /** So many of the entries that a snapshot covers stay at most, for peers that lag. 1 .. 2^40, default 10000. */
  readonly trailingEntries?: number
  /** And so many bytes of them. 0 .. 2^50, default 16 MiB. */
  readonly trailingBytes?: number
  /** So many snapshots are kept. 1 .. 100, default 2. */
  readonly retain?: number
  /** A peer is sent at most so much of one in a second. 1024 .. 2^50; null, the default: as fast as it takes it. */
  readonly sendBytesPerSecond?: number | null
}

/** What `Raft.bootstrap` needs; the options of `Raft.open` may be given as they are. */
export type BootstrapOptions = Pick<
  RaftOptions<unknown, unknown>,
  'id' | 'dir' | 'bootstrap' | 'join' | 'recoveries' | 'cluster' | 'acceptCopiedFolder' | keyof FolderOptions
>

/** Which stores a folder has, and who hears of them: the same as in `Raft.open`. */
export type FolderOptions = Pick<RaftOptions<unknown, unknown>, 'storage' | 'snapshotStorage' | 'logger' | 'clock'>

/** The bytes of a snapshot file, in pieces of any size, as `exportSnapshot` gives them; a stream of Node.js is one. */
export type SnapshotBytes = AsyncIterable<Uint8Array>

/** What `Raft.importSnapshot` takes. */
export interface ImportOptions extends BootstrapOptions {
  /** Takes a snapshot of another cluster, too. Default false: refused with ERR_RAFT_CLUSTER_MISMATCH. */
  readonly anyCluster?: boolean
}

/** What `Raft.recover` takes. */
export interface RecoverOptions extends FolderOptions {
  /** Confirms it: whatever the log of this folder does not have is lost. Default false: nothing is changed. */
  readonly mayLoseData?: boolean
  /** As in `Raft.open`. */
  readonly acceptCopiedFolder?: boolean
}

/** A server of a cluster that is recovered. */
export interface RecoveredServer {
  readonly id: ServerId
  readonly address: string
  readonly meta?: ServerMeta
}

/** A folder whose stores are opened, but by no server that runs. */
export interface FolderSettings extends Required<Omit<FolderOptions, 'logger'>> {
  readonly dir: string
  readonly logger: Logger
}

type Checked<Command, Result, Query, Answer> = Required<Omit<RaftOptions<Command, Result, Query, Answer>, 'logger'>> & {
  readonly logger: Logger
}

/** Checked options, every one of them there, and what users bring behind its guard. */
export interface Settings<Command, Result, Query = never, Answer = never> extends Omit<
  Checked<Command, Result, Query, Answer>,
  'stateMachine' | 'codec' | 'resultCodec' | 'queryCodec' | 'answerCodec' | 'clients' | 'snapshots'
> {
  readonly snapshots: Required<SnapshotOptions> & { readonly isAutomatic: boolean }
  readonly stateMachine: GuardedMachine<Command, Result, Query, Answer>
  readonly codec: GuardedCodec<Command>
  readonly resultCodec: GuardedResultCodec<Result>
  readonly queryCodec: GuardedQueryCodec<Query>
  readonly answerCodec: GuardedQueryCodec<Answer>
  /** 0 for none. */
  readonly clients: Required<ClientsOptions>
}

/** Every name that `Raft.open` takes. */
const OPTION_NAMES = Object.keys({
  id: true,
  dir: true,
  transport: true,
  bootstrap: true,
  join: true,
  joinAs: true,
  allowJoin: true,
  joinTimeoutMs: true,
  onJoin: true,
  signal: true,
  recoveries: true,
  cluster: true,
  stateMachine: true,
  codec: true,
  resultCodec: true,
  clients: true,
  queryCodec: true,
  answerCodec: true,
  acceptCopiedFolder: true,
  acceptPeerBoot: true,
  onRemoved: true,
  storage: true,
  snapshotStorage: true,
  snapshots: true,
  logger: true,
  heartbeatMs: true,
  electionTimeoutMs: true,
  electionPriority: true,
  thread: true,
  clock: true,
  random: true,
} satisfies Record<keyof RaftOptions<unknown, unknown>, true>)
const FOLDER_OPTION_NAMES: readonly string[] = ['storage', 'snapshotStorage', 'logger', 'clock']
const RECOVER_OPTION_NAMES: readonly string[] = [...FOLDER_OPTION_NAMES, 'mayLoseData', 'acceptCopiedFolder']
const TRANSFER_OPTION_NAMES: readonly string[] = [...CALL_OPTION_NAMES, 'to']
const CLOSE_OPTION_NAMES: readonly string[] = ['timeoutMs', 'transferLeadership', 'snapshot', 'drainMs']
const CHANGE_OPTION_NAMES: readonly string[] = [...CALL_OPTION_NAMES, 'ifIndex', 'force']
/** What the options say of a server. */
/** What a question has room for beside the incarnation. */
const JOIN_AS_BYTES_MAX = QUESTION_BYTES_MAX - 128
const SERVER_NAMES: readonly string[] = ['id', 'address']

const SNAPSHOT_DEFAULTS: Required<SnapshotOptions> = {
  entries: 250_000,
  bytes: 64 * 1024 * 1024,
  intervalMs: 3_600_000,
  trailingEntries: 10_000,
  trailingBytes: 16 * 1024 * 1024,
  retain: 2,
  sendBytesPerSecond: null,
}

const NAME_BYTES_MAX = 255
const SERVERS_MAX = 64
/** The machine's own: what users have who bring none. */
export const SYSTEM_CLOCK: Clock = { ...systemClock(), bootNow }

/** Throws ERR_RAFT_OPTIONS on the first thing that is wrong, also when a getter or a Proxy of the caller throws. */
export function settingsOf<Command, Result, Query, Answer>(
  options: RaftOptions<Command, Result, Query, Answer>,
): Settings<Command, Result, Query, Answer> {
  try {
    return readSettings(options)
  } catch (error) {
    if (isOurs(error)) throw error
    throw optionsError(`the options of Raft.open cannot be read: ${textOf(error)}`, error)
  }
}

function readSettings<Command, Result, Query, Answer>(
  options: RaftOptions<Command, Result, Query, Answer>,
): Settings<Command, Result, Query, Answer> {
  checkOptionNames('Raft.open', options, OPTION_NAMES)
  const checked: Checked<Command, Result, Query, Answer> = {
    id: options.id,
    dir: options.dir,
    transport: options.transport,
    bootstrap: options.bootstrap ?? [],
    join: options.join ?? false,
    joinAs: options.joinAs ?? null,
    allowJoin: options.allowJoin ?? false,
    joinTimeoutMs: options.joinTimeoutMs ?? 60_000,
    onJoin: options.onJoin ?? null,
    signal: options.signal ?? null,
    recoveries: options.recoveries ?? [],
    cluster: options.cluster ?? 'balsa',
    stateMachine: options.stateMachine,
    codec: options.codec,
    resultCodec: options.resultCodec ?? msgpackCodec(),
    clients: options.clients ?? false,
    queryCodec: options.queryCodec ?? msgpackCodec(),
    answerCodec: options.answerCodec ?? msgpackCodec(),
    acceptCopiedFolder: options.acceptCopiedFolder ?? false,
    acceptPeerBoot: options.acceptPeerBoot ?? [],
    onRemoved: options.onRemoved ?? 'observe',
    storage: options.storage ?? nativeStore(),
    snapshotStorage: options.snapshotStorage ?? options.storage?.snapshots ?? fileSnapshotStore(),
    snapshots: options.snapshots ?? {},
    logger: loggerOf(options.logger, options.id),
    heartbeatMs: options.heartbeatMs ?? 100,
    electionTimeoutMs: options.electionTimeoutMs ?? 1000,
    electionPriority: options.electionPriority ?? ELECTION_PRIORITY_MAX,
    thread: options.thread ?? 'main',
    clock: options.clock ?? SYSTEM_CLOCK,
    random: options.random ?? Math.random,
  }
  check(checked)
  if (checked.thread !== 'main') checkCrossing(checked)
  const stateMachine = new GuardedMachine(checked.stateMachine)
  return {
    ...checked,
    bootstrap: checked.bootstrap.map(({ id, address }) => ({ id, address })),
    recoveries: [...checked.recoveries],
    stateMachine,
    codec: new GuardedCodec(checked.codec, stateMachine),
    resultCodec: new GuardedResultCodec(checked.resultCodec),
    queryCodec: new GuardedQueryCodec('queryCodec', checked.queryCodec),
    answerCodec: new GuardedQueryCodec('answerCodec', checked.answerCodec),
    clients: clientsSettings(checked.clients),
    snapshots: snapshotSettings(checked.snapshots),
    // The clock of the system never falls, and is asked several times in each turn.
    clock: checked.clock === SYSTEM_CLOCK ? SYSTEM_CLOCK : guardedClock(checked.clock),
    logger: guardedLogger(checked.logger),
  }
}

/** What `Raft.bootstrap` goes by. */
export interface BootstrapSettings extends FolderSettings {
  readonly id: ServerId
  readonly acceptCopiedFolder: boolean
  readonly membership: {
    /** The payload of the first entry. */
    readonly first: Uint8Array
    readonly recoveries: readonly string[]
    readonly join: boolean
  }
}

export function bootstrapSettingsOf(options: BootstrapOptions): BootstrapSettings {
  checkOptionNames('Raft.bootstrap', options, OPTION_NAMES)
  return firstSettings(options)
}

/** What `Raft.importSnapshot` goes by. */
export interface ImportSettings extends BootstrapSettings {
  readonly anyCluster: boolean
}

export function importSettingsOf(options: ImportOptions, source: SnapshotBytes): ImportSettings {
  checkOptionNames('Raft.importSnapshot', options, [...OPTION_NAMES, 'anyCluster'])
  const { anyCluster = false, join = false } = options
  checkFlag('anyCluster', anyCluster)
  if (join) fail('join', 'is set: a server that joins is given its snapshot by the leader')
  const isSource = typeof (source as Partial<SnapshotBytes> | undefined)?.[Symbol.asyncIterator] === 'function'
  if (!isSource) throw optionsError(`Raft.importSnapshot takes a source of bytes, and was given ${shown(source)}`)
  return { ...firstSettings(options), anyCluster }
}

function firstSettings(options: BootstrapOptions): BootstrapSettings {
  const { id, dir, bootstrap = [], join = false, recoveries = [] } = options
  const { cluster = 'balsa', acceptCopiedFolder = false } = options
  checkName('id', id)
  checkName('cluster', cluster)
  if (typeof join !== 'boolean') {
    fail('join', 'must be true or false: addresses are for Raft.open, which makes an empty folder a member by itself')
  }
  checkRecoveries(recoveries)
  checkServers(bootstrap, id, join, recoveries)
  checkFlag('acceptCopiedFolder', acceptCopiedFolder)
  const servers = bootstrap.map((server) => ({ id: server.id, address: server.address }))
  const membership = { first: encodeBootstrap(cluster, servers), recoveries: [...recoveries], join }
  return { ...folderSettings(dir, options), id, acceptCopiedFolder, membership }
}

/** What `Raft.hasState` goes by. */
export function stateSettingsOf(dir: string, options: FolderOptions): FolderSettings {
  checkOptionNames('Raft.hasState', options, FOLDER_OPTION_NAMES)
  return folderSettings(dir, options)
}

/** What `Raft.recover` goes by. */
export interface RecoverSettings extends FolderSettings {
  readonly servers: readonly RecoveredServer[]
  readonly mayLoseData: boolean
  readonly acceptCopiedFolder: boolean
}

export function recoverSettingsOf(
  dir: string,
  servers: readonly RecoveredServer[],
  options: RecoverOptions,
): RecoverSettings {
  checkOptionNames('Raft.recover', options, RECOVER_OPTION_NAMES)
  const { mayLoseData = false, acceptCopiedFolder = false } = options
  checkFlag('mayLoseData', mayLoseData)
  checkFlag('acceptCopiedFolder', acceptCopiedFolder)
  checkList('servers', servers, ['id', 'address', 'meta'])
  for (const { id, meta } of servers) {
    const flaw = meta === undefined ? null : metaFlaw(meta)
    if (flaw !== null) fail(`meta of ${id}`, flaw)
  }
  return { ...folderSettings(dir, options), servers: [...servers], mayLoseData, acceptCopiedFolder }
}

function folderSettings(dir: string, options: FolderOptions): FolderSettings {
  if (typeof dir !== 'string' || dir === '') fail('dir', 'must be the path of a folder')
  const { storage = nativeStore(), snapshotStorage, clock = SYSTEM_CLOCK } = options
  const logger = loggerOf(options.logger, null)
  checkTools({ storage, logger, clock })
  return {
    dir,
    storage,
    snapshotStorage: snapshotStorage ?? storage.snapshots ?? fileSnapshotStore(),
    logger: guardedLogger(logger),
    clock: clock === SYSTEM_CLOCK ? SYSTEM_CLOCK : guardedClock(clock),
  }
}

function snapshotSettings(options: SnapshotOptions | false): Settings<unknown, unknown>['snapshots'] {
  const given = options === false ? {} : options
  checkOptionNames('snapshots', given, Object.keys(SNAPSHOT_DEFAULTS))
  const settings = { ...SNAPSHOT_DEFAULTS, ...given, isAutomatic: options !== false }
  checkNumber('snapshots.entries', settings.entries, 1, 2 ** 40)
  checkNumber('snapshots.bytes', settings.bytes, 1, 2 ** 50)
  checkNumber('snapshots.intervalMs', settings.intervalMs, 1000, 2 ** 31 - 1)
  checkNumber('snapshots.trailingEntries', settings.trailingEntries, 1, 2 ** 40)
  checkNumber('snapshots.trailingBytes', settings.trailingBytes, 0, 2 ** 50)
  checkNumber('snapshots.retain', settings.retain, 1, 100)
  const { sendBytesPerSecond } = settings
  if (sendBytesPerSecond !== null) checkNumber('snapshots.sendBytesPerSecond', sendBytesPerSecond, 1024, 2 ** 50)
  return settings
}

const CLIENTS_MAX = 256
const CLIENTS_MAX_MAX = 4096

function clientsSettings(clients: boolean | ClientsOptions): Required<ClientsOptions> {
  if (typeof clients === 'boolean') return { max: clients ? CLIENTS_MAX : 0 }
  checkOptionNames('clients', clients, ['max'])
  const { max = CLIENTS_MAX } = clients
  checkNumber('clients.max', max, 1, CLIENTS_MAX_MAX)
  return { max: Math.floor(max) }
}

function check(options: Checked<unknown, unknown, unknown, unknown>): void {
  const { id, dir, cluster, bootstrap, heartbeatMs, electionTimeoutMs, transport } = options
  checkName('id', id)
  checkName('cluster', cluster)
  if (typeof dir !== 'string' || dir === '') fail('dir', 'must be the path of a folder')
  checkJoin(options)
  checkNumber('heartbeatMs', heartbeatMs, 10, 60_000)
  checkNumber('electionTimeoutMs', electionTimeoutMs, 30, 600_000)
  if (heartbeatMs * 3 > electionTimeoutMs) {
    const reason = 'or one late heartbeat starts an election'
    fail(
      'electionTimeoutMs',
      `is ${electionTimeoutMs}; must be at least 3 * heartbeatMs = ${heartbeatMs * 3}, ${reason}`,
    )
  }
  checkPriority(options.electionPriority)
  checkFlag('acceptCopiedFolder', options.acceptCopiedFolder)
  checkFlag('allowJoin', options.allowJoin)
  checkPeers('acceptPeerBoot', options.acceptPeerBoot, typeof options.join === 'boolean' ? bootstrap : null)
  if (options.onRemoved !== 'observe' && options.onRemoved !== 'close') {
    fail('onRemoved', `is ${shown(options.onRemoved)}; must be observe or close`)
  }
  checkForms(options)
  for (const { id: server, address } of bootstrap) {
    const flaw = transport.addressFlaw?.(address) ?? null
    if (flaw !== null) fail('bootstrap', `gives ${server} the address '${address}'; ${flaw}`)
  }
}

/** Of what is called later: that it can be called. */
function checkForms(options: Checked<unknown, unknown, unknown, unknown>): void {
  const { stateMachine, codec, transport, random } = options
  if (!has(stateMachine, 'apply')) fail('stateMachine', 'must have an apply function')
  for (const name of ['validate', 'query', 'configured', 'snapshot', 'restore', 'hash', 'appliedIndex'] as const) {
    if (stateMachine[name] === undefined || has(stateMachine, name)) continue
    fail('stateMachine', `has a ${name} that is not a function`)
  }
  if ((stateMachine.snapshot === undefined) !== (stateMachine.restore === undefined)) {
    fail('stateMachine', 'has one of snapshot and restore: it must have both, or none')
  }
  if (!has(codec, 'encode', 'decode')) fail('codec', 'must have encode and decode functions')
  for (const name of ['resultCodec', 'queryCodec', 'answerCodec'] as const) {
    if (!has(options[name], 'encode', 'decode')) fail(name, 'must have encode and decode functions')
  }
  if (!has(transport, 'start', 'setPeers', 'send', 'respond', 'flush', 'reject', 'close')) {
    fail('transport', 'must be a transport, such as tcp({ listen })')
  }
  checkTools(options)
  if (typeof random !== 'function') fail('random', 'must be a function that draws from [0, 1)')
}

/** The same of what every call takes that opens a folder. */
function checkTools({ storage, logger, clock }: Pick<FolderSettings, 'storage' | 'logger' | 'clock'>): void {
  if (!has(storage, 'create')) fail('storage', 'must be a store, such as nativeStore() or fileStore()')
  if (!has(logger, 'debug', 'info', 'warn', 'error')) {
    fail('logger', 'must have the functions debug, info, warn and error, or be false')
  }
  if (!has(clock, 'now', 'wallNow', 'setTimer', 'defer')) {
    fail('clock', 'must have the functions now, wallNow, setTimer and defer')
  }
  checkTells(clock, 'now')
  checkTells(clock, 'wallNow')
}

/** A clock whose first answer is no number never elects anybody, and no deadline of it comes. */
function checkTells(clock: Clock, name: 'now' | 'wallNow'): void {
  let what: string
  try {
    const answer: unknown = clock[name]()
    if (typeof answer === 'number' && Number.isFinite(answer)) return
    what = `answers ${shown(answer)}`
  } catch (cause) {
    what = `threw: ${textOf(cause)}`
  }
  fail('clock', `has a function ${name} that ${what}; it must answer a finite number of milliseconds`)
}

/** As `checkCallOptions`, for a change of the members. */
export function checkChangeOptions(call: string, options: object | undefined): void {
  if (options === undefined) return
  checkWait(call, options, CHANGE_OPTION_NAMES)
  const { ifIndex, force } = options as { readonly ifIndex?: unknown; readonly force?: unknown }
  if (ifIndex !== undefined && !isPosition(ifIndex)) {
    fail('ifIndex', `is ${shown(ifIndex)}; must be the index that configuration() told`)
  }
  if (force !== undefined) checkFlag('force', force)
}

/** As `checkCallOptions`, for how long leases are to last: `timing` is that of the server that is asked. */
export function checkLease(leaseMs: unknown, { heartbeatMs, electionTimeoutMs }: LeaseTiming): void {
  if (leaseMs === 0) return
  checkNumber('leaseMs', leaseMs, LEASE_HEARTBEATS_MIN * heartbeatMs, electionTimeoutMs)
  if (!Number.isInteger(leaseMs)) fail('leaseMs', `is ${shown(leaseMs)}; must be a whole number, or 0 for no leases`)
}

/** What bounds a lease. */
export type LeaseTiming = Pick<Settings<unknown, unknown, unknown, unknown>, 'heartbeatMs' | 'electionTimeoutMs'>

/** A shorter lease would often end before the next heartbeat is answered. */
const LEASE_HEARTBEATS_MIN = 2

/** The id of a server, as every call takes it. */
export function checkServerId(call: string, id: unknown): void {
  checkName(`id of ${call}`, id)
}

/** Throws ERR_RAFT_OPTIONS when the options of a transfer are wrong. */
export function checkTransferOptions(call: string, options: object | undefined): void {
  if (options === undefined) return
  checkWait(call, options, TRANSFER_OPTION_NAMES)
  const { to } = options as { readonly to?: unknown }
  if (to !== undefined) checkName('to', to)
}

/** Throws ERR_RAFT_OPTIONS when the options of a close are wrong. */
export function checkCloseOptions(call: string, options: object | undefined): void {
  if (options === undefined) return
  checkWait(call, options, CLOSE_OPTION_NAMES)
  for (const name of ['transferLeadership', 'snapshot'] as const) {
    const flag = (options as Readonly<Record<string, unknown>>)[name]
    if (flag !== undefined) checkFlag(name, flag)
  }
  const { drainMs } = options as { readonly drainMs?: unknown }
  if (drainMs !== undefined) checkNumber('drainMs', drainMs, 0, 2 ** 31 - 1)
}

/** Of what is to run in a worker thread: that it can be made there. */
function checkCrossing(options: Checked<unknown, unknown, unknown, unknown>): void {
  const { thread, clock, random, transport, storage, snapshotStorage } = options
  if (thread !== 'worker') fail('thread', `is ${shown(thread)}; must be main or worker`)
  if (clock !== SYSTEM_CLOCK) fail('clock', `is given, and ${STAYS}: leave it out, or thread`)
  if (random !== Math.random) fail('random', `is given, and ${STAYS}: leave it out, or thread`)
  checkRecipe('transport', transport, 'tcp({ listen })')
  checkRecipe('storage', storage, 'nativeStore() or fileStore()')
  checkRecipe('snapshotStorage', snapshotStorage, 'fileSnapshotStore()')
}

const STAYS = 'no function of yours is called in the worker thread of thread'

function checkRecipe(name: string, of: { readonly recipe?: Recipe | undefined }, such: string): void {
  const { recipe } = of
  const remedy = `take ${such}, give it a recipe (docs/threads.md), or leave thread out`
  if (recipe === undefined || typeof recipe.module !== 'string' || typeof recipe.make !== 'string') {
    fail(name, `does not say how it is made again in the worker thread of thread: ${remedy}`)
  }
  try {
    structuredClone(recipe.options)
  } catch {
    // What it says of the value may hold a secret.
    fail(name, `was made with what cannot be copied to the worker thread of thread, such as a function: ${remedy}`)
  }
}

function checkFlag(name: string, value: unknown): void {
  if (typeof value !== 'boolean') fail(name, 'must be true or false')
}

function checkPriority(priority: unknown): void {
  checkNumber('electionPriority', priority, 0, ELECTION_PRIORITY_MAX)
  if (!Number.isInteger(priority)) fail('electionPriority', `is ${shown(priority)}; must be a whole number`)
}

function checkServers(servers: readonly Server[], self: ServerId, join: boolean, recoveries: readonly string[]): void {
  checkList('bootstrap', servers, SERVER_NAMES)
  const ids = servers.map(({ id }) => id)
  if (join && ids.includes(self) && recoveries.length === 0)
    fail(
      'join',
      `is set, and bootstrap names this server, ${self}: a first member joins nobody. If it has lost its folder, leave bootstrap out, and let join name the addresses of members`,
    )
  if (join || ids.includes(self)) return
  const names = `it names ${ids.join(', ')}`
  fail('bootstrap', `does not name this server, ${self}; ${names}. Set join if it is to be added to that cluster`)
}

/** A list of servers, none of them and none of their addresses in it twice. */
function checkList(name: string, servers: readonly Server[], names: readonly string[]): void {
  if (!Array.isArray(servers) || servers.length === 0 || servers.length > SERVERS_MAX) {
    fail(name, `must be a list of 1 .. ${SERVERS_MAX} servers, each { id, address }`)
  }
  const ids = new Set<ServerId>()
  const addresses = new Set<string>()
  for (const [at, server] of servers.entries()) {
    if (typeof server !== 'object' || server === null) fail(name, `has no { id, address } at place ${at + 1}`)
    checkOptionNames(`a server of ${name}`, server, names)
    checkName(`${name}: id`, server.id)
    checkName(`${name}: address`, server.address)
    if (ids.has(server.id)) fail(name, `names server ${server.id} twice`)
    if (addresses.has(server.address)) fail(name, `names address ${server.address} twice`)
    ids.add(server.id)
    addresses.add(server.address)
  }
}

function checkRecoveries(recoveries: readonly string[]): void {
  if (!areRecoveries(recoveries))
    fail('recoveries', `must be the list that Raft.recover told, ${RECOVERIES_MAX} at most`)
}

/** `join` names addresses, or else `bootstrap` the first members. */
function checkJoin({
  id,
  join,
  joinAs,
  bootstrap,
  recoveries,
  joinTimeoutMs,
  onJoin,
  signal,
  transport,
}: Checked<unknown, unknown, unknown, unknown>): void {
  checkRecoveries(recoveries)
  if (joinAs !== null) checkJoinAs(id, joinAs, join, transport)
  checkNumber('joinTimeoutMs', joinTimeoutMs, 1, 2 ** 31 - 1)
  if (onJoin !== null && typeof onJoin !== 'function') fail('onJoin', 'must be a function, or null')
  if (signal !== null && !isSignal(signal)) fail('signal', 'must be an AbortSignal')
  if (typeof join === 'boolean') return checkServers(bootstrap, id, join, recoveries)
  if (!Array.isArray(join) || join.length === 0 || join.length > SERVERS_MAX) {
    fail('join', `must be true, false or a list of 1 .. ${SERVERS_MAX} addresses of members`)
  }
  if (bootstrap.length > 0) {
    fail('bootstrap', 'is given, and join names addresses, which tell it: leave it out, or set join to true')
  }
  if (recoveries.length > 0) {
    fail('recoveries', 'is given, and join names addresses, which tell it: leave it out, or set join to true')
  }
  if (!has(transport, 'ask')) {
    fail(
      'join',
      'names addresses, and this transport cannot ask them: set it to true, and bootstrap to the first members',
    )
  }
  for (const address of join as readonly string[]) {
    checkName('join: address', address)
    const flaw = transport.addressFlaw?.(address) ?? null
    if (flaw !== null) fail('join', `names the address '${address}'; ${flaw}`)
  }
}

function checkJoinAs(id: ServerId, joinAs: JoinAs, join: boolean | readonly string[], transport: Transport): void {
  if (typeof join === 'boolean') fail('joinAs', 'is given, and join names no addresses at which it could be said')
  if (typeof joinAs !== 'object') fail('joinAs', 'must be { address, meta }, or null')
  checkDescription('joinAs', { id, ...joinAs }, transport, ['id', 'address', 'meta'])
  // As it is asked.
  const bytes = new TextEncoder().encode(JSON.stringify({ id, ...joinAs })).length
  if (bytes > JOIN_AS_BYTES_MAX)
    fail('joinAs', `has ${bytes} bytes with the id; at most ${JOIN_AS_BYTES_MAX} are taken`)
}

/** `servers` is null where the options do not name them. */
function checkPeers(name: string, ids: readonly ServerId[], servers: readonly Server[] | null): void {
  if (!Array.isArray(ids)) fail(name, 'must be a list of ids of peers')
  for (const id of ids) {
    if (servers === null) checkName(name, id)
    else if (!servers.some((server) => server.id === id))
      fail(name, `names ${shown(id)}, which bootstrap does not name`)
  }
}

/** What a change says of a server: its id, its address and its meta, each where it is given. */
export function checkDescription(call: string, server: unknown, transport: Transport, names: readonly string[]): void {
  checkOptionNames(call, server, names)
  const { id, address, meta } = server as { readonly id?: unknown; readonly address?: unknown; readonly meta?: unknown }
  if (names.includes('id')) checkName(`id of ${call}`, id)
  if (address !== undefined || names.includes('id')) {
    checkName(`address of ${call}`, address)
    const flaw = transport.addressFlaw?.(address as string) ?? null
    if (flaw !== null) fail(`address of ${call}`, `is '${String(address)}'; ${flaw}`)
  }
  const flaw = meta === undefined ? null : metaFlaw(meta)
  if (flaw !== null) fail(`meta of ${call}`, flaw)
}

/** The ids that `changeMembership` is given. */
export function checkIds(name: string, ids: unknown): void {
  if (!Array.isArray(ids)) fail(name, `must be a list of ids, and is ${shown(ids)}`)
  for (const id of ids) checkName(name, id)
}

function checkName(name: string, value: unknown): void {
  const bytes = typeof value === 'string' ? new TextEncoder().encode(value).length : 0
  if (bytes === 0 || bytes > NAME_BYTES_MAX) fail(name, `must be a string of 1 .. ${NAME_BYTES_MAX} bytes`)
  if (/\p{Surrogate}/u.test(String(value))) fail(name, 'must be well-formed text')
}
