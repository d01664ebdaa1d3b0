/** What `raft.ts` asks of a server, wherever it runs: in this thread, or behind `thread/threaded-server` in another. */

import type { AnyServer } from './forward/any-server.js'
import type { Server } from './server.js'

type Calls =
  | ('checkRoom' | 'propose' | 'readIndex' | 'read' | 'staleRead' | 'leaseRead' | 'ready' | 'snapshot')
  | ('exportSnapshot' | 'transferLeadership' | 'stepDown' | 'change' | 'replace' | 'memberOf' | 'on' | 'watch')
  | ('configuration' | 'status' | 'entryTime' | 'metrics' | 'health' | 'close' | 'ended')

export type Door = Pick<Server, Calls> & {
  readonly any: Pick<AnyServer, 'checkRoom' | 'propose' | 'query' | 'waitForLeader'>
}
