/** What commands need that one server answers by itself: about the connection, the server, the cluster. */

import type { Status } from 'balsa-raft'
import type { KeyWalkOf } from '../data-set/key-walk.js'
import type { DataSet } from '../data-set/data-set.js'
import type { ErrorReply, Reply } from '../resp/reply.js'
import type { Security } from '../security/security.js'
import type { ClientMemory } from '../server/client/client-memory.js'
import type { ClientSession } from '../server/client/client-session.js'
import type { ClusterCalls } from '../server/kv-raft.js'
import type { Leadership } from '../server/leadership.js'
import type { CopyWaits } from '../server/copy-waits.js'
import type { Saves } from '../server/saves.js'

/** What COMMAND tells of a command. */
export interface CommandFacts {
  /** In lower case. */
  readonly name: string
  /** The exact number of words, or, negative, the least. */
  readonly arity: number
  readonly flags: readonly string[]
  /** Positions among the words; 0 = no keys. A negative last counts from the end. */
  readonly firstKey: number
  readonly lastKey: number
  readonly keyStep: number
  readonly categories: readonly string[]
  readonly group: 'string' | 'generic' | 'server' | 'connection' | 'cluster' | 'transactions'
  readonly since: string
  readonly summary: string
}

/** One connection, as CLIENT sees it. */
export interface ClientState {
  /** What commands may change of it. */
  readonly session: ClientSession
  /** Commands queued by MULTI; -1 outside. */
  readonly queued: number
  /** Keys that it watches. */
  readonly watching: number
  /** Bytes of a command that has not arrived whole. */
  readonly buffered: number
  /** Bytes of answers that have not left. */
  readonly unsent: number
  /** Bytes that are kept for it in all. */
  readonly held: number
  /** It sends no more, or is gone. */
  readonly hasLeft: boolean
}

export interface ServerState {
  readonly leadership: Leadership
  readonly data: DataSet
  readonly status: Status
  readonly saves: Saves
  readonly copyWaits: CopyWaits
  /** What can be done to the cluster through this server. */
  readonly cluster: Partial<ClusterCalls>
  readonly clients: Iterable<ClientState>
  readonly clientCount: number
  readonly counters: Counters
  /** What the data set may take in memory, and whether it does: then commands that grow are refused. */
  readonly memoryMax: number
  readonly isMemoryFull: boolean
  readonly clientMemory: Pick<ClientMemory, 'held' | 'most' | 'evicted'>
  /** Milliseconds since this server was made, whatever became of the date. */
  readonly uptime: () => number
  readonly clientsMax: number
  /** Milliseconds since 1970, by the date of the machine: for what is told, never for deadlines. */
  readonly now: () => number
  /** Milliseconds since 1970, as an entry made now would carry it: what deadlines are set and judged by. */
  readonly entryTime: number
  /** Where the log lies, and what CONFIG GET tells. */
  readonly dir: string
  readonly config: ReadonlyMap<string, string>
  /** Who may come in, and as whom. */
  readonly security: Security
  /** Null: this server speaks plain. */
  readonly tls: TlsState | null
  /**
   * Reads the users again; connections whose login does not hold any more are closed. Throws SecurityError, and then
   * nothing has changed.
   */
  loadUsers(): void
}

/** How TLS stands on the clients' port. */
export interface TlsState {
  /** Handshakes that are not finished, and those that came to nothing since the server began. */
  readonly pending: number
  readonly failed: number
  /** When the certificate ends, in milliseconds since 1970. */
  readonly certificateUntil: number
}

export interface Counters {
  connections: number
  rejected: number
  cutOff: number
  commands: number
  bytesIn: number
  bytesOut: number
}

export interface LocalContext {
  readonly client: ClientState
  readonly server: ServerState
}

/** A command that may say who the client is. */
export interface LoginRequest {
  /** Null: it does not. */
  readonly credentials: { readonly user: string; readonly password: string } | null
  /** The answer, and what else it does, once the client is known. */
  readonly finish: (context: LocalContext) => Reply
}

export type LoginHandler = (context: LocalContext, words: readonly string[]) => LoginRequest | ErrorReply

export type LocalHandler = (context: LocalContext, words: readonly string[]) => Reply

/** What the promise rejects with is answered as it says (server/raft-answers.ts). */
export type LocalCall = (context: LocalContext, words: readonly string[]) => Promise<Reply> | ErrorReply

export type Subcommand = {
  /** Counts the container's name too. */
  readonly arity: number
} &
  /** `isWide`: see `isWide` of the command table. Default false. */
  (
    | { readonly run: LocalHandler; readonly isWide?: true }
    /** Looks at every key. */
    | { readonly walkOf: KeyWalkOf }
    /** Is a call of the library, which takes as long as it takes. */
    | { readonly call: LocalCall }
  )

export type Subcommands = ReadonlyMap<string, Subcommand>
