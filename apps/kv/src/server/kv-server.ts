/**
 * The Redis-protocol server on top of one Raft server: accepts clients, and runs their commands in turns. Whatever has
 * arrived from all clients in one turn of the event loop becomes one batch; whatever settles at once leaves with one
 * write per client.
 */

import { RaftError, type Status } from 'balsa-raft'
import type { Listed } from '../cluster/members.js'
import { commandCatalog } from '../commands/command-catalog.js'
import type { Counters, ServerState } from '../commands/local-command.js'
import type { DataSet } from '../data-set/data-set.js'
import {
  CLIENTS_MAX,
  CLOSE_GRACE_MS,
  HAND_OVER_MS_MAX,
  KEYS_MAX,
  LEADER_WAIT_MS,
  LINGER_MS_MAX,
  QUIET_MS,
} from '../limits.js'
import type { Log } from '../log.js'
import { memoryLimits } from '../memory-limits.js'
import { Security } from '../security/security.js'
import type { ClientTls } from '../security/tls-files.js'
import { ClientListener } from './client-listener.js'
import { Client, type ClientHost } from './client/client.js'
import { ClientMemory } from './client/client-memory.js'
import { readAsStream, TcpClientSocket, type ClientSocket } from './client/client-socket.js'
import { Watchers } from './client/watchers.js'
import { machineClock, type KvClock } from './clock.js'
import { configFacts } from './config-facts.js'
import { REFUSED_AT_ONCE_MAX } from './descriptors.js'
import { CopyWaits } from './copy-waits.js'
import { ExpiryClock } from './expiry-clock.js'
import type { ClusterCalls, KvRaft } from './kv-raft.js'
import { Leadership } from './leadership.js'
import { PublishedAddresses } from './published-addresses.js'
import { Reads } from './reads.js'
import { Replicator } from './replicator.js'
import { Saves } from './saves.js'
import { Strangers } from './strangers.js'
import { TlsDoor } from './tls-door.js'
import { Turns } from './turns.js'
import { Walks } from './walks.js'

export interface KvServerOptions extends Listed {
  readonly raft: KvRaft
  /** The data set to which `raft` applies. */
  readonly data: DataSet
  /** Where to listen; port 0 = any free one. */
  readonly host: string
  readonly port: number
  readonly dir: string
  readonly clientsMax?: number
  /** How many bytes may be kept for all clients together. Default: a part of the heap (memory-limits.ts). */
  readonly clientsMemoryMax?: number
  /** How many bytes the data set may take. Default: a part of the heap. */
  readonly memoryMax?: number
  /**
   * How long commands wait for the successor of a lost leader, and stale reads until this server has caught up with it.
   * Default 5000.
   */
  readonly leaderWaitMs?: number
  /** While it follows it has the leader carry out what its clients send. Default false. */
  readonly forwards?: boolean
  readonly log: Log
  /** Who may come in. Default: anybody. */
  readonly security?: Security
  /** Clients speak TLS. Default null: they speak plain. */
  readonly tls?: ClientTls | null
  /** More facts for CONFIG GET. */
  readonly facts?: ReadonlyMap<string, string>
  /** Default: the machine's. */
  readonly clock?: KvClock
}

export class KvServer implements ServerState {
  readonly leadership: Leadership
  readonly data: DataSet
  readonly saves: Saves
  readonly copyWaits: CopyWaits
  readonly counters: Counters = { connections: 0, rejected: 0, cutOff: 0, commands: 0, bytesIn: 0, bytesOut: 0 }
  readonly uptime: () => number
  readonly clientsMax: number
  readonly memoryMax: number
  readonly clientMemory: ClientMemory
  readonly now: () => number
  readonly dir: string
  readonly config: ReadonlyMap<string, string>
  readonly replicator: Replicator
  readonly walks: Walks
  readonly reads: Reads
  readonly security: Security
  readonly tls: TlsDoor | null
  readonly #options: KvServerOptions
  /** Null until `listen`: whoever brings the clients by `accept` needs no listener. */
  #listener: ClientListener | null = null
  readonly #clients = new Set<Client>()
  readonly #strangers: Strangers<Client>
  readonly #host: ClientHost
  readonly #clock: KvClock
  readonly #turns: Turns
  readonly #watchers = new Watchers()
  readonly #addresses: PublishedAddresses
  #nextClient = 1
  /** Who comes now is sent away. */
  #isDeparting = false
  #isClosing = false
  #onEmpty: (() => void) | null = null

