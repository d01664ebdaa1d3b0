/** What this server needs of the library: so much of `Raft` and no more, so that tests can bring a double. */

import type { Raft } from 'balsa-raft'
import type { Reply } from '../resp/reply.js'

export type KvRaft = Pick<
  Raft<Uint8Array, Reply>,
  'applyAll' | 'readIndex' | 'ready' | 'status' | 'entryTime' | 'on' | 'close' | 'closed'
>
