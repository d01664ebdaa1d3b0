/**
 * One server of a cluster, as its users see it: encodes what they ask, and asks the server behind it.
 */

import {
  checkCallOptions,
  checkQueryOptions,
  checkReadOptions,
  checkSessionOptions,
  checkSessionToken,
  checkSubmitOptions,
} from './call-options.js'
import { RaftError } from './errors.js'
import type { LeaderHint } from './errors.js'
import type { Payload } from './format/block.js'
import { NO_PAYLOAD } from './format/payload.js'
import { withMeta } from './format/server-meta.js'
import type { Asked } from './machine/state-machine.js'
import type { GuardedCodec, GuardedMachine } from './machine/user-code.js'
import { checkListener } from './observe/events.js'
import type { RaftEvents } from './observe/events.js'
import type { Metric } from './observe/metric.js'
import type { EventName, Watch, WatchOptions } from './observe/watch.js'
import { checkOptionNames, optionsError, shown } from './option-checks.js'
import {
  bootstrapSettingsOf,
  checkChangeOptions,
  checkCloseOptions,
  checkDescription,
  checkIds,
  checkLease,
  checkServerId,
  checkTransferOptions,
  importSettingsOf,
  recoverSettingsOf,
  settingsOf,
  stateSettingsOf,
} from './options.js'
import type {
  BootstrapOptions,
  FolderOptions,
  LeaseTiming,
  RaftOptions,
  ImportOptions,
  RecoveredServer,
  SnapshotBytes,
  RecoverOptions,
  Settings,
} from './options.js'
import { ChangeCall } from './server/calls/change-queue.js'
import type { ChangeRequest } from './server/calls/change-queue.js'
import type { CloseOptions, TransferOptions } from './server/calls/leadership-queue.js'
import type { WaitOptions } from './server/calls/pending-call.js'
import type { QueryOptions, Submission, SubmitOptions } from './server/forward/any-server.js'
import type { Proposed } from './server/forward/asking.js'
import { bootstrapFolder } from './server/open/bootstrap.js'
import type { BootstrappedFolder } from './server/open/bootstrap.js'
import { folderState } from './server/open/folder-state.js'
import type { FolderState } from './server/open/folder-state.js'
import { openDoor } from './server/thread/open-door.js'
import { recover } from './server/open/recover.js'
import type { Recovery } from './server/open/recover.js'
import { seedFolder } from './server/open/seed.js'
import type { SeededFolder } from './server/open/seed.js'
import type { Health } from './server/health.js'
import type { Door } from './server/door.js'
import { openSession, Session } from './server/session.js'
import type { SessionDoor, SessionOptions } from './server/session.js'
import type { ConfigurationAnswer, SnapshotInfo, Status } from './server/status.js'
import type { Transport } from './transport/transport.js'
import { logIndex } from './types.js'
import type { LogIndex, Server as Described, ServerId, ServerMeta, SessionToken } from './types.js'

/** A server to be added. */
export interface NewServer {
  /** 1 .. 255 bytes; never that of another member. */
  readonly id: ServerId
  /** Where its peers dial it. */
  readonly address: string
  /** What else is said of it: at most 16 keys, 1 KiB in all. Comes back in hints, status and events. */
  readonly meta?: ServerMeta
}

/** Who is to be a member. */
export interface MembershipTarget {
  readonly voters: readonly ServerId[]
  /** Default none. */
  readonly nonvoters?: readonly ServerId[]
}

/** What every change of the members takes. */
export interface ChangeOptions extends WaitOptions {
  /** The change is refused when another configuration is in force than the one of this entry (`configuration()`). */
  readonly ifIndex?: number
  /** Also where too few voters would be heard to commit anything. Default false. */
  readonly force?: boolean
}

/** One server of a cluster. Every call settles, and every error says what became of the command (docs/errors.md). */
export class Raft<Command, Result, Query = never, Answer = never> {
  readonly #server: Door
  readonly #machine: GuardedMachine<Command, Result, Query, Answer>
  readonly #codec: GuardedCodec<Command>
  readonly #transport: Transport
  readonly #timing: LeaseTiming

