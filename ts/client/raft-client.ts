/**
 * A client of a cluster, as its users see it: a process that is no server and has no store. Encodes what they ask, and
 * has a server do it.
 */

import {
  checkCallOptions,
  checkQueryOptions,
  checkSessionOptions,
  checkSessionToken,
  checkSubmitOptions,
} from '../call-options.js'
import type { LeaderHint } from '../errors.js'
import { optionsError } from '../option-checks.js'
import type { WaitOptions } from '../server/calls/pending-call.js'
import type { QueryOptions, Submission, SubmitOptions } from '../server/forward/any-server.js'
import type { Proposed } from '../server/forward/asking.js'
import { openSession, Session } from '../server/session.js'
import type { SessionDoor, SessionOptions } from '../server/session.js'
import { TcpClientDialler } from '../transport/tcp/client-dial.js'
import type { ServerId, SessionToken } from '../types.js'
import { Calls } from './calls.js'
import type { ClientDialler } from './connector.js'
import { clientSettingsOf } from './options.js'
import type { ClientOptions, ClientSettings } from './options.js'

/** How a client stands, at this moment. */
export interface ClientStatus {
  /** The server that is asked; null while none is connected. */
  readonly server: { readonly id: ServerId; readonly address: string } | null
  /** Who leads, as that server knows. */
  readonly leader: LeaderHint | null
  /** Commands and queries that have no outcome yet, and their bytes. */
  readonly underWay: number
  readonly underWayBytes: number
  /** By address: why it was not connected, the last time that it was dialled; empty once one is connected. */
  readonly failures: Readonly<Record<string, string>>
}

/** Every call settles, and every error says what became of the command (docs/client.md). */
export class RaftClient<Command, Result = unknown, Query = unknown, Answer = unknown> {
  readonly #settings: ClientSettings<Command, Result, Query, Answer>
  readonly #calls: Calls
  readonly #dialler: ClientDialler

  /** Over a dialler that is there already: `RaftClient.connect` makes one for TCP. */
  constructor(settings: ClientSettings<Command, Result, Query, Answer>, dialler: ClientDialler) {
    this.#settings = settings
    this.#dialler = dialler
    this.#calls = new Calls(settings, dialler)
  }

  /**
   * Resolves when one of the endpoints has let this client in. Rejects with ERR_RAFT_UNREACHABLE when none has within
   * `timeoutMs`, and at once when each of them refuses it: the message says of each why.
   */
  static async connect<Command, Result = unknown, Query = unknown, Answer = unknown>(
    options: ClientOptions<Command, Result, Query, Answer>,
  ): Promise<RaftClient<Command, Result, Query, Answer>> {
    const settings = clientSettingsOf(options)
    await settings.credentials?.load(settings.clock)
    const client = new RaftClient(settings, new TcpClientDialler(settings.clock, settings))
    try {
      await client.#calls.connected(waitOf(settings))
      return client
    } catch (error) {
      await client.close()
      throw error
    }
  }

  /**
   * Has the cluster apply a command; resolves with the state machine's answer once it is committed. Goes on with
   * another server and another leader, and tries again what is known not to be applied, until `timeoutMs` or `signal`
   * end it, or for 30 s (`retry`). When the server is lost before it has answered, the command is `unknown`. At most
   * 8192 calls are under way in one client, and 8 MiB of them encoded: else ERR_RAFT_OVERLOADED.
   */
  async submit(command: Command, options: SubmitOptions = {}): Promise<Result> {
    const { result } = await this.#propose('submit', command, options)
    return result
  }

  /** As `submit`; says where in the log the command stands, too: `query` with `minIndex` reads behind it. */
  async propose(command: Command, options: SubmitOptions = {}): Promise<Proposed<Result>> {
    return this.#propose('propose', command, options)
  }

  /**
   * Asks the state machine of the server that is connected, with the same `consistency` as on a server. What the query
   * throws there comes as ERR_RAFT_QUERY_FAILED, with its message. Goes on with another server as `submit` does.
   */
  async query(query: Query, options: QueryOptions = {}): Promise<Answer> {
    checkQueryOptions('query', options)
    const { consistency = 'linearizable', ...wait } = options
    const { queryCodec, answerCodec } = this.#settings
    this.#calls.checkRoom(0)
    const { result } = await this.#calls.query(queryCodec.encode(query), consistency, wait)
    return answerCodec.decode(result ?? NOTHING)
  }

  /** As `Raft.openSession`: in it a command that is sent more than once is applied once (docs/sessions.md). */
  async openSession(options?: SessionOptions): Promise<Session<Command, Result>> {
    const expiresAfterMs = checkSessionOptions('openSession', options)
    const { expiresAfterMs: _, ...wait } = options ?? {}
    this.#calls.checkRoom(0)
    return openSession(this.#sessionDoor(), expiresAfterMs, options === undefined ? undefined : wait)
  }

  /** As `Raft.resumeSession`: goes on with a session that was opened anywhere, on a server or by another client. */
  resumeSession(token: SessionToken): Session<Command, Result> {
    return new Session(this.#sessionDoor(), checkSessionToken('resumeSession', token), true)
  }

  /** Resolves with whoever leads, as the server that is connected knows, once anybody does. */
  async waitForLeader(options?: WaitOptions): Promise<LeaderHint> {
    checkCallOptions('waitForLeader', options)
    return this.#calls.waitForLeader(options)
  }

  /**
   * Calls the functions given as `tls` and `token` again, and goes on with another connection, made with what they
   * read; what is under way is answered on the one before, unless its server is believed no more. Rejects with
   * ERR_RAFT_OPTIONS when something cannot be read or used, and what was in force stays.
   */
  async reload(): Promise<void> {
    const { credentials, clock } = this.#settings
    if (credentials === null) throw optionsError('RaftClient: nothing to reload: it was connected without tls')
    this.#calls.checkRoom(0)
    await credentials.reload(clock)
    this.#dialler.judge?.()
    this.#calls.renew()
  }

  /** How things stand here and now; nothing waits for it. */
  get status(): ClientStatus {
    const { link, counts, failures } = this.#calls
    return {
      server: link === null ? null : { id: link.serverId, address: link.address },
      leader: link?.leader ?? null,
      underWay: counts.underWay,
      underWayBytes: counts.bytes,
      failures,
    }
  }

  /** Ends every call with ERR_RAFT_CLOSED; resolves when no socket and no timer is left. Idempotent. */
  close(): Promise<void> {
    return this.#calls.close()
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #propose(call: string, command: Command, options: SubmitOptions): Promise<Proposed<Result>> {
    checkSubmitOptions(call, options)
    const { retry = 'safe', ...wait } = options
    this.#calls.checkRoom(0)
    const bytes = this.#settings.codec.encodeBehind(0, command)
    return this.#send({ kind: 'command', bytes, retry }, wait) as Promise<Proposed<Result>>
  }

  async #send(submission: Submission, options: WaitOptions | undefined): Promise<Proposed<unknown>> {
    const { index, term, result } = await this.#calls.command(submission, options)
    return { index, term, result: result === null ? undefined : this.#settings.resultCodec.decode(result) }
  }

  #sessionDoor(): SessionDoor<Command> {
    const checkRoom = (bytes: number): void => this.#calls.checkRoom(bytes)
    const propose: SessionDoor<Command>['any']['propose'] = (submission, options) => this.#send(submission, options)
    return { any: { checkRoom, propose }, codec: this.#settings.codec }
  }
}

const NOTHING = new Uint8Array(0)

function waitOf({ timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined }) {
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal }
}
