/**
 * Answers at the clients' address while a server asks which cluster it is to join: there is nothing to serve yet, but
 * whoever wonders why is told by RAFT STATUS and INFO. All else, PING too, is LOADING, so that nobody takes it for a
 * server that is ready. Where clients are to say a password all is LOADING, for there is nobody yet who could check it
 * in the way of the server. It gives up the address before that server listens there.
 */

import type { Status } from 'balsa-raft'
import type { HostPort } from '../cluster/members.js'
import { joinRows } from '../commands/join-rows.js'
import { table } from '../commands/table.js'
import { DESK_CLIENTS_MAX, DESK_COMMAND_BYTES_MAX, DESK_UNREAD_BYTES_MAX } from '../limits.js'
import type { Log } from '../log.js'
import { encodeReply } from '../resp/reply-encoder.js'
import { failure, textBytes, type Reply } from '../resp/reply.js'
import { RefusedCommand, RequestParser } from '../resp/request-parser.js'
import type { ClientTls } from '../security/tls-files.js'
import type { KvClock } from './clock.js'
import { readAsStream, TcpClientSocket, type ClientSocket } from './client/client-socket.js'
import { ClientListener } from './client-listener.js'
import { TlsDoor } from './tls-door.js'

type JoinStatus = NonNullable<Status['join']>

const joining = failure('LOADING this server is joining a cluster; RAFT STATUS says what it waits for')
const joiningInSilence = failure('LOADING this server is joining a cluster; its log says what it waits for')
const limits = {
  bulkBytes: DESK_COMMAND_BYTES_MAX,
  inlineBytes: DESK_COMMAND_BYTES_MAX,
  arguments: 16,
  commandBytes: DESK_COMMAND_BYTES_MAX,
}

export interface JoiningDeskOptions {
  readonly id: string
  readonly address: HostPort
  readonly clock: KvClock
  readonly log: Log
  /** Null: it speaks plain. */
  readonly tls: ClientTls | null
  /** Whoever asks is told. */
  readonly isOpen: boolean
}

export class JoiningDesk {
  readonly #id: string
  readonly #clock: KvClock
  readonly #log: Log
  readonly #isOpen: boolean
  readonly #listener: ClientListener
  readonly #door: TlsDoor | null
  readonly #sockets = new Set<ClientSocket>()
  /** Null: nobody has been asked yet. Invariant: from then on it listens, until it is closed. */
  #status: JoinStatus | null = null
  #isClosed = false

  constructor({ id, address, clock, log, tls, isOpen }: JoiningDeskOptions) {
    this.#id = id
    this.#isOpen = isOpen
    this.#clock = clock
    this.#log = log
    this.#listener = new ClientListener({
      ...{ ...address, connectionsMax: DESK_CLIENTS_MAX, clock, log },
      onSocket: (socket) => {
        if (this.#door === null) this.#accept(new TcpClientSocket(socket))
        else this.#door.take(socket)
      },
    })
    this.#door =
      tls === null
        ? null
        : new TlsDoor({
            ...{ tls, clock, log, hasRoom: () => true },
            onSocket: (socket) => this.#accept(new TcpClientSocket(socket, readAsStream)),
          })
  }

  /** What the library tells. */
  tell(status: JoinStatus): void {
    if (this.#isClosed) return
    const isFirst = this.#status === null
    this.#status = status
    if (!isFirst) return
    // That the address is taken ends the server, once it knows its cluster and listens there itself.
    this.#listener.listen().catch((error: Error) => this.#log.warn('join.unseen', { message: error.message }))
  }

  close(): void {
    this.#isClosed = true
    if (this.#status !== null) this.#listener.close()
    this.#door?.close()
    for (const socket of [...this.#sockets]) socket.cutOff('the server is open, or has given up')
  }

  #accept(socket: ClientSocket): void {
    const parser = new RequestParser(limits)
    this.#sockets.add(socket)
    socket.open({
      received: (chunk) => {
        parser.push(chunk)
        for (let words = parser.next(); words !== null; words = parser.next()) {
          socket.write(encodeReply(words instanceof RefusedCommand ? failure(words.text) : this.#answer(words), 2))
        }
        parser.keep()
        if (parser.fault !== null) {
          socket.write(encodeReply(failure(parser.fault), 2))
          socket.end()
        }
        if (socket.unsent > DESK_UNREAD_BYTES_MAX) socket.cutOff('it reads no answers')
      },
      drained: ignore,
      left: ignore,
      ended: () => socket.end(),
      gone: () => void this.#sockets.delete(socket),
    })
  }

  #answer(words: readonly string[]): Reply {
    if (!this.#isOpen) return joiningInSilence
    const [name, subcommand] = [words[0]?.toLowerCase(), words[1]?.toLowerCase()]
    const rows = [['id', this.#id] as const, ...joinRows(this.#status, this.#clock.wallNow())]
    if (name === 'raft' && subcommand === 'status' && words.length === 2) return table(rows)
    if (name !== 'info') return joining
    const lines = rows.slice(1).map(([label, value]) => `raft_${label.replaceAll('-', '_')}:${value ?? ''}\r\n`)
    return { type: 'verbatim', text: textBytes(`# Raft\r\n${lines.join('')}`) }
  }
}

function ignore(): void {}