  /**
   * Over a server that is open already: `Raft.open` opens one, and so does the simulator, which looks inside it as
   * well.
   */
  constructor(server: Door, settings: Settings<Command, Result, Query, Answer>) {
    this.#server = server
    this.#machine = settings.stateMachine
    this.#codec = settings.codec
    this.#transport = settings.transport
    this.#timing = settings
  }

  /** Opens the folder, joins the cluster, starts to take part. Rejects with a RaftError that names what to do. */
  static async open<Command, Result, Query = never, Answer = never>(
    options: RaftOptions<Command, Result, Query, Answer>,
  ): Promise<Raft<Command, Result, Asked<Query, Answer>, Answer>> {
    const settings = settingsOf(options as RaftOptions<Command, Result, Asked<Query, Answer>, Answer>)
    return new Raft(await openDoor(settings), settings)
  }

  /**
   * What the log in a folder says of its server; null where there is none. Opens nothing and changes nothing. Rejects
   * with what an open would reject with: the folder is locked, damaged, or of another format than that of `storage`.
   */
  static async hasState(dir: string, options: FolderOptions = {}): Promise<FolderState | null> {
    const settings = stateSettingsOf(dir, options)
    return folderState(settings.dir, settings.storage)
  }

  /**
   * Makes an empty folder that of a first member, or of one that joins, and starts nothing. Once more with the same
   * list it changes nothing; with another it rejects with ERR_RAFT_CLUSTER_MISMATCH. `Raft.open` does the same first.
   */
  static async bootstrap(options: BootstrapOptions): Promise<BootstrappedFolder> {
    const { membership, ...owner } = bootstrapSettingsOf(options)
    return bootstrapFolder(owner, membership)
  }

  /**
   * Makes an empty folder that of a server whose cluster begins with a snapshot that was exported: a backup, or the
   * seed of another cluster. The server alone votes; the others of `bootstrap` come with empty folders, `join: true`
   * and the `recoveries` that this resolves with. All of the snapshot is checked before anything is made of the folder.
   */
  static async importSnapshot(options: ImportOptions, source: SnapshotBytes): Promise<SeededFolder> {
    return seedFolder(importSettingsOf(options, source), source)
  }

  /**
   * Makes a cluster of its own of a folder whose cluster has lost its quorum for good (docs/membership.md): its server
   * alone votes, the others of `servers` are to come with empty folders, and are promoted when they have caught up.
   * Whoever took no part is refused from then on. Without `mayLoseData: true` it rejects with ERR_RAFT_OPTIONS, which
   * says what would be done and lost, and changes nothing.
   */
  static async recover(
    dir: string,
    servers: readonly RecoveredServer[],
    options: RecoverOptions = {},
  ): Promise<Recovery> {
    return recover(recoverSettingsOf(dir, servers, options))
  }

  /** Resolves when a leader is known and what was committed when it became known is applied here. */
  async ready(options?: WaitOptions): Promise<void> {
    checkCallOptions('ready', options)
    await this.#server.ready(options)
  }

  /**
   * Replicates one command; resolves with the state machine's answer once it is committed and applied here. What its
   * `validate` refuses rejects with ERR_RAFT_INVALID. Leader only.
   */
  async apply(command: Command, options?: WaitOptions): Promise<Result> {
    checkCallOptions('apply', options)
    this.#server.checkRoom(1, 0)
    const [result] = await this.#server.propose([this.#codec.encode(command)], 'command', options)
    return result as Result
  }

