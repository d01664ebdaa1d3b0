/**
 * As whom one client has come in, and what it may do: asked of each command before it is queued by MULTI or begins, of
 * clients that may not do everything.
 */

import { describeClient } from '../../commands/connection-commands.js'
import { keysOf } from '../../commands/command-keys.js'
import { numberOf } from '../../commands/command-catalog.js'
import type { CommandRow } from '../../commands/command-table.js'
import type { LocalContext, LoginRequest } from '../../commands/local-command.js'
import { failure, type ErrorReply } from '../../resp/reply.js'
import type { DeniedCall } from '../../security/denials.js'
import { FAILURES_BY_CONNECTION_MAX } from '../../security/login-guard.js'
import type { Denial } from '../../security/permissions.js'
import type { ClientTurn } from '../turns.js'

const noAuth = failure('NOAUTH Authentication required.')
const wrongPassword = failure('WRONGPASS invalid username-password pair or user is disabled.')
const keyDenied = failure('NOPERM this user has no permissions to access one of the keys used as arguments')

/** At EXEC, of what was queued while it was allowed. */
const changedSince = (reason: string): ErrorReply =>
  failure(
    `NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: ${reason}`,
  )
const commandChanged = changedSince('no permission to execute the command or subcommand')
const keyChanged = changedSince('no permission to touch the specified keys')

export class ClientGate {
  readonly #local: LocalContext
  readonly #turn: Pick<ClientTurn, 'askRun'>
  /** Of a login that is to be slowed down. */
  #wait: 'none' | 'goes on' | 'over' = 'none'

  constructor(local: LocalContext, turn: Pick<ClientTurn, 'askRun'>) {
    this.#local = local
    this.#turn = turn
  }

  /** Null: the client may. */
  refusal(row: CommandRow, words: readonly string[]): ErrorReply | null {
    const denied = this.#denied(row, words)
    if (denied === null || 'type' in denied) return denied
    const { denial, name } = denied
    this.#note(denial, name, this.#local.client.queued >= 0 ? 'multi' : 'toplevel')
    return denial.what === 'key'
      ? keyDenied
      : failure(`NOPERM this user has no permissions to run the '${name}' command`)
  }

  /** The same at EXEC. */
  readonly refusalNow = (row: CommandRow, words: readonly string[]): ErrorReply | null => {
    const denied = this.#denied(row, words)
    if (denied === null || 'type' in denied) return denied
    this.#note(denied.denial, denied.name, 'multi')
    return denied.denial.what === 'key' ? keyChanged : commandChanged
  }

  /** False: the login is slowed down, and `run` of the client is asked for when that is over. */
  mayTry(): boolean {
    const { client, server } = this.#local
    if (this.#wait === 'goes on') return false
    if (this.#wait === 'none' && server.security.guard.waitMs(client.session.address) > 0) {
      this.#wait = 'goes on'
      server.security.guard.wait(client.session.address, () => {
        this.#wait = 'over'
        this.#turn.askRun()
      })
      return false
    }
    this.#wait = 'none'
    return true
  }

  /** Null: the client has come in. A wrong password leaves it as whom it was. */
  enter(command: string, { user, password }: NonNullable<LoginRequest['credentials']>): ErrorReply | null {
    const { session } = this.#local.client
    const { security } = this.#local.server
    const login = security.login(user, password)
    if (login !== null) {
      session.login = login
      session.loginFailures = 0
      return null
    }
    session.loginFailures += 1
    security.guard.failed(session.address)
    // Who mistakes the order says the password here.
    const known = security.users.has(user) ? user : '(unknown)'
    this.#add({ reason: 'auth', context: 'toplevel', object: command.toUpperCase(), user: known })
    return wrongPassword
  }

  /** So many logins were refused that the connection ends. */
  get isTiredOf(): boolean {
    return this.#local.client.session.loginFailures >= FAILURES_BY_CONNECTION_MAX
  }

  #denied(
    row: CommandRow,
    words: readonly string[],
  ): ErrorReply | { readonly denial: Denial; readonly name: string } | null {
    if (row.flags.includes('no_auth')) return null
    const { login } = this.#local.client.session
    if (login === null) return noAuth
    const number = numberOf(row, words)
    const denial = login.user.permissions.denial(number, keysOf(row, words))
    return denial === null ? null : { denial, name: this.#local.server.security.catalog.names[number] ?? row.name }
  }

  #note(denial: Denial, command: string, context: DeniedCall['context']): void {
    const object = denial.what === 'key' ? denial.key : command
    this.#add({ reason: denial.what, context, object, user: this.#local.client.session.userName })
  }

  #add(call: DeniedCall): void {
    const { client, server } = this.#local
    const now = server.uptime()
    server.security.denials.add(call, now, describeClient(client, now))
  }
}
