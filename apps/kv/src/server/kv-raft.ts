/** What this server needs of the library: so much of `Raft` and no more, so that tests can bring a double. */

import type { Raft, Status } from 'balsa-raft'
import type { Reply } from '../resp/reply.js'

export type KvRaft = Pick<
  Raft<Uint8Array, Reply, null, null>,
  'applyAll' | 'propose' | 'readIndex' | 'query' | 'ready' | 'status' | 'entryTime' | 'on' | 'close' | 'closed'
> &
  Partial<ClusterCalls>

/** What the family RAFT asks of the library. A call that is not there is a subcommand that is not there. */
export interface ClusterCalls {
  addVoter(server: NewServer, options: ChangeOptions): Promise<ConfigurationAnswer>
  addNonvoter(server: NewServer, options: ChangeOptions): Promise<ConfigurationAnswer>
  promote(id: string, options: ChangeOptions): Promise<ConfigurationAnswer>
  demoteVoter(id: string, options: ChangeOptions): Promise<ConfigurationAnswer>
  removeServer(id: string, options: ChangeOptions): Promise<ConfigurationAnswer>
  updateServer(
    id: string,
    said: { readonly address?: string; readonly meta?: Readonly<Record<string, string>> },
    options: ChangeOptions,
  ): Promise<ConfigurationAnswer>
  replace(oldId: string, server: NewServer, options: ChangeOptions): Promise<ConfigurationAnswer>
  /** 0: no leases. */
  setLease(leaseMs: number, options: ChangeOptions): Promise<ConfigurationAnswer>
  /** Resolves with the id of the server that leads then. */
  transferLeadership(options: { readonly to?: string; readonly timeoutMs: number }): Promise<string>
  snapshot(): Promise<{ readonly index: number; readonly term: number; readonly bytes: number }>
}

export interface NewServer {
  readonly id: string
  /** Where its peers dial it. */
  readonly address: string
  /** `redis`: where its clients dial it. */
  readonly meta: { readonly redis: string }
}

export interface ChangeOptions {
  readonly timeoutMs: number
  readonly ifIndex?: number
  readonly force?: boolean
}

export interface ConfigurationAnswer {
  readonly configuration: Status['configuration']
  readonly index: number
}