  /**
   * As `apply`, for a list in order, in one append. The first failure rejects the whole call; its outcome covers the
   * list. At most 8192 commands, and 16 MiB of them encoded: else ERR_RAFT_TOO_LARGE.
   */
  async applyAll(commands: readonly Command[], options?: WaitOptions): Promise<readonly Result[]> {
    checkCallOptions('applyAll', options)
    if (!Array.isArray(commands)) {
      throw optionsError(`applyAll takes an array of commands, and was given ${shown(commands)}`)
    }
    if (commands.length === 0) return []
    return (await this.#server.propose(this.#encodeAll(commands), 'command', options)) as readonly Result[]
  }

  /**
   * Opens a session, in which a command that is sent more than once is applied once (docs/sessions.md). Resolves when
   * the log has it. On every server, as `submit`; also tries again what may have opened one already: that one is of
   * nobody, and expires. There are 2048 at a time: another one takes the place of the one that was quiet for longest.
   */
  async openSession(options?: SessionOptions): Promise<Session<Command, Result>> {
    const expiresAfterMs = checkSessionOptions('openSession', options)
    const { expiresAfterMs: _, ...wait } = options ?? {}
    return openSession(this.#sessionDoor(), expiresAfterMs, options === undefined ? undefined : wait)
  }

  /**
   * Goes on with a session that was opened anywhere: with `session` of an error, the same command is given to `apply`
   * first, and applied unless it was. Of several such errors the one with the lowest sequence comes first. Asks
   * nothing, on any server; whether the log still has the session, its first command tells.
   */
  resumeSession(token: SessionToken): Session<Command, Result> {
    const checked = checkSessionToken('resumeSession', token)
    return new Session(this.#sessionDoor(), checked, true)
  }

  /**
   * As `apply`, on every server: one that does not lead has the leader apply it. Follows the leader, and tries again
   * what is known not to be applied, until `timeoutMs` or `signal` end it, or for 30 s (`retry`). A way to the leader
   * that breaks leaves it `unknown`. At most 8192 are under way on one server, and 8 MiB of them encoded: else
   * ERR_RAFT_OVERLOADED. The result comes back by `resultCodec`.
   */
  async submit(command: Command, options?: SubmitOptions): Promise<Result> {
    const { result } = await this.#propose('submit', command, options)
    return result
  }

  /** As `submit`; says where in the log the command stands, too: `query` with `minIndex` reads behind it. */
  async propose(command: Command, options?: SubmitOptions): Promise<Proposed<Result>> {
    return this.#propose('propose', command, options)
  }

  /**
   * Asks the state machine of this server, whoever leads. `linearizable`, the default, first asks the leader how far
   * that must be, and waits until it is there: all queries of one turn share one question. `{ maxStalenessMs }` does so
   * only where the last such answer is older, `{ minIndex }` waits for that entry, `stale` for nothing. Follows the
   * leader as `submit` does; otherwise as `read`.
   */
  async query(query: Query, options: QueryOptions = {}): Promise<Answer> {
    checkQueryOptions('query', options)
    this.#checkQuery('query')
    return this.#server.any.query(() => this.#machine.query(query), options)
  }

  /** Resolves with whoever leads, as this server knows, once anybody does. */
  async waitForLeader(options?: WaitOptions): Promise<LeaderHint> {
    checkCallOptions('waitForLeader', options)
    return this.#server.any.waitForLeader(options)
  }

  /** Commits an empty entry; resolves with its index once everything before it is applied here. Leader only. */
  async barrier(options?: WaitOptions): Promise<LogIndex> {
    checkCallOptions('barrier', options)
    const [index] = await this.#server.propose([NO_PAYLOAD], 'barrier', options)
    return index as LogIndex
  }

  /**
   * Asks the state machine. `linearizable`, the default, first does what `readIndex` does, so that only the leader
   * answers (`query` does on every server); `lease` is the same without a round, while this server holds a lease
   * (`setLease`; docs/reads.md says what that assumes), and may ask the query twice; `stale` asks at once. What the
   * query throws or rejects with, this rejects with, as it is; the server goes on. Deadline and signal hold for all
   * of it: also for an answer that the query has promised. A server that has ended answers nothing.
   */
  async read(
    query: Query,
    options?: WaitOptions & { readonly consistency?: 'linearizable' | 'lease' | 'stale' },
  ): Promise<Answer> {
    checkReadOptions('read', options)
    this.#checkQuery('read')
    const ask = (): Answer | PromiseLike<Answer> => this.#machine.query(query)
    if (options?.consistency === 'stale') return this.#server.staleRead(ask, options)
    return options?.consistency === 'lease' ? this.#server.leaseRead(ask, options) : this.#server.read(ask, options)
  }

  /**
   * Resolves once this server has proved that it led after the call began, and has applied everything that was
   * committed then: whatever the state machine holds now is a linearizable read (thesis 6.4). All calls of one turn
   * share one round.
   */
  async readIndex(options?: WaitOptions): Promise<LogIndex> {
    checkCallOptions('readIndex', options)
    return this.#server.readIndex(options)
  }

  /** Resolves once a quorum of voters has confirmed, after the call began, that this server leads. */
  async verifyLeader(options?: WaitOptions): Promise<void> {
    checkCallOptions('verifyLeader', options)
    await this.#server.readIndex(options)
  }

  /**
   * Takes a snapshot of what is applied here, unless there is one; resolves when it is durable, with its place in the
   * log. The log is compacted behind it. Callers of the same time share one. Any server; state machines with `snapshot`
   * and `restore` only.
   */
  async snapshot(options?: WaitOptions): Promise<SnapshotInfo> {
    checkCallOptions('snapshot', options)
    return this.#server.snapshot(options)
  }

  /**
   * The bytes of the file of a snapshot, for a backup or another cluster (`Raft.importSnapshot`): of one that covers
   * what is applied here, taken first unless there is one. Begins with the first read; in memory is one piece of 128
   * KiB. The snapshot stays until whoever reads has read it, or returns, or reads nothing for a minute. Any server.
   */
  exportSnapshot(options?: WaitOptions): AsyncGenerator<Uint8Array, void, undefined> {
    checkCallOptions('exportSnapshot', options)
    return this.#server.exportSnapshot(options)
  }

  /**
   * Hands leadership over to `to`, or to the voter that is most caught up; resolves with the id of the server that
   * leads then. Commands wait meanwhile. After an election timeout at most it has come to nothing: this server leads
   * on, and the call rejects with ERR_RAFT_TRANSFER_FAILED. Leader only.
   */
  async transferLeadership(options?: TransferOptions): Promise<ServerId> {
    checkTransferOptions('transferLeadership', options)
    const { to = null, ...wait } = options ?? {}
    return this.#server.transferLeadership(to, wait)
  }

  /**
   * Gives leadership up, to whoever is elected: this server asks for no votes for three election timeouts. Commands
   * that are accepted and not committed end as `unknown`. `transferLeadership` costs the cluster less. Leader only.
   */
  async stepDown(): Promise<void> {
    await this.#server.stepDown()
  }

  /**
   * Adds a server that will vote: first as a nonvoter, and whoever leads promotes it once it has caught up (thesis
   * 4.2.1). Resolves when it is a voter. A call that ends before says how far it has come; what is committed goes on.
   * Leader only, as every change.
   */
  async addVoter(server: NewServer, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    const added = this.#serverOf('addVoter', server)
    return this.#change('addVoter', { type: 'add', server: added, promote: true }, options, added.id)
  }

  /** Adds a server without a vote. */
  async addNonvoter(server: NewServer, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    const added = this.#serverOf('addNonvoter', server)
    return this.#change('addNonvoter', { type: 'add', server: added, promote: false }, options)
  }

  /** Makes a voter of a nonvoter, once it has caught up; with `force` at once. Resolves when it is a voter. */
  async promote(id: ServerId, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    checkServerId('promote', id)
    return this.#change('promote', { type: 'promote', id, atOnce: options?.force === true }, options, id)
  }

  /** Makes a nonvoter of a voter, which goes on to be fed; a nonvoter that waits to be promoted waits no more. */
  async demoteVoter(id: ServerId, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    checkServerId('demoteVoter', id)
    return this.#change('demoteVoter', { type: 'demote', id }, options)
  }

  /** Removes a server. From then on its id may come back with another store; a leader may remove itself. */
  async removeServer(id: ServerId, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    checkServerId('removeServer', id)
    return this.#change('removeServer', { type: 'remove', id }, options)
  }

  /**
   * Puts a server in the place of another, which goes; resolves when it has its place. With another id: it becomes a
   * nonvoter, catches up (not with `force`), and takes over in one step. With the same id, a server that has lost its
   * folder: it is removed, and added again; nothing is done where that server is heard and well, but with `force`. The
   * same call, made again to whichever server leads, goes on where another has ended.
   */
  async replace(oldId: ServerId, server: NewServer, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    checkServerId('replace', oldId)
    const added = this.#serverOf('replace', server)
    const { ifIndex, force, wait } = changeOptionsOf('replace', options)
    return this.#server.replace({ oldId, server: added, ifIndex, force }, wait)
  }

  /** Changes what is said of a member, where it is given: its address, dialled by all from then on, or its meta. */
  async updateServer(
    id: ServerId,
    { address, meta }: Partial<Omit<NewServer, 'id'>>,
    options?: ChangeOptions,
  ): Promise<ConfigurationAnswer> {
    checkServerId('updateServer', id)
    checkDescription('updateServer', { address, meta }, this.#transport, ['address', 'meta'])
    const known = this.#server.memberOf(id) ?? { id, address: '' }
    const moved = { ...known, address: address ?? known.address }
    const server = meta === undefined ? moved : withMeta(moved, meta)
    return this.#change('updateServer', { type: 'update', server }, options)
  }

  /**
   * These members and no others, all of them members already: through a joint configuration where more than one voter
   * differs (thesis 4.3). Resolves when the final one is committed.
   */
  async changeMembership(target: MembershipTarget, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    checkOptionNames('changeMembership', target, ['voters', 'nonvoters'])
    const { voters, nonvoters = [] } = target
    checkIds('voters of changeMembership', voters)
    checkIds('nonvoters of changeMembership', nonvoters)
    return this.#change('changeMembership', { type: 'set', voters: [...voters], nonvoters: [...nonvoters] }, options)
  }

  /**
   * From now on leaders hold leases of `leaseMs` milliseconds, by which they read with `consistency: 'lease'`; 0: none
   * do. A whole number, two heartbeats to an election timeout of this server. Resolves when that is committed. While
   * there are leases nobody else leads before they have run out: docs/reads.md says what they cost and assume. Every
   * member must know of leases: one of a version that does not refuses the configuration.
   */
  async setLease(leaseMs: number, options?: ChangeOptions): Promise<ConfigurationAnswer> {
    checkLease(leaseMs, this.#timing)
    return this.#change('setLease', { type: 'lease', leaseMs }, options)
  }

  /** The members, as the newest configuration in the log of this server has them; its index is for `ifIndex`. */
  configuration(): ConfigurationAnswer {
    return this.#server.configuration
  }

  /** How things stand here and now; nothing waits for it. */
  get status(): Status {
    return this.#server.status
  }

  /**
   * What an entry made now would carry as its time, in milliseconds since 1970, as far as this server can know: what is
   * planned by the time of entries is planned by this clock, not by the machine's date. On a follower it is at most
   * what its leader's clock shows.
   */
  get entryTime(): number {
    return this.#server.entryTime
  }

  /**
   * Returns what ends the subscription. A listener is called during a turn: as long as it takes, this server does
   * nothing else, and hears of no leader; what it throws or rejects with is logged. Throws ERR_RAFT_OPTIONS for an
   * event that there is not.
   */
  on<Name extends keyof RaftEvents>(
    name: Name,
    listener: (event: RaftEvents<Command, Result>[Name]) => void,
  ): () => void {
    checkListener(name, listener)
    return this.#server.on(name, listener as (event: RaftEvents[Name]) => void)
  }

  /**
   * The events from now on, to be iterated (docs/watching.md): a Watch. Never keeps the server waiting: beyond `limit`
   * the oldest goes, and `{ type: 'dropped', count }` tells how many have. Ends when this server has ended, with
   * `return()` and with the signal. Throws ERR_RAFT_OPTIONS for options that it does not know.
   */
  watch<Name extends EventName = EventName>(options?: WatchOptions<Name>): Watch<Name> {
    return this.#server.watch(options)
  }

  /**
   * Everything that is counted and measured, at this moment: plain data, frozen, always the same list of names
   * (docs/watching.md). With the first call the event-loop lag begins to be measured, until this server ends.
   */
  metrics(): readonly Metric[] {
    return this.#server.metrics
  }

  /** Whether it runs, and whether it may be asked: what `ready` waits for, and that it still holds. */
  get health(): Health {
    return this.#server.health
  }

  /**
   * Settles every call, makes the commit index durable and releases the folder. From the call on nothing new is taken;
   * what was asked before may finish, for `drainMs` at most (default 0: it ends as it stands). A leader with a voter
   * that is connected then hands leadership over, which takes `timeoutMs` at most (default: an election timeout); with
   * `snapshot` one is taken of what is applied, in what is left of that time (default: 30 s). Idempotent. Whatever
   * fails on the way, the rest is done; it rejects with a RaftError only when the folder may not be free, as when the
   * disk does not answer within 30 s.
   */
  close(options?: CloseOptions): Promise<void> {
    checkCloseOptions('close', options)
    return this.#server.close(options)
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /**
   * Resolves when the server has closed or halted, with the error that halted it or that kept it from closing, or null.
   * Never rejects.
   */
  get closed(): Promise<RaftError | null> {
    return this.#server.ended
  }

  #checkQuery(call: string): void {
    if (this.#machine.hasQuery) return
    throw new RaftError('ERR_RAFT_OPTIONS', `option stateMachine has no query function; give it one to use ${call}`)
  }

  #propose(call: string, command: Command, options: SubmitOptions | undefined): Promise<Proposed<Result>> {
    checkSubmitOptions(call, options)
    this.#server.any.checkRoom(0)
    const { retry = 'safe' } = options ?? {}
    const submission: Submission = { kind: 'command', bytes: this.#codec.encodeBehind(0, command), retry }
    return this.#server.any.propose(submission, options) as Promise<Proposed<Result>>
  }

  #serverOf(call: string, server: NewServer): Described {
    checkDescription(call, server, this.#transport, ['id', 'address', 'meta'])
    const { id, address, meta = {} } = server
    return withMeta({ id, address }, meta)
  }

  async #change(
    name: string,
    change: ChangeRequest['change'],
    options: ChangeOptions | undefined,
    voter: ServerId | null = null,
  ): Promise<ConfigurationAnswer> {
    const { ifIndex, force, wait } = changeOptionsOf(name, options)
    return this.#server.change(new ChangeCall({ change, ifIndex, force }, voter), wait)
  }

  #sessionDoor(): SessionDoor<Command> {
    return { any: this.#server.any, codec: this.#codec }
  }

  /** Stops at the first command that there is no room for any more. */
  #encodeAll(commands: readonly Command[]): readonly Payload[] {
    const { length } = commands
    this.#server.checkRoom(length, 0)
    const payloads: Payload[] = []
    let bytes = 0
    try {
      // Not `map`, which leaves holes where there were some.
      for (let at = 0; at < length; at += 1) {
        const payload = this.#codec.encode(commands[at] as Command)
        payloads.push(payload)
        bytes += payload.byteLength
        this.#server.checkRoom(length, bytes)
      }
      return payloads
    } catch (error) {
      for (const { slab } of payloads) slab.release()
      throw error
    }
  }
}

/** Checked; what is not given has its default. */
function changeOptionsOf(call: string, options: ChangeOptions | undefined) {
  checkChangeOptions(call, options)
  const { ifIndex, force = false, ...wait } = options ?? {}
  return {
    ifIndex: ifIndex === undefined ? null : logIndex(ifIndex),
    force,
    wait: options === undefined ? undefined : wait,
  }
}
