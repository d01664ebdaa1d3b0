/** The options of `balsa-kv recover`: those of the server whose folder it is, as far as a folder needs them. */

import type { Member } from '../cluster/members.js'
import { readArguments } from './arguments.js'
import { findSelf, notEmpty, readMembers } from './server-options.js'

export interface RecoverOptions {
  readonly self: Member
  readonly members: readonly Member[]
  readonly dir: string
  readonly mayLoseData: boolean
  readonly acceptCopiedFolder: boolean
}

export const RECOVER_HELP = `balsa-kv recover: the way back when a majority of the servers is lost for good (docs/membership.md, "A lost quorum")

  node apps/kv/dist/main.js recover --servers <list> --id <id> [--dir <folder>] [--yes-data-may-be-lost]

Makes a cluster of its own of the folder of one survivor: that server alone votes, the others of the list come with empty
folders and get their votes back once they have caught up. Whoever comes with its old folder is refused. Where several
folders have survived, take the one whose log ends in the greatest term, and of those the longest: without
--yes-data-may-be-lost nothing is changed, and both are told.

  --servers <list>   as for the server, with the same list
  --id <id>          whose folder it is
  --dir <folder>     default ./data/<id>
  --yes-data-may-be-lost   do it
  --accept-copied-folder   as for the server
`

const specs = {
  servers: { takesValue: true },
  id: { takesValue: true },
  dir: { takesValue: true },
  'yes-data-may-be-lost': { takesValue: false },
  'accept-copied-folder': { takesValue: false },
  help: { takesValue: false },
} as const

/** Null: help is wanted. Throws UsageError. */
export function readRecoverOptions(words: readonly string[]): RecoverOptions | null {
  const given = readArguments(words, specs)
  if (given.has('help')) return null
  const members = readMembers(given)
  const self = findSelf(given.get('id'), undefined, members)
  return {
    self,
    members,
    dir: notEmpty('--dir', given.get('dir') ?? `data/${self.id}`),
    mayLoseData: given.has('yes-data-may-be-lost'),
    acceptCopiedFolder: given.has('accept-copied-folder'),
  }
}