  constructor(options: KvServerOptions) {
    const { raft, data, self, members } = options
    this.#options = options
    this.data = data
    const clock = options.clock ?? machineClock
    this.#clock = clock
    this.now = () => clock.wallNow()
    const startedAt = clock.now()
    this.uptime = () => clock.now() - startedAt
    this.security = options.security ?? new Security(OPEN_TO_ALL, commandCatalog, clock)
    this.security.guard.onSlowed = (address) => {
      options.log.warn('auth.slowed', { address, reason: 'wrong passwords come from there (INFO security, ACL LOG)' })
    }
    this.#strangers = new Strangers(clock)
    this.tls = this.#tlsDoor(options.tls ?? null)
    this.saves = new Saves(raft, clock)
    this.copyWaits = new CopyWaits(raft, clock)
    this.dir = options.dir
    this.clientsMax = options.clientsMax ?? CLIENTS_MAX
    const limits = memoryLimits()
    this.memoryMax = options.memoryMax ?? limits.dataDefault
    this.clientMemory = new ClientMemory(options.clientsMemoryMax ?? limits.clientsDefault)
    this.config = configFacts(options, {
      clientsMax: this.clientsMax,
      clientsMemoryMax: this.clientMemory.most,
      memoryMax: this.memoryMax,
      takesSnapshots: this.saves.unavailable === null,
      forwards: options.forwards ?? false,
      facts: options.facts ?? new Map(),
    })
    this.leadership = new Leadership(raft, {
      self,
      members,
      waitMs: options.leaderWaitMs ?? LEADER_WAIT_MS,
      forwards: options.forwards ?? false,
      clock,
      onChange: () => this.#onLeadership(),
    })
    this.#addresses = new PublishedAddresses(raft, { self, members }, clock, options.log)
    data.listener = this.#watchers
    const turnClock = {
      now: this.uptime,
      defer: (callback: () => void) => clock.defer(callback),
      afterPromises: (callback: () => void) => clock.afterPromises(callback),
    }
    this.#turns = new Turns(turnClock, () => this.replicator.endTurn())
    this.walks = new Walks(data, clock)
    const reads = new Reads(data, clock)
    this.reads = reads
    const becomeCurrent = (): Promise<unknown> => this.replicator.becomeCurrent()
    const expiry = new ExpiryClock(raft, data, this.leadership, clock, this.#turns, reads, becomeCurrent)
    this.replicator = new Replicator({ raft, data, leadership: this.leadership, clock, expiry, turns: this.#turns })
    this.#host = {
      server: this,
      replicator: this.replicator,
      watchers: this.#watchers,
      turns: this.#turns,
      walks: this.walks,
      memory: this.clientMemory,
      onGone: (client, reason) => this.#onGone(client, reason),
    }
    this.replicator.watchDeadlines()
  }

  get status(): Status {
    return this.#options.raft.status
  }

  get cluster(): Partial<ClusterCalls> {
    return this.#options.raft
  }

  get entryTime(): number {
    return this.#options.raft.entryTime
  }

  /** With what is kept for a snapshot, and with what is under way, so that it is known before it is in the log. */
  get isMemoryFull(): boolean {
    const { bytes, keptBytes, size } = this.data
    return bytes + keptBytes + this.replicator.growthMax > this.memoryMax || size >= KEYS_MAX
  }

  get clients(): Iterable<Client> {
    return this.#clients
  }

  get clientCount(): number {
    return this.#clients.size
  }

  /** What each room holds for clients. Invariant: 0 in all of them when there is no client and nothing under way. */
  get rooms(): Readonly<Record<string, number>> {
    const ofClients: Record<string, number> = {}
    for (const client of this.#clients) {
      for (const [room, count] of Object.entries(client.rooms)) ofClients[room] = (ofClients[room] ?? 0) + count
    }
    return {
      clients: this.#clients.size,
      clientAccounts: this.clientMemory.count,
      clientBytes: this.clientMemory.held,
      clientCommandBytes: this.clientMemory.heldCommands,
      turns: this.#turns.count,
      watchedKeys: this.#watchers.count,
      walks: this.walks.count + this.data.walks,
      reads: this.reads.count,
      copyWaits: this.copyWaits.count,
      loginWaits: this.security.guard.waiting,
      handshakes: this.tls?.pending ?? 0,
      leaderWaits: this.leadership.waits + this.#addresses.waits,
      ...this.replicator.rooms,
      ...ofClients,
    }
  }

  /** Resolves with the address that it listens at; rejects with the system's error. */
  listen(): ReturnType<ClientListener['listen']> {
    const { host, port, log } = this.#options
    this.#listener = new ClientListener({
      host,
      port,
      connectionsMax: this.clientsMax + REFUSED_AT_ONCE_MAX,
      clock: this.#clock,
      log,
      onSocket: (socket) => {
        if (this.tls === null) this.accept(new TcpClientSocket(socket))
        else this.tls.take(socket)
      },
      onDrop: () => this.#countRejected(),
    })
    return this.#listener.listen()
  }

