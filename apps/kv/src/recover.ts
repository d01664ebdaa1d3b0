/** `balsa-kv recover`: makes a cluster of the folder of one survivor, and says what to do with the others. */

import { Raft, type Recovery } from 'balsa-raft'
import { formatAddress } from './cluster/members.js'
import type { RecoverOptions } from './cli/recover-options.js'

/** Rejects with RaftError. Answers with what a person reads. */
export async function recoverFolder(options: RecoverOptions): Promise<string> {
  const { dir, members, mayLoseData, acceptCopiedFolder } = options
  const servers = members.map(({ id, peer }) => ({ id, address: formatAddress(peer) }))
  return told(await Raft.recover(dir, servers, { mayLoseData, acceptCopiedFolder, logger: false }), dir)
}

function told(recovery: Recovery, dir: string): string {
  const { id, clusterId, recoveries, lastIndex, lastTerm, leftBehind, isNew } = recovery
  const done = isNew ? 'recovered' : 'recovered before, and nothing was written now'
  return `${done}: ${id} alone votes in cluster ${clusterId}, from the folder ${dir}
its log ended with entry ${lastIndex} of term ${lastTerm}: what was confirmed behind that is lost
refused from now on with what they have: ${leftBehind.length === 0 ? 'nobody' : leftBehind.join(', ')}
start ${id} as before. Start the others in empty folders, with the same list and
  --recovered ${recoveries.join(',')}
`
}
