/**
 * What one client has said of itself and of how it wants to be answered, and what is known of it: what CLIENT, HELLO
 * and READONLY read and set.
 */

import type { ProtocolVersion } from '../../resp/reply-encoder.js'
import { DEFAULT_USER, type Login } from '../../security/security.js'
import type { ReadMode } from './read-mode.js'

export class ClientSession {
  /** Unique in this process; grows. */
  readonly id: number
  readonly address: string
  readonly localAddress: string
  /** By the uptime of the server, as `activeAt`: when bytes came last. */
  readonly connectedAt: number
  activeAt: number
  name = ''
  libraryName = ''
  libraryVersion = ''
  version: ProtocolVersion = 2
  readMode: ReadMode = 'leader'
  /** Every write that was answered stands here in the log, or before; 0: none was. */
  writtenIndex = 0
  noEvict = false
  replies: 'on' | 'off' = 'on'
  /** So many answers more are not written (CLIENT REPLY SKIP). */
  skips = 0
  lastCommand = 'NULL'
  /** Logins that were refused. */
  loginFailures = 0
  #login: Login | null = null
  /** Whether it may do everything: all that a command of such a client looks at. */
  mayAll = false

  constructor(id: number, addresses: { readonly address: string; readonly localAddress: string }, now: number) {
    this.id = id
    this.address = addresses.address
    this.localAddress = addresses.localAddress
    this.connectedAt = now
    this.activeAt = now
  }

  /** As whom it has come in; null: as nobody, and it may only say who it is. */
  get login(): Login | null {
    return this.#login
  }

  set login(login: Login | null) {
    this.#login = login
    this.mayAll = login?.user.permissions.mayAll === true
  }

  get userName(): string {
    return this.#login?.user.name ?? DEFAULT_USER
  }

  /** Bytes that are kept of what it has said of itself. */
  get held(): number {
    return this.name.length + this.libraryName.length + this.libraryVersion.length
  }

  /**
   * In which version the next answer is written; null: not at all. To be called once for each answer, in their order.
   */
  nextAnswerVersion(): ProtocolVersion | null {
    if (this.replies === 'off') return null
    if (this.skips === 0) return this.version
    this.skips -= 1
    return null
  }

  /** RESET: as on a new connection, but for what is known of its library. `arrival`: as whom one comes in. */
  reset(arrival: Login | null): void {
    this.login = arrival
    this.name = ''
    this.version = 2
    this.readMode = 'leader'
    this.noEvict = false
    this.replies = 'on'
    this.skips = 0
  }
}