  /** A client has come; it is turned away when there are too many. */
  accept(socket: ClientSocket): void {
    const isLate = this.#isDeparting || this.#isClosing
    if (!isLate && this.#clients.size >= this.clientsMax) this.#strangers.giveWay()
    if (isLate || this.#clients.size >= this.clientsMax) {
      this.#countRejected()
      socket.write(isLate ? '-CLUSTERDOWN this server is closing\r\n' : '-ERR max number of clients reached\r\n')
      socket.end()
      return
    }
    this.counters.connections += 1
    const client = new Client(this.#nextClient, socket, this.#host)
    this.#clients.add(client)
    this.#strangers.add(client)
    this.#nextClient += 1
  }

  /**
   * What comes before `close` where there is time: takes no more clients, hands leadership over while those that are
   * here are served, and serves them on until they have gone where they are sent. So no command is in the socket of a
   * connection when it ends: its client could not know what became of it.
   */
  async depart(): Promise<void> {
    this.#isDeparting = true
    this.#listener?.close()
    this.tls?.close()
    const { raft, log } = this.#options
    if (this.leadership.isLeader && raft.status.peers.some(({ connected }) => connected)) {
      // The others find a leader by themselves then, after an election timeout.
      const failed = (error: unknown): void => log.warn('leadership.kept', { reason: String(error) })
      await raft.transferLeadership?.({ timeoutMs: HAND_OVER_MS_MAX }).catch(failed)
    }
    this.leadership.waitNoMore()
    await this.#untilQuiet(Math.ceil(LINGER_MS_MAX / QUIET_MS))
  }

  /**
   * Takes no more clients and commands, answers what is under way once `raft` has settled it, and ends every
   * connection. Does not close `raft`.
   */
  async close(settled: Promise<unknown>): Promise<void> {
    this.#isClosing = true
    if (!this.#isDeparting) this.#listener?.close()
    this.tls?.close()
    this.security.guard.close()
    this.#strangers.close()
    for (const client of this.#clients) client.leave()
    await settled
    // Nobody will lead any more, as far as this server hears: whoever waits for that is told so.
    this.leadership.stop()
    this.copyWaits.endAll()
    this.replicator.close()
    this.reads.close(new RaftError('ERR_RAFT_CLOSED', 'the server is closing'))
    await this.#untilEmpty()
    if (this.#clients.size > 0) {
      const reason = `they have not taken their answers within ${CLOSE_GRACE_MS} ms`
      this.#options.log.warn('clients.left', { clients: this.#clients.size, reason })
    }
    for (const client of this.#clients) client.cutOff('the server is closing')
    this.#turns.close()
    this.walks.close()
    this.#addresses.stop()
    this.saves.stop()
    this.data.listener = null
  }

  loadUsers(): void {
    this.security.load()
    const { size } = this.security.users
    let left = 0
    for (const client of this.#clients) {
      const { session } = client
      if (session.login === null) continue
      session.login = this.security.stillHolds(session.login)
      if (session.login !== null) continue
      left += 1
      client.leave()
    }
    this.#options.log.info('users.loaded', { users: size, closedConnections: left })
  }

  #tlsDoor(tls: ClientTls | null): TlsDoor | null {
    if (tls === null) return null
    return new TlsDoor({
      tls,
      clock: this.#clock,
      log: this.#options.log,
      onSocket: (socket) => this.accept(new TcpClientSocket(socket, readAsStream)),
      hasRoom: (pending) => this.#clients.size + pending < this.clientsMax,
    })
  }

  #countRejected(): void {
    this.counters.connections += 1
    this.counters.rejected += 1
  }

  /** Looks so often at most whether clients still send anything. */
  async #untilQuiet(looks: number): Promise<void> {
    const { bytesIn } = this.counters
    if (looks === 0 || this.#clients.size === 0) return
    await new Promise<void>((resolve) => void this.#clock.setTimer(QUIET_MS, resolve))
    // On a busy machine the time is over before what has come meanwhile was read.
    await new Promise<void>((resolve) => this.#clock.defer(resolve))
    if (this.counters.bytesIn !== bytesIn) await this.#untilQuiet(looks - 1)
  }

  #untilEmpty(): Promise<void> {
    if (this.#clients.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const cancel = this.#clock.setTimer(CLOSE_GRACE_MS, resolve)
      this.#onEmpty = () => {
        cancel()
        resolve()
      }
    })
  }

  #onGone(client: Client, reason: string | null): void {
    this.#clients.delete(client)
    this.#strangers.delete(client)
    if (reason !== null && !this.#isClosing) {
      const { id, address } = client.session
      this.counters.cutOff += 1
      this.#options.log.warn('client.cut-off', { client: id, address, reason })
    }
    if (this.#clients.size === 0) this.#onEmpty?.()
  }

  #onLeadership(): void {
    this.replicator.leadershipChanged()
    if (!this.leadership.isLeader) this.copyWaits.endAll()
    this.#turns.leadershipChanged()
  }
}

const OPEN_TO_ALL = { aclFile: null, password: null }
